//! Looking on while a command works: numbers come out, and the wish to stop goes in.

use crate::metrics::StepRecord;
use image::RgbImage;
use std::sync::atomic::{AtomicBool, Ordering};

/// A picture of work under way.
#[derive(Clone, Debug)]
pub struct Preview {
    pub image: RgbImage,
    pub caption: String,
}

/// A face that watches training and sampling.
pub trait Watch {
    /// One optimiser step is done; `progress` is how many of how many, where known.
    fn record(&mut self, record: &StepRecord, progress: Option<(u64, u64)>);
    /// Pass `done` of `total` passes of the sampler is done.
    fn pass(&mut self, _done: usize, _total: usize) {}
    /// Asked after each step: is a picture of the work so far worth the time it takes? `last`: no step comes after this.
    fn wants_preview(&mut self, _last: bool) -> bool {
        false
    }
    /// The picture that was wanted.
    fn preview(&mut self, _preview: Preview) {}
    fn note(&mut self, text: &str);
    /// Asked between two steps; once true, the work ends there and keeps what it has.
    fn stop(&self) -> bool;
}

/// Nobody looks on and nobody stops.
pub struct Quiet;

impl Watch for Quiet {
    fn record(&mut self, _record: &StepRecord, _progress: Option<(u64, u64)>) {}
    fn note(&mut self, _text: &str) {}
    fn stop(&self) -> bool {
        false
    }
}

/// Set by Ctrl-C, read between steps.
pub static STOP: AtomicBool = AtomicBool::new(false);

/// Forget an earlier wish to stop.
pub fn clear_stop() {
    STOP.store(false, Ordering::Relaxed);
}

pub fn stop_asked() -> bool {
    STOP.load(Ordering::Relaxed)
}
