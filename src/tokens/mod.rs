//! Pictures and words into numbers, and back.

pub mod codebook;
pub mod text;
pub mod vqgan;
