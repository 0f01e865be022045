//! How the value of a cell is shown: pictures as pictures, answers as tables, other values by `Debug`.

use crate::bundle::Bundle;
use crate::debug;
use crate::known;
use crate::output::{self, Slot};
use std::fmt::Debug;

/// Implemented for every `Debug` value. A type of your own may have an `evcxr_display` method instead.
pub trait Show {
    /// Its forms, for the front end to choose from.
    fn bundle(&self) -> Bundle;

    /// Called on the last expression of a cell.
    fn evcxr_display(&self) {
        output::result(&self.bundle());
    }
}

impl<T: Debug + 'static> Show for T {
    fn bundle(&self) -> Bundle {
        known::look(self).unwrap_or_else(|| Bundle::new().text(debug::text(self)))
    }
}

impl<T: Debug + Clone + 'static> Show for [T] {
    fn bundle(&self) -> Bundle {
        self.to_vec().bundle()
    }
}

impl Show for str {
    fn bundle(&self) -> Bundle {
        Bundle::new().text(debug::text(&self))
    }
}

/// Show something below the cell, at once.
pub fn display(value: &impl Show) {
    output::display_bundle(&value.bundle());
}

impl Slot {
    /// Show any value instead of what was there.
    pub fn show(&mut self, value: &impl Show) {
        self.put(&value.bundle());
    }
}
