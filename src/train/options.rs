//! What the caller of a run may choose, and what comes of it.

use crate::dist::World;
use crate::metrics::StepRecord;
use std::path::PathBuf;

/// What the caller of a run may choose.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// The run's folder; default `runs/NAME`.
    pub out: Option<PathBuf>,
    pub resume: Resume,
    /// Stop (with a checkpoint) after so many seconds of training, over all resumed parts.
    pub max_seconds: Option<f64>,
    /// Stop (with a checkpoint) after so many updates of this call.
    pub max_steps: Option<u64>,
    /// The processes that train together, all of them with the same config and options, on one file system.
    pub world: World,
}

/// What to do with checkpoints that are in the folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// Refuse a folder that holds any.
    #[default]
    No,
    /// Go on from the latest; begin where there is none.
    Auto,
    /// Go on from the latest; refuse a folder that holds none.
    Must,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    pub folder: PathBuf,
    /// The model folder with averaged weights, written when the last stage has been trained at all.
    pub model: Option<PathBuf>,
    /// All updates of the config are done.
    pub finished: bool,
    pub last: Option<StepRecord>,
}
