//! Converts pictures to tokens and back, and text to vectors.

pub mod clip;
pub mod codebook;
pub mod discriminator;
pub mod lpips;
pub mod pieces;
pub mod text;
pub mod vqgan;
pub mod words;
