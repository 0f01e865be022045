//! The sampler: from random tokens to a picture in a dozen passes.
//!
//! Letters: B pictures, K codes, h rows and w columns of tokens.

mod seeds;
mod steps;

pub use seeds::PictureSeeds;
pub use steps::{SampleConfig, Step, linspace};

use crate::model::{Cond, Denoiser};
use crate::noise::{add_noise, draw_mask, uniform};
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
        let probs = match logits.device().is_cuda() {
            // a GPU goes through the codes of a place side by side only where they lie side by side
            true => (logits.movedim_int(1, -1).contiguous() / temperature).softmax(-1, Kind::Float),
            false => (logits / temperature).softmax(1, Kind::Float).movedim_int(1, -1),
        }; // (B, h, w, K)
        // Every place draws on its own: neighbours agree only through the guesses of the next pass.
        probs.reshape([-1, k]).multinomial(1, true).view([b, h, w]) // (B, h, w)
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

/// The draws of a sampler: libtorch's generator, or no luck in the tokens if `greedy`.
pub fn chance(greedy: bool) -> &'static dyn Chance {
    if greedy { &Greedy } else { &Random }
}

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
            return self.model.logits(tokens, &t, self.cond); // guidance of 1 leaves nothing of `without`: half the work
        }
        let (with_text, without) = self.model.both(tokens, &t, self.cond, self.null); // each (B, K, h, w)
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

    /// The passes of `plan` from `start` (the noise itself for a new picture), each made when it is asked for.
    pub fn passes<'p>(
        &'p self,
        start: &'p Tensor,
        plan: &'p [Step],
    ) -> impl Iterator<Item = Pass> + 'p {
        plan.iter().scan(self.keep(start.shallow_clone()), |tokens, &step| {
            let pass = self.denoise(tokens, step);
            *tokens = pass.after.shallow_clone();
            Some(pass)
        })
    }

    /// Tokens (B, h, w) after the last pass.
    pub fn run(&self, start: &Tensor, plan: &[Step]) -> Tensor {
        self.passes(start, plan).last().map_or_else(|| start.shallow_clone(), |pass| pass.after)
    }

    /// The picture itself outside of the region.
    fn keep(&self, tokens: Tensor) -> Tensor {
        match self.region {
            Some(Region { mask, original }) => tokens.where_self(mask, original),
            None => tokens,
        }
    }
}
