//! How a token is drawn from its scores, and where the random numbers come from.
//!
//! Letters: B pictures, K codes, h rows and w columns of tokens.

use crate::noise::uniform;
use crate::torch::cpu::multinomial;
use tch::{Device, Kind, Tensor};

/// Source of the random draws; a test replays stored ones through it.
pub trait Chance {
    /// Scores (B, K, h, w) -> tokens (B, h, w) i64, one draw each.
    fn draw(&self, logits: &Tensor, temperature: f64) -> Tensor;
    /// Uniform numbers in (0, 1] of this size.
    fn uniform(&self, size: &[i64], device: Device) -> Tensor;
}

/// A fresh multinomial draw and fresh uniforms from libtorch's generator.
pub struct Random;

impl Chance for Random {
    fn draw(&self, logits: &Tensor, temperature: f64) -> Tensor {
        let (b, k, h, w) = logits.size4().expect("logits are (B, K, h, w)");
        // softmax is fast over neighbours in memory: the codes of a position go side by side
        let rows = logits.movedim_int(1, -1).reshape([-1, k]) / temperature; // (B h w, K)
        // Every place draws on its own: neighbours agree only through the guesses of the next pass.
        // A single picture draws code by code, several draw place by place: each draws what earlier versions drew.
        multinomial(&rows.softmax(-1, Kind::Float), b == 1).view([b, h, w]) // (B, h, w)
    }

    fn uniform(&self, size: &[i64], device: Device) -> Tensor {
        uniform(size, device)
    }
}

/// The most likely token, always: no temperature, no random tokens.
pub struct Greedy;

impl Chance for Greedy {
    fn draw(&self, logits: &Tensor, _temperature: f64) -> Tensor {
        logits.argmax(1, false)
    }

    fn uniform(&self, size: &[i64], device: Device) -> Tensor {
        uniform(size, device)
    }
}

/// The draws of a sampler: libtorch's generator, or no random tokens if `greedy`.
pub fn chance(greedy: bool) -> &'static dyn Chance {
    if greedy { &Greedy } else { &Random }
}
