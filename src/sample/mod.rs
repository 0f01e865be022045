//! The sampler: from random tokens to a picture in a dozen passes.
//!
//! Letters: B pictures, K codes, h rows and w columns of tokens.

mod chance;
mod seeds;
mod steps;

pub use chance::{Chance, Greedy, Random, chance};
pub use seeds::PictureSeeds;
pub use steps::{SampleConfig, Step, linspace};

use crate::model::{Cond, Denoiser};
use crate::noise::{add_noise, draw_mask};
use tch::{Kind, Tensor};

/// Sampling of one batch of pictures: model, conditions, and the one grid of noise that it starts from.
pub struct Sampler<'a> {
    pub model: &'a dyn Denoiser,
    pub cond: &'a Cond,
    /// Conditions of the empty (or a negative) text: guidance leads away from them.
    pub null: &'a Cond,
    pub noise: &'a Tensor, // (B, h, w) i64
    pub chance: &'a dyn Chance,
    /// Part of the picture that is sampled; None: all of it.
    pub region: Option<Region<'a>>,
}

/// Tokens that may change, and the picture that stays around them.
#[derive(Clone, Copy)]
pub struct Region<'a> {
    /// True where tokens are sampled (B, h, w) bool.
    pub mask: &'a Tensor,
    /// Tokens of the picture (B, h, w) i64.
    pub original: &'a Tensor,
}

/// What one pass gives: tokens (B, h, w) i64, as drawn, and as the next pass gets them.
#[derive(Debug)]
pub struct Pass {
    pub drawn: Tensor,
    /// `drawn` with noise put back, and the original outside of the region.
    pub after: Tensor,
}

impl Sampler<'_> {
    /// Guess the original of these tokens: (B, h, w) i64 -> guided logits (B, K, h, w).
    pub fn guess(&self, tokens: &Tensor, step: Step) -> Tensor {
        let t = Tensor::full([tokens.size()[0]], step.t, (Kind::Float, tokens.device())); // (B,)
        if step.cfg_scale == 1.0 {
            return self.model.logits(tokens, &t, self.cond); // scale 1 is the guess with text alone: one evaluation
        }
        let (with_text, without) = self.model.guidance_logits(tokens, &t, self.cond, self.null); // each (B, K, h, w)
        // without + (with_text - without) x scale: away from what any picture would have, towards the text.
        // Written as the reference does, so that its numbers come out to the last digit.
        with_text * step.cfg_scale + without * (1.0 - step.cfg_scale)
    }

    /// Put a little less noise back than there was: tokens (B, h, w) -> (B, h, w).
    pub fn renoise(&self, tokens: &Tensor, step: Step) -> Tensor {
        let t = Tensor::full([tokens.size()[0]], step.t_next, (Kind::Float, tokens.device())); // (B,)
        let u = self.chance.uniform(&tokens.size(), tokens.device()); // (B, h, w)
        // Always the noise of the start: a place that stays noise keeps its token from pass to pass.
        add_noise(tokens, self.noise, &draw_mask(&u, &t))
    }

    /// One pass: guess every token, draw, renoise.
    pub fn denoise(&self, tokens: &Tensor, step: Step) -> Pass {
        let _no_grad = tch::no_grad_guard();
        let drawn = self.chance.draw(&self.guess(tokens, step), step.temperature); // (B, h, w)
        let after = self.keep(self.renoise(&drawn, step));
        Pass { drawn, after }
    }

    /// The passes of `schedule` from `start` (the noise itself for a new picture), each made when it is asked for.
    pub fn passes<'p>(
        &'p self,
        start: &'p Tensor,
        schedule: &'p [Step],
    ) -> impl Iterator<Item = Pass> + 'p {
        let reader = self.model.reader(self.cond, self.null); // reads the text once, not in every pass
        schedule.iter().scan(self.keep(start.shallow_clone()), move |tokens, &step| {
            let model = reader.as_deref().unwrap_or(self.model);
            let pass = Sampler { model, ..*self }.denoise(tokens, step);
            *tokens = pass.after.shallow_clone();
            Some(pass)
        })
    }

    /// Tokens (B, h, w) after the last pass.
    pub fn run(&self, start: &Tensor, schedule: &[Step]) -> Tensor {
        self.passes(start, schedule).last().map_or_else(|| start.shallow_clone(), |pass| pass.after)
    }

    /// The picture itself outside of the region.
    fn keep(&self, tokens: Tensor) -> Tensor {
        match self.region {
            Some(Region { mask, original }) => tokens.where_self(mask, original),
            None => tokens,
        }
    }
}
