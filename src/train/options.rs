//! Options of a run, and its outcome.

use crate::data::stream::StopAsked;
use crate::dist::World;
use crate::metrics::StepRecord;
use std::path::PathBuf;

/// Options of a run.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// The run's folder. Default: `runs/NAME`.
    pub out: Option<PathBuf>,
    pub resume: Resume,
    /// Stop with a checkpoint after this many seconds of training, over all resumed parts.
    pub max_seconds: Option<f64>,
    /// Stop with a checkpoint after this many updates of this call.
    pub max_steps: Option<u64>,
    /// Places of data and weights that have moved: where they were, where they are.
    pub moved: Vec<(String, String)>,
    /// Receives what the user should know before the first step, a line at a time. Rank 0 alone calls it.
    pub note: Option<fn(&str)>,
    /// Called once networks and data are ready, before the first file is written. From here on a request to stop is met
    /// with a checkpoint.
    pub ready: Option<fn()>,
    /// Whether the run is asked to stop: looked at while it waits for the data of a stream.
    pub asked: StopAsked,
    /// The processes that train together. All have the same config and options, on one file system.
    pub world: World,
}

impl RunOptions {
    /// Says a line, on rank 0.
    pub(super) fn say(&self, text: &str) {
        // 128 ranks that say the same would bury it
        if let Some(note) = self.note.filter(|_| self.world.is_first()) {
            note(text);
        }
    }
}

/// What to do with existing checkpoints in the folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// Refuse a folder that holds checkpoints.
    #[default]
    No,
    /// Resume from the newest checkpoint that is whole, or start if there is none at all. Refuse a folder in which all
    /// are damaged.
    Auto,
    /// Resume from the newest checkpoint. Refuse a folder without one, or whose newest is damaged.
    Must,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All updates of the config are done.
    Finished,
    /// `max_steps` or `max_seconds` was reached.
    Limit,
    /// `watch` of some rank asked for it.
    Asked,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    pub folder: PathBuf,
    /// The model folder with averaged weights. Written after the denoiser's stage, even if that was stopped early, or
    /// after each stage if the config does not train a denoiser.
    pub model: Option<PathBuf>,
    pub ending: Ending,
    pub last: Option<StepRecord>,
}
