//! `RunConfig`: the configs of all stages, and the checks that concern several of them.

mod check;
mod look;
mod places;
mod run;

pub use check::{frozen, is_name};
pub use places::{full_place, move_of, moved};
pub use ron_faults::{
    Spans, diff, get, minimal_ron, nearest_path, parse, paths, set, text_with, to_ron,
};
pub use run::{ClipStageConfig, PriorStageConfig, RunConfig, TokenizerConfig, WeightsConfig};
