//! The sampler: from random tokens to a picture in a dozen passes.
//!
//! Letters: B pictures, K codes, h rows and w columns of tokens.

use crate::model::{Cond, Denoiser};
use crate::noise::{add_noise, draw_mask, uniform};
use crate::plan::Step;
use tch::{Device, Kind, Tensor};

/// Where chance comes from; a test replays stored draws through it.
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
        let probs = (logits / temperature).softmax(1, Kind::Float).movedim_int(1, -1); // (B, h, w, K)
        probs.reshape([-1, k]).multinomial(1, true).view([b, h, w])
    }

    fn uniform(&self, size: &[i64], device: Device) -> Tensor {
        uniform(size, device)
    }
}

/// The most likely token, always: no temperature, no luck in the tokens.
pub struct Greedy;

impl Chance for Greedy {
    fn draw(&self, logits: &Tensor, _temperature: f64) -> Tensor {
        logits.argmax(1, false)
    }

    fn uniform(&self, size: &[i64], device: Device) -> Tensor {
        uniform(size, device)
    }
}

/// One picture (or batch) being made: model, text, its absence, and the one grid of noise it starts from.
pub struct Sampler<'a> {
    pub model: &'a dyn Denoiser,
    pub cond: &'a Cond,
    pub null: &'a Cond,
    pub noise: &'a Tensor, // (B, h, w) i64
    pub chance: &'a dyn Chance,
}

impl Sampler<'_> {
    /// What the model thinks of these tokens: (B, h, w) i64 -> guided logits (B, K, h, w).
    pub fn guess(&self, tokens: &Tensor, step: Step) -> Tensor {
        let t = Tensor::full([tokens.size()[0]], step.t, (Kind::Float, tokens.device()));
        let with_text = self.model.logits(tokens, &t, self.cond);
        if step.cfg_scale == 1.0 {
            return with_text;
        }
        let without = self.model.logits(tokens, &t, self.null);
        with_text * step.cfg_scale + without * (1.0 - step.cfg_scale)
    }

    /// Put a little less noise back than there was: tokens (B, h, w) -> (B, h, w).
    pub fn renoise(&self, tokens: &Tensor, step: Step) -> Tensor {
        let t = Tensor::full([tokens.size()[0]], step.t_next, (Kind::Float, tokens.device()));
        let u = self.chance.uniform(&tokens.size(), tokens.device());
        add_noise(tokens, self.noise, &draw_mask(&u, &t))
    }

    /// One pass: guess every token, draw, renoise.
    pub fn denoise(&self, tokens: &Tensor, step: Step) -> Tensor {
        let drawn = self.chance.draw(&self.guess(tokens, step), step.temperature);
        self.renoise(&drawn, step)
    }

    /// The whole plan, from `start` (the noise itself for a new picture).
    pub fn run(&self, start: &Tensor, plan: &[Step]) -> Tensor {
        let _no_grad = tch::no_grad_guard();
        plan.iter().fold(start.shallow_clone(), |tokens, &step| self.denoise(&tokens, step))
    }

    /// The same, but tokens outside `mask` (B, h, w) bool stay those of `start`.
    pub fn inpaint(
        &self,
        start: &Tensor,
        original: &Tensor,
        mask: &Tensor,
        plan: &[Step],
    ) -> Tensor {
        let _no_grad = tch::no_grad_guard();
        let keep = |tokens: &Tensor| tokens.where_self(mask, original);
        plan.iter().fold(keep(start), |tokens, &step| keep(&self.denoise(&tokens, step)))
    }
}
