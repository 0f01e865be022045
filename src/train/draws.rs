//! Everything random about an update: drawn for the whole global batch at once, so that 1 and 128 ranks draw the same.
//!
//! Letters: B pictures of the global batch, n rows of it, h x w tokens, K codes.

use crate::device::seed_step;
use crate::noise::{add_noise, draw_mask, random_tokens, uniform};
use crate::recipe::{NoiseRatio, TrainConfig};
use tch::{Device, Tensor};

/// A batch of tokens under noise.
pub struct Noised {
    /// Noise ratio of each picture (n,) f32.
    pub t: Tensor,
    /// Where noise stands (n, h, w) bool.
    pub mask: Tensor,
    /// Tokens with noise (n, h, w) i64.
    pub tokens: Tensor,
}

/// Noise tokens (B, h, w) at ratios t (B,).
pub fn corrupt(tokens: &Tensor, t: Tensor, num_labels: i64) -> Noised {
    let mask = draw_mask(&uniform(&tokens.size(), tokens.device()), &t);
    let noise = random_tokens(&tokens.size(), num_labels, tokens.device());
    Noised { tokens: add_noise(tokens, &noise, &mask), t, mask }
}

/// One batch of noise ratios (B,) in (0, 1].
pub fn draw_t(b: i64, how: NoiseRatio, device: Device) -> Tensor {
    match how {
        NoiseRatio::Uniform => uniform(&[b], device),
        NoiseRatio::Power(p) => uniform(&[b], device).pow_tensor_scalar(1.0 / p),
    }
}

/// The draws of one update.
pub struct Draws {
    /// The row of the global batch that these begin with.
    pub first: usize,
    t: Tensor,     // (B,) f32
    mask: Tensor,  // (B, h, w) bool
    noise: Tensor, // (B, h, w) i64
    /// Captions to replace by the empty one (B, 1) bool.
    pub drop: Tensor,
}

impl Draws {
    /// Of step `step`: they depend on (seed, step) alone. `grid` is (h, w).
    pub fn new(
        recipe: &TrainConfig,
        (seed, step): (u64, u64),
        grid: (i64, i64),
        num_labels: i64,
        device: Device,
    ) -> Self {
        seed_step(seed, step);
        let b = recipe.global_batch as i64;
        let size = [b, grid.0, grid.1];
        let t = draw_t(b, recipe.noise_ratio, device);
        Self {
            first: 0,
            mask: draw_mask(&uniform(&size, device), &t),
            noise: random_tokens(&size, num_labels, device),
            drop: uniform(&[b, 1], device).le(recipe.cond_drop),
            t,
        }
    }

    /// `n` of these rows, from row `first` on.
    pub fn rows(&self, first: usize, n: usize) -> Self {
        let some = |xs: &Tensor| xs.narrow(0, first as i64, n as i64);
        Self {
            first: self.first + first,
            t: some(&self.t),
            mask: some(&self.mask),
            noise: some(&self.noise),
            drop: some(&self.drop),
        }
    }

    /// Put the noise on tokens (n, h, w).
    pub fn corrupt(&self, tokens: &Tensor) -> Noised {
        Noised {
            t: self.t.shallow_clone(),
            mask: self.mask.shallow_clone(),
            tokens: add_noise(tokens, &self.noise, &self.mask),
        }
    }
}
