//! Training of the tokenizer, CLIP, the prior and the denoiser.

mod adversary;
pub mod batch;
mod begin;
pub mod clip;
pub mod denoiser;
pub mod draws;
pub mod events;
pub mod feed;
mod footprint;
mod fresh;
pub mod gallery;
mod hold;
mod journal;
pub mod options;
pub mod prior;
pub mod run;
mod saved;
pub mod shell;
pub mod stage;
mod step_stats;
mod streamed;
pub mod tokenizer;

pub use clip::ClipTrainer;
pub use denoiser::DenoiserTrainer;
pub use feed::Feed;
pub use options::{Ending, Outcome, Resume, RunOptions};
pub use prior::PriorTrainer;
pub use run::run;
pub use stage::Stage;
pub use tokenizer::TokenizerTrainer;
