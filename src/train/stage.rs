//! What the run loop and the session need of a trainer, whatever it trains.

use super::gallery::Gallery;
use crate::checkpoint::Progress;
use crate::cost::Meter;
use crate::error::{Error, Result};
use crate::metrics::Record;
use crate::networks::Networks;
use crate::torch::precision::peak_memory;
use crate::weights::Named;
use std::time::Instant;

/// Optimiser state and the like, by the file of a checkpoint that holds it.
pub type State = Vec<(&'static str, Named)>;

/// A trainer: one thing that takes steps and can be stopped between any two of them.
pub trait Stage {
    /// One update of the weights.
    fn step(&mut self, nets: &Networks) -> Result<Record>;

    /// Updates in all.
    fn steps(&self) -> u64;

    fn progress(&self) -> Progress;

    /// Seconds that an earlier stage took.
    fn add_seconds(&mut self, seconds: f64);

    /// The files that `state` fills.
    fn files(&self) -> &'static [&'static str];

    /// A copy of everything besides the networks' weights.
    fn state(&self) -> State;

    /// Where the stream of pictures stands; none for a data set in memory.
    fn stream(&self) -> Option<String> {
        None
    }

    /// Go on exactly where `state`, `progress` and `stream` (may be empty) were taken.
    fn restore(
        &mut self,
        state: &State,
        progress: &Progress,
        stream: &str,
        place: &str,
    ) -> Result<()>;

    /// Exchange the weights and their averages, where there are averages.
    fn swap(&mut self) {}

    /// The pictures of the last step, for somebody who looks on; none where there is nothing to see.
    fn gallery(&self, _nets: &Networks) -> Option<Gallery> {
        None
    }
}

/// One file of a state.
///
/// Errors: it is not there.
pub fn part<'a>(state: &'a State, name: &str, place: &str) -> Result<&'a Named> {
    let found = state.iter().find(|(file, _)| *file == name).map(|(_, tensors)| tensors);
    found.ok_or_else(|| {
        Error::checkpoint(
            format!("`{name}` is missing"),
            place,
            "resume with the config of this run",
        )
    })
}

/// Close a step that began at `start`: count it in `progress` and fill what all trainers' records share.
pub fn close(
    progress: &mut Progress,
    steps: u64,
    images: usize,
    meter: &Meter,
    start: Instant,
    measured: Record,
) -> Record {
    let seconds = start.elapsed().as_secs_f64();
    progress.step += 1;
    progress.seconds += seconds;
    progress.skipped += u64::from(!measured.grad_norm.is_finite());
    let images_per_s = images as f64 / seconds;
    Record {
        phase: progress.phase.to_string(),
        step: progress.step,
        steps,
        images_per_s,
        took: seconds,
        seconds: progress.seconds,
        skipped: progress.skipped,
        memory: peak_memory(meter.device),
        mfu: meter.mfu(images_per_s),
        ..measured
    }
}
