//! The tokenizer's training: a picture through the codebook and back, as alike as it can.
//!
//! Letters: B pictures of a step, K codes of width c, h x w tokens.

use crate::checkpoint::{Phase, Progress};
use crate::data::{Dataset, order::Order};
use crate::device::seed_step;
use crate::error::Result;
use crate::metrics::Record;
use crate::networks::Networks;
use crate::optim::AdamW;
use crate::recipe::TokenizerTrainConfig;
use crate::weights::Named;
use std::time::Instant;
use tch::{Kind, Tensor};

/// The state of a tokenizer's training besides the weights.
pub struct TokenizerTrainer {
    recipe: TokenizerTrainConfig,
    seed: u64,
    order: Order,
    optimizer: AdamW,
    /// How often each code was chosen since the last revival (K,) f32.
    used: Tensor,
    /// Share of the codes that were chosen between the last two revivals.
    in_use: f64,
    step: u64,
    seconds: f64,
}

const STREAM: u64 = 0x70ce;
/// Pictures whose latents the codes start from.
const FIT_PICTURES: usize = 512;

impl TokenizerTrainer {
    /// Sets the residual gains of the (fresh) tokenizer.
    pub fn new(nets: &Networks, data: &Dataset) -> Result<Self> {
        let (recipe, seed) = (nets.config.tokenizer.train.clone(), nets.config.seed);
        nets.tokenizer.set_gains(recipe.gain);
        Ok(Self {
            order: Order::new(data.len(), seed ^ STREAM)?,
            optimizer: AdamW::new(&[("tokenizer", &nets.tokenizer_vars)], &recipe.optim),
            used: Tensor::zeros(
                [nets.config.tokenizer.model.codebook_size],
                (Kind::Float, nets.device),
            ),
            in_use: 0.0,
            step: 0,
            seconds: 0.0,
            recipe,
            seed,
        })
    }

    /// One step: pictures through the codebook and back, squared error and codebook terms, update.
    pub fn step(&mut self, nets: &Networks, data: &Dataset) -> Result<Record> {
        let start = Instant::now();
        seed_step(self.seed ^ STREAM, self.step);
        let images = data.images(&self.order.next(self.recipe.batch)).to_device(nets.device);
        if self.step == self.recipe.quantize_after {
            self.fit_codebook(nets, data);
        }
        let (recon, vq_loss) = if self.step < self.recipe.quantize_after {
            let latents = nets.tokenizer.latents(&images, true);
            (nets.tokenizer.decode_unscaled(&latents), Tensor::from(0f32))
        } else {
            let encoded = nets.tokenizer.encode(&images, true);
            self.count(&encoded.tokens);
            self.revive(nets, &encoded.latents);
            (nets.tokenizer.decode(&encoded.qe), encoded.vq_loss)
        };
        let loss =
            (recon - images).square().mean(Kind::Float) * self.recipe.reconstruction + vq_loss;
        let lr = self.recipe.optim.lr_at(self.step, self.recipe.steps);
        let grad_norm = self.optimizer.update(&loss, lr)?;
        self.step += 1;
        let seconds = start.elapsed().as_secs_f64();
        self.seconds += seconds;
        Ok(Record {
            phase: "tokenizer".into(),
            step: self.step,
            steps: self.recipe.steps,
            loss: loss.double_value(&[]),
            accuracy: self.in_use,
            grad_norm,
            lr,
            images_per_s: self.recipe.batch as f64 / seconds,
            seconds: self.seconds,
        })
    }

    /// Codes start at the means of the latents the encoder has learned by now.
    fn fit_codebook(&self, nets: &Networks, data: &Dataset) {
        let _no_grad = tch::no_grad_guard();
        let picks = Tensor::randperm(data.len() as i64, (Kind::Int64, tch::Device::Cpu)).slice(
            0,
            0,
            FIT_PICTURES as i64,
            1,
        );
        let picks: Vec<i64> = picks.iter::<i64>().expect("integers").collect();
        let latents = nets.tokenizer.latents(&data.images(&picks).to_device(nets.device), false);
        let c = latents.size()[1];
        nets.tokenizer.vquantizer.fit(&latents.permute([0, 2, 3, 1]).reshape([-1, c]), 8);
    }

    fn count(&mut self, tokens: &Tensor) {
        self.used += tokens
            .flatten(0, -1)
            .bincount::<Tensor>(None, self.used.size()[0])
            .to_kind(Kind::Float);
    }

    /// Codes that nobody chose become latents (B, c, h, w) of this batch.
    fn revive(&mut self, nets: &Networks, latents: &Tensor) {
        let _no_grad = tch::no_grad_guard();
        let every = self.recipe.revive_every;
        if every == 0 || !(self.step + 1).is_multiple_of(every) {
            return;
        }
        let c = latents.size()[1];
        let rows = latents.detach().permute([0, 2, 3, 1]).reshape([-1, c])
            * nets.config.tokenizer.model.scale_factor;
        nets.tokenizer.vquantizer.replace(&self.used.eq(0.0), &rows);
        self.in_use = self.used.gt(0.0).to_kind(Kind::Float).mean(Kind::Float).double_value(&[]);
        self.used = self.used.zeros_like();
    }

    pub fn done(&self) -> bool {
        self.step >= self.recipe.steps
    }

    pub fn progress(&self) -> Progress {
        Progress {
            phase: Phase::Tokenizer,
            step: self.step,
            position: self.order.position(),
            seconds: self.seconds,
        }
    }

    /// Optimiser state and code counts for a checkpoint.
    pub fn state(&self) -> Named {
        let mut state = self.optimizer.state();
        state.insert("used".into(), self.used.copy());
        state
    }

    /// Go on exactly where `state` and `progress` were taken.
    pub fn restore(&mut self, state: &Named, progress: &Progress, place: &str) -> Result<()> {
        self.optimizer.restore(state, place)?;
        if let Some(used) = state.get("used") {
            self.used.f_copy_(used)?;
        }
        self.order.go_to(progress.position);
        (self.step, self.seconds) = (progress.step, progress.seconds);
        Ok(())
    }
}
