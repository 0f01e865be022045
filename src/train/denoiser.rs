//! The denoiser's training: hide a share t of the tokens under noise, ask for the originals.
//!
//! Letters: B pictures of a step, N of the data set, h x w tokens, L bytes of text, K codes.

use crate::checkpoint::{Phase, Progress};
use crate::data::{Dataset, order::Order};
use crate::device::seed_step;
use crate::error::Result;
use crate::loss::{accuracy, cross_entropy, weighted_mean};
use crate::metrics::Record;
use crate::model::{Cond, Denoiser, Paella};
use crate::networks::Networks;
use crate::noise::{add_noise, draw_mask, loss_weight, random_tokens, uniform};
use crate::optim::{AdamW, Ema};
use crate::recipe::{NoiseRatio, TrainConfig};
use crate::tokens::text::batch_tokens;
use crate::weights::Named;
use std::time::Instant;
use tch::{Device, Kind, Tensor};

/// A batch of tokens under noise.
pub struct Noised {
    /// Noise ratio of each picture (B,) f32.
    pub t: Tensor,
    /// Where noise stands (B, h, w) bool.
    pub mask: Tensor,
    /// Tokens with noise (B, h, w) i64.
    pub tokens: Tensor,
}

/// Noise tokens (B, h, w) at ratios t (B,).
pub fn corrupt(tokens: &Tensor, t: Tensor, num_labels: i64) -> Noised {
    let mask = draw_mask(&uniform(&tokens.size(), tokens.device()), &t);
    let noise = random_tokens(&tokens.size(), num_labels, tokens.device());
    Noised { tokens: add_noise(tokens, &noise, &mask), t, mask }
}

/// Ask the model for the originals: loss and token accuracy, both scalars.
pub fn judge(
    model: &Paella,
    tokens: &Tensor,
    noised: &Noised,
    cond: &Cond,
    recipe: &TrainConfig,
) -> (Tensor, Tensor) {
    let logits = model.forward(&noised.tokens, &noised.t, cond, true);
    let weight = loss_weight(&noised.mask, &noised.t, recipe.min_val);
    let surprise = cross_entropy(&logits, tokens, recipe.label_smoothing);
    (weighted_mean(&surprise, &weight), accuracy(&logits, tokens))
}

/// One batch of noise ratios (B,) in (0, 1].
pub fn draw_t(b: i64, how: NoiseRatio, device: Device) -> Tensor {
    match how {
        NoiseRatio::Uniform => uniform(&[b], device),
        NoiseRatio::Power(p) => uniform(&[b], device).pow_tensor_scalar(1.0 / p),
    }
}

/// The state of a training run besides the weights.
pub struct Trainer {
    recipe: TrainConfig,
    seed: u64,
    tokens: Tensor, // (N, h, w) i64
    ids: Tensor,    // (N, L) i64
    order: Order,
    optimizer: AdamW,
    pub ema: Ema,
    step: u64,
    seconds: f64,
}

/// Its own stream of draws, apart from the tokenizer's.
const STREAM: u64 = 0xde40;

impl Trainer {
    /// Tokens and text bytes of the whole data set are computed once.
    pub fn new(nets: &Networks, data: &Dataset) -> Result<Self> {
        let (recipe, seed) = (nets.config.train.clone(), nets.config.seed);
        let everything: Vec<i64> = (0..data.len() as i64).collect();
        let (ids, _) =
            batch_tokens(&data.captions(&everything), nets.config.text.length, nets.device);
        Ok(Self {
            tokens: nets.encode_all(&data.images),
            ids,
            order: Order::new(data.len(), seed)?,
            optimizer: AdamW::new(&nets.trained_vars(), &recipe.optim),
            ema: Ema::new(&nets.trained_vars(), recipe.ema_decay),
            step: 0,
            seconds: 0.0,
            recipe,
            seed,
        })
    }

    /// One step of training: pictures, noise, guess, loss, update.
    ///
    /// Errors: libtorch's, such as memory. A gradient that is not finite leaves the weights as they are.
    pub fn step(&mut self, nets: &Networks) -> Result<Record> {
        let start = Instant::now();
        seed_step(self.seed ^ STREAM, self.step);
        let picks =
            Tensor::from_slice(&self.order.next(self.recipe.global_batch)).to_device(nets.device);
        let tokens = self.tokens.index_select(0, &picks);
        let t = draw_t(tokens.size()[0], self.recipe.noise_ratio, nets.device);
        let noised = corrupt(&tokens, t, nets.config.model.num_labels);
        let cond = self.cond(nets, &picks);
        let (loss, accuracy) = judge(&nets.denoiser, &tokens, &noised, &cond, &self.recipe);
        let lr = self.recipe.optim.lr_at(self.step, self.recipe.steps);
        let grad_norm = self.optimizer.update(&loss, lr)?;
        self.ema.update(self.step)?;
        self.step += 1;
        let seconds = start.elapsed().as_secs_f64();
        self.seconds += seconds;
        Ok(Record {
            phase: "denoiser".into(),
            step: self.step,
            steps: self.recipe.steps,
            loss: loss.double_value(&[]),
            accuracy: accuracy.double_value(&[]),
            grad_norm,
            lr,
            images_per_s: self.recipe.global_batch as f64 / seconds,
            seconds: self.seconds,
        })
    }

    /// The captions of these pictures, some replaced by the empty text.
    fn cond(&self, nets: &Networks, picks: &Tensor) -> Cond {
        let ids = self.ids.index_select(0, picks); // (B, L)
        let drop = uniform(&[ids.size()[0], 1], nets.device).le(self.recipe.cond_drop);
        let (empty, _) = batch_tokens(&[String::new()], Some(ids.size()[1]), nets.device);
        let ids = empty.where_self(&drop, &ids);
        let encode = || nets.text.read(&ids);
        Cond::text(if self.recipe.train_text { encode() } else { tch::no_grad(encode) })
    }

    pub fn progress(&self) -> Progress {
        Progress {
            phase: Phase::Denoiser,
            step: self.step,
            position: self.order.position(),
            seconds: self.seconds,
        }
    }

    /// Seconds that an earlier phase took.
    pub fn add_seconds(&mut self, seconds: f64) {
        self.seconds += seconds;
    }

    /// Optimiser state and averages for a checkpoint, by file.
    pub fn state(&self) -> [(&'static str, Named); 2] {
        [("optim", self.optimizer.state()), ("ema", self.ema.state())]
    }

    /// Go on exactly where `state` and `progress` were taken.
    pub fn restore(
        &mut self,
        optim: &Named,
        ema: &Named,
        progress: &Progress,
        place: &str,
    ) -> Result<()> {
        self.optimizer.restore(optim, place)?;
        self.ema.restore(ema, place)?;
        self.order.go_to(progress.position);
        (self.step, self.seconds) = (progress.step, progress.seconds);
        Ok(())
    }
}

/// Loss (without smoothing or weights, over noised tokens only) and accuracy at one noise ratio.
pub fn probe(
    model: &dyn Denoiser,
    tokens: &Tensor,
    cond: &Cond,
    t: f64,
    num_labels: i64,
) -> (f64, f64) {
    let _no_grad = tch::no_grad_guard();
    let ratio = Tensor::full([tokens.size()[0]], t, (Kind::Float, tokens.device()));
    let noised = corrupt(tokens, ratio, num_labels);
    let logits = model.logits(&noised.tokens, &noised.t, cond);
    let hidden = noised.mask.to_kind(Kind::Float);
    let right = logits.argmax(1, false).eq_tensor(tokens).to_kind(Kind::Float);
    let count = hidden.sum(Kind::Float).double_value(&[]).max(1.0);
    let over = |xs: Tensor| (xs * &hidden).sum(Kind::Float).double_value(&[]) / count;
    (over(cross_entropy(&logits, tokens, 0.0)), over(right))
}
