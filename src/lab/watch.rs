//! Observing a running command: reports come out, and a request to stop goes in.

use super::view::View;
use crate::metrics::StepRecord;
use image::RgbImage;
use std::sync::atomic::{AtomicBool, Ordering};

/// A picture made during training or sampling.
#[derive(Clone, Debug)]
pub struct Preview {
    pub image: RgbImage,
    pub caption: String,
}

/// Observes training and sampling. Implemented by faces.
pub trait Watch {
    /// Called after each optimiser step. `progress` is (done, total), if known.
    fn record(&mut self, record: &StepRecord, progress: Option<(u64, u64)>);
    /// Receives what an edit begins with, before the first pass. Returns whether it was shown.
    fn begins(&mut self, _view: &View) -> bool {
        false
    }
    /// Called after each sampler pass, when `done` of `total` passes are done.
    fn pass(&mut self, _done: usize, _total: usize) {}
    /// Called after each step. Returns whether to spend time on a preview. `last` is true after the final step.
    fn wants_preview(&mut self, _last: bool) -> bool {
        false
    }
    /// Receives a requested preview.
    fn preview(&mut self, _preview: Preview) {}
    fn note(&mut self, text: &str);
    /// Asks a question, and returns whether the answer is yes. It is where nobody can be asked.
    fn confirm(&mut self, _question: &str) -> bool {
        true
    }
    /// Called between steps. Once it returns true, the work ends and keeps its results.
    fn stop(&self) -> bool;
}

/// A watch that observes nothing and never stops.
pub struct Quiet;

impl Watch for Quiet {
    fn record(&mut self, _record: &StepRecord, _progress: Option<(u64, u64)>) {}
    fn note(&mut self, _text: &str) {}
    fn stop(&self) -> bool {
        false
    }
}

/// Set by Ctrl-C and read between steps.
pub static STOP: AtomicBool = AtomicBool::new(false);

/// Clears an earlier request to stop.
pub fn clear_stop() {
    STOP.store(false, Ordering::Relaxed);
}

/// Whether a stop was requested.
pub fn stop_asked() -> bool {
    STOP.load(Ordering::Relaxed)
}
