//! The interface of a trainer that the run loop and the session use.

use super::gallery::ProgressSheet;
use super::shell::{Shell, State};
use crate::checkpoint::Progress;
use crate::error::Result;
use crate::metrics::StepRecord;
use crate::networks::Networks;
use tch::Tensor;

/// A trainer of one stage. It can be stopped between any two steps.
pub trait Stage {
    /// One update of the weights.
    fn step(&mut self, nets: &Networks) -> Result<StepRecord>;

    fn shell(&self) -> &Shell;

    fn shell_mut(&mut self) -> &mut Shell;

    /// A copy of the state besides the networks' weights.
    fn state(&self) -> State {
        self.shell().state()
    }

    /// Resumes exactly where `state`, `progress` and `stream` (may be empty) were saved.
    fn restore(
        &mut self,
        state: &State,
        progress: &Progress,
        stream: &str,
        place: &str,
    ) -> Result<()> {
        self.shell_mut().restore(state, progress, stream, place)
    }

    /// What is trained besides the networks, and has to be equal on all ranks too.
    fn trained_beside(&self) -> Vec<Tensor> {
        Vec::new()
    }

    /// A sheet of the pictures of the last step. None if there is nothing to show.
    fn gallery(&self, _nets: &Networks) -> Option<ProgressSheet> {
        None // CLIP and the prior make vectors, not pictures
    }

    /// Total number of updates.
    fn steps(&self) -> u64 {
        self.shell().steps()
    }

    fn progress(&self) -> Progress {
        self.shell().progress.clone() // a copy: the next step goes on counting in the shell
    }

    /// Adds the seconds that earlier stages took.
    fn add_seconds(&mut self, seconds: f64) {
        self.shell_mut().progress.seconds += seconds;
    }

    /// File stems of `state`.
    fn files(&self) -> &'static [&'static str] {
        self.shell().files()
    }

    /// Position of the stream of pictures. None for a data set in memory.
    fn stream(&self) -> Option<String> {
        self.shell().feed.text()
    }

    /// Swaps the weights and their averages, if there are averages. Twice is as before.
    fn swap_ema(&mut self) {
        self.shell_mut().swap_ema();
    }
}
