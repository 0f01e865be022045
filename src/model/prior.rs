//! The prior: turns the CLIP vector of a text into the CLIP vector of a picture, by diffusion.
//!
//! Noise is mixed into a picture's vector along a schedule; the network guesses the noise, a sampler takes it away.
//!
//! Letters: B pictures, r width of a CLIP vector, t time in 0..=1 (1 = all noise).
//!
//! Source: pabloppp/Arroz-Con-Cosas, `PriorModel` and `Diffuzz`; weights carry the names of its state dict.

use super::init::{Init, VarBuilder};
use super::layers::{LayerNorm, Linear, embed_ratio};
use crate::torch::precision::{Autocast, products_in_bf16};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ron_faults::{Checks, Fault};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::f64::consts::{FRAC_PI_2, TAU};
use tch::{Device, Kind, Tensor, nn};

/// Sizes of the prior; the default is the published `prior_v1`, 899,770,624 parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PriorConfig {
    /// Width of a CLIP vector.
    pub clip_r: i64,
    pub c_hidden: i64,
    /// Width of the time's embedding.
    pub c_r: i64,
    pub num_blocks: i64,
    /// Keep the weights of products in bf16: half the memory, for a prior that is not trained.
    pub bf16: bool,
}

impl Default for PriorConfig {
    fn default() -> Self {
        Self { clip_r: 1024, c_hidden: 1280, c_r: 64, num_blocks: 48, bf16: false }
    }
}

impl PriorConfig {
    /// Everything that is wrong though well formed.
    pub fn check(&self) -> Vec<Fault> {
        let mut found = Checks::default();
        found.within("clip_r", self.clip_r, 1, 1 << 16);
        found.within("c_hidden", self.c_hidden, 1, 1 << 16);
        found.within("c_r", self.c_r, 4, 1 << 16);
        found.within("num_blocks", self.num_blocks, 1, 1000);
        found.faults()
    }
}

/// A stack of residual blocks. Each of them reads text and time again.
#[derive(Debug)]
pub struct PriorModel {
    config: PriorConfig,
    widen: Linear,
    blocks: Vec<PriorBlock>,
    narrow: Linear,
}

impl PriorModel {
    pub fn new(p: &VarBuilder, config: &PriorConfig) -> Self {
        let PriorConfig { clip_r, c_hidden, num_blocks, .. } = *config;
        let p = p / "blocks";
        let last = &p / (num_blocks + 1); // the reference keeps all three kinds in one list: 0, the blocks, the last
        Self {
            widen: Linear::new(&(&p / 0), clip_r, c_hidden, uniform(clip_r, 1.0)),
            blocks: (1..=num_blocks).map(|i| PriorBlock::new(&(&p / i), config)).collect(),
            narrow: Linear::new(&last, c_hidden, clip_r, uniform(c_hidden, 1.0)),
            config: config.clone(),
        }
    }

    pub fn config(&self) -> &PriorConfig {
        &self.config
    }

    /// Stores the weights of products in bf16 if the config says so. The norms stay f32.
    pub fn store_in_bf16(&self, vars: &nn::VarStore) {
        let matrices = vars.variables();
        if self.config.bf16 {
            products_in_bf16(vars, |name| matrices[name].dim() < 2);
        }
    }

    /// The noise in xs (B, r) at time t (B,), given the text's CLIP vector cond (B, r) -> (B, r).
    pub fn forward(&self, xs: &Tensor, t: &Tensor, cond: &Tensor) -> Tensor {
        let _bf16 = Autocast::bf16(self.config.bf16, xs.device()).expect("bf16 for products");
        let t_embed = self.embed_t(t); // (B, c_r)
        // every block sees the condition and the time afresh
        let block = |xs: Tensor, block: &PriorBlock| block.forward(&xs, cond, &t_embed);
        let xs = self.widen.forward(xs); // (B, c_hidden)
        let xs = self.narrow.forward(&self.blocks.iter().fold(xs, block)); // (B, r)
        if self.config.bf16 { xs.to_kind(Kind::Float) } else { xs }
    }

    /// Sines and cosines of the time: t (B,) -> (B, c_r).
    pub fn embed_t(&self, t: &Tensor) -> Tensor {
        embed_ratio(t, self.config.c_r)
    }
}

/// PyTorch's init of a linear layer, times a gain.
fn uniform(fan_in: i64, gain: f64) -> Init {
    Init::Uniform(gain * (fan_in as f64).powf(-0.5))
}

/// Linear, norm, GELU, linear, norm, around which the input is added back.
#[derive(Debug)]
struct PriorBlock {
    widen: Linear,
    norm: LayerNorm,
    narrow: Linear,
    out_norm: LayerNorm,
}

impl PriorBlock {
    fn new(p: &VarBuilder, config: &PriorConfig) -> Self {
        let PriorConfig { clip_r, c_hidden: c, c_r, num_blocks, .. } = *config;
        // the reference's gain for a sum over blocks; the norm behind `widen` takes it out again
        let (i, gain) = (c + clip_r + c_r, (1.0 / num_blocks as f64).sqrt());
        Self {
            widen: Linear::without_bias(&(p / 0), i, 4 * c, uniform(i, gain)),
            norm: LayerNorm::new(&(p / 1), 4 * c),
            narrow: Linear::without_bias(&(p / 3), 4 * c, c, uniform(4 * c, 1.0)),
            out_norm: LayerNorm::new(&(p / 4), c),
        }
    }

    /// xs (B, c_hidden), cond (B, r), t_embed (B, c_r) -> (B, c_hidden).
    fn forward(&self, xs: &Tensor, cond: &Tensor, t_embed: &Tensor) -> Tensor {
        let ys = self.widen.forward(&Tensor::cat(&[xs, cond, t_embed], 1)); // (B, 4 c_hidden)
        let ys = self.narrow.forward(&self.norm.forward(&ys).gelu("none")); // (B, c_hidden)
        self.out_norm.forward(&ys) + xs // (B, c_hidden)
    }
}

/// How much of the signal is left at a time: a cosine that starts a little late.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// How late; keeps the first steps from being too small.
    pub s: f64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { s: 0.008 }
    }
}

/// Two neighbouring times, each (B,) f32: from `t` back to `t_prev`.
#[derive(Clone, Copy, Debug)]
pub struct Interval<'a> {
    pub t: &'a Tensor,
    pub t_prev: &'a Tensor,
}

impl Schedule {
    /// Share of the signal's power that is left, `alpha_cumprod`: t (any shape) f32 -> the same shape.
    ///
    /// Formula: a(t) = cos^2((t + s) / (1 + s) pi / 2) / cos^2(s / (1 + s) pi / 2), within 0.0001..=0.9999.
    pub fn alpha(&self, t: &Tensor) -> Tensor {
        // divided by its value at 0, so that t = 0 is the vector without noise
        let start = (self.s / (1.0 + self.s) * FRAC_PI_2).cos().powi(2);
        let angle = (t + self.s) / (1.0 + self.s) * FRAC_PI_2;
        (angle.cos().square() / start).clamp(0.0001, 0.9999) // the steps back divide by it and by its rest
    }

    /// The same as a column (B, 1), to be multiplied with vectors.
    fn column(&self, t: &Tensor) -> Tensor {
        self.alpha(t).unsqueeze(1)
    }

    /// Mix noise in: xs, noise (B, r), t (B,) -> (B, r). Formula: sqrt(a) x + sqrt(1 - a) noise.
    pub fn diffuse(&self, xs: &Tensor, noise: &Tensor, t: &Tensor) -> Tensor {
        let a = self.column(t); // (B, 1)
        // the squares of both factors sum to 1: the variance stays that of the vectors
        a.sqrt() * xs + rest(&a).sqrt() * noise // (B, r)
    }

    /// One step back that puts fresh noise in: xs, guess (the noise guessed), fresh (B, r) -> (B, r).
    ///
    /// Formula: with q = a(t) / a(t'), mu = (x - (1 - q) e / sqrt(1 - a(t))) / sqrt(q), and unless t' = 0
    ///          plus sqrt((1 - q) (1 - a(t')) / (1 - a(t))) z.
    pub fn ddpm(&self, xs: &Tensor, guess: &Tensor, at: Interval, fresh: &Tensor) -> Tensor {
        let (a, a_prev) = (self.column(at.t), self.column(at.t_prev)); // (B, 1)
        let q = &a / &a_prev; // what is left of the signal in this one step
        let mu = (xs - rest(&q) * guess / rest(&a).sqrt()) / q.sqrt();
        // the variance of the true step back, if the clean vector were known
        let std = (rest(&q) * rest(&a_prev) / rest(&a)).sqrt();
        // noise put back at t' = 0 would stay in the result
        let goes_on = at.t_prev.ne(0.0).to_kind(Kind::Float).unsqueeze(1); // (B, 1)
        mu + std * fresh * goes_on
    }

    /// One step back without chance: xs, guess (B, r) -> (B, r).
    ///
    /// Formula: x0 = (x - sqrt(1 - a(t)) e) / sqrt(a(t)), then sqrt(a(t')) x0 + sqrt(1 - a(t')) e.
    pub fn ddim(&self, xs: &Tensor, guess: &Tensor, at: Interval) -> Tensor {
        let (a, a_prev) = (self.column(at.t), self.column(at.t_prev)); // (B, 1)
        let clean = (xs - rest(&a).sqrt() * guess) / a.sqrt(); // what xs would be without its noise
        a_prev.sqrt() * clean + rest(&a_prev).sqrt() * guess
    }

    /// Weight of a time in the loss: t (any shape) -> the same shape. Formula: (k + a / (1 - a))^-gamma.
    pub fn p2_weight(&self, t: &Tensor, k: f64, gamma: f64) -> Tensor {
        let a = self.alpha(t);
        (&a / rest(&a) + k).pow_tensor_scalar(-gamma) // (B,); a / (1 - a) is the ratio of signal to noise
    }
}

/// 1 - share.
fn rest(share: &Tensor) -> Tensor {
    1.0 - share
}

/// Which step the sampler takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// Fresh noise at every step.
    Ddpm,
    /// No fresh noise.
    Ddim,
}

/// How a vector is sampled. Source: the defaults of `Diffuzz.sample`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PriorSampleConfig {
    /// Passes of the model, at least 1.
    pub steps: i64,
    /// Classifier-free guidance: 1 is off, and none saves the second pass.
    pub cfg_scale: Option<f64>,
    /// Time of the start, 0..=1.
    pub t_start: f64,
    /// Time of the result, 0..=1.
    pub t_end: f64,
    pub method: Method,
}

impl Default for PriorSampleConfig {
    fn default() -> Self {
        Self { steps: 20, cfg_scale: Some(3.0), t_start: 1.0, t_end: 0.0, method: Method::Ddpm }
    }
}

impl PriorSampleConfig {
    /// Everything that is wrong though well formed.
    pub fn check(&self) -> Vec<Fault> {
        let mut found = Checks::default();
        found.within("steps", self.steps, 1, 1000);
        found.number("cfg_scale", self.cfg_scale.unwrap_or(1.0), 0.0, 100.0);
        found.share("t_start", self.t_start);
        found.share("t_end", self.t_end);
        found.faults()
    }

    /// The times in the order they are visited, `steps` + 1 of them: f32 on the CPU.
    ///
    /// A quirk kept from the reference: `t_start` itself is left out. So the first pass gets the time of
    /// steps / (steps + 1) of the way, although its input is pure noise.
    pub fn times(&self) -> Tensor {
        let kind = (Kind::Float, Device::Cpu);
        Tensor::linspace(self.t_start, self.t_end, self.steps + 2, kind).narrow(
            0,
            1,
            self.steps + 1,
        )
    }
}

/// Where fresh noise comes from; a test replays stored noise through it.
pub trait Fresh {
    /// Standard normal numbers of the size of xs (B, r).
    fn normal(&self, xs: &Tensor) -> Tensor;
}

/// Fresh noise from libtorch's generator.
pub struct Normal;

impl Fresh for Normal {
    fn normal(&self, xs: &Tensor) -> Tensor {
        xs.randn_like()
    }
}

/// Fresh noise from a generator of its own: nothing else that is drawn changes, on any device.
pub struct Seeded(RefCell<ChaCha8Rng>);

impl Seeded {
    pub fn new(seed: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        Self(RefCell::new(ChaCha8Rng::from_seed(key)))
    }
}

impl Fresh for Seeded {
    /// Box and Muller: sqrt(-2 ln u) cos(2 pi v), u in (0, 1], v in [0, 1).
    fn normal(&self, xs: &Tensor) -> Tensor {
        let mut rng = self.0.borrow_mut();
        let mut uniform = || rng.next_u32() as f64 / (1u64 << 32) as f64;
        let mut draw = || ((-2.0 * (1.0 - uniform()).ln()).sqrt() * (TAU * uniform()).cos()) as f32;
        let numbers: Vec<f32> = (0..xs.numel()).map(|_| draw()).collect();
        Tensor::from_slice(&numbers).view_as(xs).to_device(xs.device())
    }
}

/// One batch being made: the model, the text's vectors cond (B, r), and what stands for no text.
pub struct PriorSampler<'a> {
    pub model: &'a PriorModel,
    pub schedule: Schedule,
    pub cond: &'a Tensor,
    /// Zeros (B, r) in the reference, unless given.
    pub null: &'a Tensor,
    pub fresh: &'a dyn Fresh,
}

impl PriorSampler<'_> {
    /// The noise guessed in xs (B, r) at time t (B,), pushed away from the guess without text -> (B, r).
    pub fn guess(&self, xs: &Tensor, t: &Tensor, cfg_scale: Option<f64>) -> Tensor {
        let with_text = self.model.forward(xs, t, self.cond); // (B, r)
        match cfg_scale {
            None => with_text,
            // beyond the guess with text, away from the one without, when the scale is above 1
            Some(scale) => self.model.forward(xs, t, self.null).lerp(&with_text, scale),
        }
    }

    /// One pass: xs (B, r) at a time -> (B, r) at the time before.
    pub fn denoise(&self, xs: &Tensor, at: Interval, config: &PriorSampleConfig) -> Tensor {
        let guess = self.guess(xs, at.t, config.cfg_scale);
        match config.method {
            Method::Ddpm => self.schedule.ddpm(xs, &guess, at, &self.fresh.normal(xs)),
            Method::Ddim => self.schedule.ddim(xs, &guess, at),
        }
    }

    /// From `start` (B, r), pure noise for a new vector, to the state after every pass; the last is the result.
    pub fn run(&self, start: &Tensor, config: &PriorSampleConfig) -> Vec<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let times = config.times().to_device(start.device());
        let time = |i: i64| times.get(i).expand([start.size()[0]], false); // (B,)
        let mut states = Vec::new();
        for i in 0..config.steps {
            // from this time to the next, which has less noise
            let at = Interval { t: &time(i), t_prev: &time(i + 1) };
            states.push(self.denoise(states.last().unwrap_or(start), at, config));
        }
        states
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeded_noise_is_normal_and_the_same_again() {
        let like = Tensor::zeros([100, 100], (Kind::Float, Device::Cpu));
        let noise = Seeded::new(3).normal(&like);
        assert_eq!(noise, Seeded::new(3).normal(&like));
        // 5 sigma of 10,000 numbers: mean 0.05, variance 5 x sqrt(2 / 10,000) = 0.07
        assert!(noise.mean(Kind::Float).double_value(&[]).abs() < 0.05);
        assert!((noise.var(true).double_value(&[]) - 1.0).abs() < 0.07);
    }

    #[test]
    fn the_true_noise_leads_back_along_the_schedule() {
        let schedule = Schedule::default();
        let [xs, noise] = [0, 1].map(|_| Tensor::randn([3, 8], (Kind::Float, Device::Cpu)));
        let [t, t_prev] = [[1f32, 0.6, 0.1], [0.5, 0.2, 0.0]].map(|t| Tensor::from_slice(&t));
        let at = Interval { t: &t, t_prev: &t_prev };
        let back = schedule.ddim(&schedule.diffuse(&xs, &noise, &t), &noise, at);
        let expected = schedule.diffuse(&xs, &noise, &t_prev);
        // at t = 1 one hundredth of the signal is left, and its rounding errors grow a hundredfold
        assert!((back - expected).abs().max().double_value(&[]) < 1e-3);
    }
}
