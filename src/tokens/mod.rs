//! Pictures and words into numbers, and back.

pub mod clip;
pub mod codebook;
pub mod pieces;
pub mod text;
pub mod vqgan;
