//! The random draws of an update. They are made for the whole global batch on every rank, so that 1 and 128 ranks draw
//! the same.
//!
//! Letters: B pictures of the global batch, n rows of it, h x w tokens, K codes.

use crate::device::seed_step;
use crate::noise::{Noised, draw_mask, random_tokens, uniform};
use crate::recipe::{DropBy, TrainConfig};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

/// Noise ratios (B,) of the batch of step `step`, in (0, 1].
fn draw_t(recipe: &TrainConfig, step: u64, device: Device) -> Tensor {
    let us = uniform(&[recipe.global_batch as i64], device);
    let p = recipe.noise_ratio.power(step, recipe.steps);
    // the largest of p uniform numbers has this distribution
    if p == 1.0 { us } else { us.pow_tensor_scalar(1.0 / p) }
}

/// Which conditions the model receives for this batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditioning {
    /// Captions. Used only if captions are dropped by batch.
    pub captions: bool,
    /// CLIP vectors of the captions.
    pub clip_text: bool,
    /// CLIP vectors of the pictures.
    pub clip_image: bool,
}

impl Conditioning {
    /// The conditions of step `step`. They use a separate generator, so that they do not change other draws.
    ///
    /// Source:  dome272/Paella src_distributed/train.py: 95 %, 10 % and 10 % of the batches.
    pub fn new(recipe: &TrainConfig, (seed, step): (u64, u64)) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(step); // its own generator: one more condition changes no mask of an earlier run
        let mut uniform = || rng.next_u32() as f64 / (1u64 << 32) as f64; // in [0, 1)
        let [drop, text, image] = [(); 3].map(|()| uniform());
        Self {
            captions: drop >= recipe.cond_drop,
            clip_text: text < recipe.clip_text,
            clip_image: image < recipe.clip_image,
        }
    }
}

/// The draws of one update.
pub struct Draws {
    /// The first of these rows in the global batch.
    pub first: usize,
    pub conditioning: Conditioning,
    t: Tensor,     // (B,) f32
    mask: Tensor,  // (B, h, w) bool
    noise: Tensor, // (B, h, w) i64
    /// Which captions to replace by the empty text, (B, 1) bool.
    pub drop: Tensor,
}

impl Draws {
    /// The draws of step `step`. They depend on (seed, step) only. `grid` is (h, w).
    pub fn new(
        recipe: &TrainConfig,
        (seed, step): (u64, u64),
        grid: (i64, i64),
        num_labels: i64,
        device: Device,
    ) -> Self {
        seed_step(seed, step); // a resumed run draws what an uninterrupted one would have drawn
        let b = recipe.global_batch as i64;
        let size = [b, grid.0, grid.1];
        let t = draw_t(recipe, step, device);
        let conditioning = Conditioning::new(recipe, (seed, step));
        Self {
            first: 0,
            conditioning,
            mask: draw_mask(&uniform(&size, device), &t),
            // for every place, also where the mask is false: how much is drawn must not depend on what was drawn
            noise: random_tokens(&size, num_labels, device),
            drop: match recipe.drop_by {
                DropBy::Caption => uniform(&[b, 1], device).le(recipe.cond_drop),
                DropBy::Batch => {
                    // all pictures of the batch or none, as the published run did
                    Tensor::full([b, 1], i64::from(!conditioning.captions), (Kind::Bool, device))
                }
            },
            t,
        }
    }

    /// `n` of these rows, starting at row `first`.
    pub fn rows(&self, first: usize, n: usize) -> Self {
        let some = |xs: &Tensor| xs.narrow(0, first as i64, n as i64); // views
        Self {
            first: self.first + first,
            conditioning: self.conditioning,
            t: some(&self.t),
            mask: some(&self.mask),
            noise: some(&self.noise),
            drop: some(&self.drop),
        }
    }

    /// Tokens (n, h, w) under this step's noise; [`crate::noise::corrupt`] draws its own.
    pub fn noised(&self, tokens: &Tensor) -> Noised {
        Noised::new(tokens, &self.noise, self.mask.shallow_clone(), self.t.shallow_clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(drop_by: DropBy) -> TrainConfig {
        TrainConfig {
            cond_drop: 0.05,
            drop_by,
            clip_text: 0.1,
            clip_image: 0.1,
            ..TrainConfig::default()
        }
    }

    #[test]
    fn batches_get_conditions_as_often_as_the_shares_say() {
        let recipe = recipe(DropBy::Batch);
        let all: Vec<Conditioning> =
            (0..10_000).map(|step| Conditioning::new(&recipe, (7, step))).collect();
        let count = |which: fn(&Conditioning) -> bool| {
            all.iter().filter(|given| which(given)).count() as i64
        };
        // 5 sigma of a share of 10 %: 5 x sqrt(10,000 x 0.1 x 0.9) = 150; of 5 %: 109
        assert!((count(|given| !given.captions) - 500).abs() < 109);
        assert!((count(|given| given.clip_text) - 1000).abs() < 150);
        assert!((count(|given| given.clip_image) - 1000).abs() < 150);
        // independent of each other: 1 % of 10,000, 5 sigma 50
        assert!((count(|given| given.clip_text && given.clip_image) - 100).abs() < 50);
        let none = TrainConfig::default();
        assert!((0..1000).all(|step| {
            let conditioning = Conditioning::new(&none, (7, step));
            !conditioning.clip_text && !conditioning.clip_image
        }));
    }

    #[test]
    fn captions_go_together_or_one_by_one() {
        let drops = |drop_by, step| {
            let recipe = TrainConfig { global_batch: 64, cond_drop: 0.5, ..recipe(drop_by) };
            let drop = Draws::new(&recipe, (3, step), (2, 2), 8, Device::Cpu).drop;
            drop.to_kind(Kind::Int64).sum(Kind::Int64).int64_value(&[])
        };
        let by_batch: Vec<i64> = (0..40).map(|step| drops(DropBy::Batch, step)).collect();
        assert!(by_batch.iter().all(|n| [0, 64].contains(n)), "{by_batch:?}");
        assert!(by_batch.contains(&0) && by_batch.contains(&64));
        assert!((0..4).all(|step| (1..64).contains(&drops(DropBy::Caption, step))));
    }
}
