//! Configs as RON: read with every fault listed, print, compare, set one field.

mod check;
mod edit;
mod explain;
mod lex;
#[cfg(test)]
mod properties;
mod read;
mod run;
mod scan;
mod spans;
#[cfg(test)]
mod tests;

pub use edit::{diff, get, minimal_ron, paths, set, to_ron};
pub use read::{parse, read};
pub use run::{PriorStageConfig, RunConfig, TokenizerConfig, WeightsConfig};
pub use spans::Spans;
