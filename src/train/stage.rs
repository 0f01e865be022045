//! What the run loop and the session need of a trainer, whatever it trains.

use super::gallery::ProgressSheet;
use super::shell::{Shell, State};
use crate::checkpoint::Progress;
use crate::error::Result;
use crate::metrics::StepRecord;
use crate::networks::Networks;

/// A trainer: it takes steps and can be stopped between any two of them.
pub trait Stage {
    /// One update of the weights.
    fn step(&mut self, nets: &Networks) -> Result<StepRecord>;

    fn shell(&self) -> &Shell;

    fn shell_mut(&mut self) -> &mut Shell;

    /// A copy of everything besides the networks' weights.
    fn state(&self) -> State {
        self.shell().state()
    }

    /// Go on exactly where `state`, `progress` and `stream` (may be empty) were taken.
    fn restore(
        &mut self,
        state: &State,
        progress: &Progress,
        stream: &str,
        place: &str,
    ) -> Result<()> {
        self.shell_mut().restore(state, progress, stream, place)
    }

    /// The pictures of the last step, for somebody who looks on; None if there is nothing to see.
    fn gallery(&self, _nets: &Networks) -> Option<ProgressSheet> {
        None
    }

    /// Updates in all.
    fn steps(&self) -> u64 {
        self.shell().steps()
    }

    fn progress(&self) -> Progress {
        self.shell().progress.clone()
    }

    /// Seconds that an earlier stage took.
    fn add_seconds(&mut self, seconds: f64) {
        self.shell_mut().progress.seconds += seconds;
    }

    /// The files that `state` fills.
    fn files(&self) -> &'static [&'static str] {
        self.shell().files()
    }

    /// Where the stream of pictures stands; None for a data set in memory.
    fn stream(&self) -> Option<String> {
        self.shell().feed.text()
    }

    /// Exchange the weights and their averages, if there are averages.
    fn swap_ema(&mut self) {
        self.shell_mut().swap_ema();
    }
}
