//! Training: first the tokenizer, then the denoiser on its tokens.

pub mod denoiser;
pub mod run;
pub mod tokenizer;

pub use denoiser::Trainer;
pub use run::{Options, Outcome, run};
pub use tokenizer::TokenizerTrainer;
