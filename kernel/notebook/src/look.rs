//! How a type shows itself, alone and within others.

use crate::bundle::Bundle;
use paella_wire::without_frames;
use std::any::Any;
use std::error::Error;
use std::fmt::Display;
use std::rc::Rc;
use std::sync::Arc;
use tch::TchError;

/// A look of its own.
pub trait Look {
    fn look(&self) -> Bundle;
}

impl<T: Look> Look for Rc<T> {
    fn look(&self) -> Bundle {
        (**self).look()
    }
}

impl<T: Look> Look for Arc<T> {
    fn look(&self) -> Bundle {
        (**self).look()
    }
}

impl<T: Look> Look for Box<T> {
    fn look(&self) -> Bundle {
        (**self).look()
    }
}

impl<T: Look> Look for Option<T> {
    fn look(&self) -> Bundle {
        self.as_ref().map_or_else(|| Bundle::new().text("None"), Look::look)
    }
}

/// What came of it, or the error with its hint.
impl<T: Look, E: Display> Look for Result<T, E> {
    fn look(&self) -> Bundle {
        self.as_ref().map_or_else(
            |error| Bundle::new().text(format!("error: {}", without_frames(&error.to_string()))),
            Look::look,
        )
    }
}

/// The value as a `T`, or the one that it holds.
pub(crate) fn alone_or_within<T: Look + 'static>(value: &dyn Any) -> Option<Bundle> {
    macro_rules! within {
        ($($type:ty),* $(,)?) => { None$(.or_else(|| value.downcast_ref::<$type>().map(Look::look)))* };
    }
    within!(
        T,
        Rc<T>,
        Arc<T>,
        Box<T>,
        Option<T>,
        Option<Rc<T>>,
        Result<T, paella::Error>,
        Result<Rc<T>, paella::Error>,
        Result<Option<T>, paella::Error>,
        Result<T, TchError>,
        Result<T, Box<dyn Error>>,
        Result<T, String>,
    )
}
