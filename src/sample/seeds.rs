//! Draws that belong to a picture, not to its batch.

use super::{Chance, chance};
use crate::noise::{random_tokens, uniform};
use std::cell::{Cell, RefCell};
use tch::{Device, Tensor};

/// Every picture of a batch draws from a seed of its own: any picture of a batch can be made again by itself, and a
/// repeated pass draws the same.
pub struct PictureSeeds {
    seeds: Vec<u64>,
    chance: &'static dyn Chance,
    /// The coming pass, from 0.
    pass: Cell<u64>,
    /// What each picture will need to renoise, drawn with its tokens.
    uniforms: RefCell<Vec<Tensor>>,
}

impl PictureSeeds {
    /// For pictures of these seeds, from pass `pass` on.
    pub fn new(seeds: &[u64], pass: usize, greedy: bool) -> Self {
        let (pass, uniforms) = (Cell::new(pass as u64), RefCell::default());
        Self { seeds: seeds.to_vec(), chance: chance(greedy), pass, uniforms }
    }

    /// The noise (B, h, w) i64 that pictures of these seeds start from, and uniform numbers (B, h, w) in (0, 1] that decide
    /// where a picture begins under it.
    pub fn start(
        seeds: &[u64],
        (h, w): (i64, i64),
        num_labels: i64,
        device: Device,
    ) -> (Tensor, Tensor) {
        let one = |&seed: &u64| {
            tch::manual_seed(seed as i64); // libtorch takes the same 64 bits
            (random_tokens(&[1, h, w], num_labels, device), uniform(&[1, h, w], device))
        };
        let (noise, uniforms): (Vec<_>, Vec<_>) = seeds.iter().map(one).unzip();
        (Tensor::cat(&noise, 0), Tensor::cat(&uniforms, 0))
    }
}

impl Chance for PictureSeeds {
    fn draw(&self, logits: &Tensor, temperature: f64) -> Tensor {
        let (b, _, h, w) = logits.size4().expect("logits are (B, K, h, w)");
        assert_eq!(b as usize, self.seeds.len(), "a seed for each picture");
        let pass = self.pass.replace(self.pass.get() + 1);
        let one = |(i, &seed): (usize, &u64)| {
            // Spread by a large factor: runs with neighbouring seeds share no pass. Shifted by one: the first pass of
            // seed 0 would repeat the draws of its noise.
            tch::manual_seed(seed.wrapping_mul(1_000_003).wrapping_add(pass + 1) as i64);
            let tokens = self.chance.draw(&logits.narrow(0, i as i64, 1), temperature);
            (tokens, self.chance.uniform(&[1, h, w], logits.device()))
        };
        let (tokens, uniforms): (Vec<_>, Vec<_>) = self.seeds.iter().enumerate().map(one).unzip();
        *self.uniforms.borrow_mut() = uniforms;
        Tensor::cat(&tokens, 0) // (B, h, w)
    }

    fn uniform(&self, _size: &[i64], _device: Device) -> Tensor {
        Tensor::cat(&self.uniforms.borrow(), 0) // (B, h, w)
    }
}
