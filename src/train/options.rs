//! Options of a run, and its outcome.

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
    /// The processes that train together. All have the same config and options, on one file system.
    pub world: World,
}

/// What to do with existing checkpoints in the folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// Refuse a folder that holds checkpoints.
    #[default]
    No,
    /// Resume from the latest checkpoint, or start if there is none.
    Auto,
    /// Resume from the latest checkpoint. Refuse a folder without one.
    Must,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    pub folder: PathBuf,
    /// The model folder with averaged weights. Written after the denoiser's stage, even if that was stopped early, or
    /// after each stage if the config does not train a denoiser.
    pub model: Option<PathBuf>,
    /// Whether all updates of the config are done.
    pub finished: bool,
    pub last: Option<StepRecord>,
}
