//! The tokenizer's training: a picture through the codebook and back, as alike as it can.
//!
//! Letters: B pictures of a step, K codes of width c, h x w tokens.

use super::feed::{Feed, Rows};
use super::stage::{Stage, State, close, part};
use crate::checkpoint::{Phase, Progress};
use crate::cost::Meter;
use crate::device::seed_step;
use crate::dist::{Reducer, World};
use crate::error::{Error, Result};
use crate::metrics::Record;
use crate::networks::Networks;
use crate::optim::AdamW;
use crate::recipe::TokenizerTrainConfig;
use crate::torch;
use crate::weights;
use std::time::Instant;
use tch::{Kind, Tensor};

/// The state of a tokenizer's training besides the weights.
pub struct TokenizerTrainer {
    recipe: TokenizerTrainConfig,
    seed: u64,
    feed: Feed,
    rows: Rows,
    world: World,
    reducer: Reducer,
    optimizer: AdamW,
    /// How often each code was chosen since the last revival (K,) f32.
    used: Tensor,
    /// Share of the codes that were chosen between the last two revivals.
    in_use: f64,
    progress: Progress,
    meter: Meter,
}

const STREAM: u64 = 0x70ce;
/// Pictures whose latents the codes start from.
const FIT_PICTURES: usize = 512;

impl TokenizerTrainer {
    /// The seed of the order in which it sees pictures, another one than the denoiser's.
    pub fn order_seed(nets: &Networks) -> u64 {
        nets.config.seed ^ STREAM
    }

    /// The trainer of one of the ranks of `world`. Sets the residual gains of the (fresh) tokenizer.
    ///
    /// Errors: ranks among which the batch cannot be shared evenly; exchanges that fail.
    pub fn new(nets: &Networks, feed: Feed, world: &World) -> Result<Self> {
        let (recipe, seed) = (nets.config.tokenizer.train.clone(), nets.config.seed);
        recipe.share(world.size()).map_err(|fault| Error::Config(vec![fault]))?;
        nets.tokenizer.set_gains(recipe.gain);
        let optimizer = AdamW::new(&[("tokenizer", &nets.tokenizer_vars)], &recipe.optim);
        Ok(Self {
            feed,
            rows: Rows::of_rank(world, recipe.batch),
            reducer: Reducer::new(world, &optimizer.params())?,
            world: world.clone(),
            optimizer,
            used: Tensor::zeros(
                [nets.config.tokenizer.model.codebook_size],
                (Kind::Float, nets.device),
            ),
            in_use: 0.0,
            progress: Progress::start(Phase::Tokenizer),
            meter: Meter::new(&nets.config, Phase::Tokenizer, nets.device, world.size()),
            recipe,
            seed,
        })
    }

    /// One step: pictures through the codebook and back, squared error and codebook terms, update.
    pub fn step(&mut self, nets: &Networks) -> Result<Record> {
        let (start, step) = (Instant::now(), self.progress.step);
        seed_step(self.seed ^ STREAM, step);
        self.world.alone("waiting for data");
        let images = self.feed.images(self.rows)?.0.to_device(nets.device);
        let wait = start.elapsed().as_secs_f64();
        if step == self.recipe.quantize_after {
            self.fit_codebook(nets)?;
        }
        self.reducer.forward(true)?;
        let (recon, vq_loss) = if step < self.recipe.quantize_after {
            let latents = nets.tokenizer.latents(&images, true);
            (
                nets.tokenizer.decode_unscaled(&latents),
                Tensor::zeros([0i64; 0], (Kind::Float, nets.device)),
            )
        } else {
            let encoded = nets.tokenizer.encode(&images, true);
            self.count(&encoded.tokens)?;
            self.revive(nets, &encoded.latents)?;
            (nets.tokenizer.decode(&encoded.qe), encoded.vq_loss)
        };
        let loss =
            (recon - images).square().mean(Kind::Float) * self.recipe.reconstruction + vq_loss;
        self.reducer.backward(&loss, true)?;
        let lr = self.recipe.optim.lr_at(step, self.recipe.steps);
        let grad_norm = self.optimizer.update(lr)?;
        self.agree(nets)?;
        let mut loss = loss.detach();
        self.world.mean(&mut loss)?;
        let (loss, accuracy) = (loss.double_value(&[]), self.in_use);
        let skipped_samples = self.feed.skipped(&self.world)?;
        let measured =
            Record { loss, accuracy, grad_norm, lr, wait, skipped_samples, ..Record::default() };
        self.progress.position = self.feed.position();
        let (steps, images) = (self.recipe.steps, self.recipe.batch);
        Ok(close(&mut self.progress, steps, images, &self.meter, start, measured))
    }

    /// What gradients do not move becomes the same on all ranks: each one's batch norm has seen its own rows.
    fn agree(&self, nets: &Networks) -> Result<()> {
        for mut xs in weights::named(&nets.tokenizer_vars, false).into_values() {
            if !xs.requires_grad() && xs.is_floating_point() && self.world.size() > 1 {
                self.world.mean(&mut xs)?;
            }
        }
        Ok(())
    }

    /// Codes start at the means of the latents the encoder has learned by now.
    fn fit_codebook(&mut self, nets: &Networks) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        let images = self.feed.some(FIT_PICTURES)?.to_device(nets.device);
        let latents = nets.tokenizer.latents(&images, false);
        let c = latents.size()[1];
        nets.tokenizer.vquantizer.fit(&latents.permute([0, 2, 3, 1]).reshape([-1, c]), 8);
        self.share_codes(nets)
    }

    /// The codes of rank 0 are everybody's.
    fn share_codes(&self, nets: &Networks) -> Result<()> {
        self.world.broadcast(&[nets.tokenizer.vquantizer.weight.shallow_clone()])
    }

    /// Count the codes that all ranks chose.
    fn count(&mut self, tokens: &Tensor) -> Result<()> {
        let codes = self.used.size()[0];
        let chosen = tokens.flatten(0, -1).bincount::<Tensor>(None, codes).to_kind(Kind::Float);
        self.world.sum(&chosen)?;
        self.used += chosen;
        Ok(())
    }

    /// Codes that nobody chose become latents (B, c, h, w) of this batch.
    fn revive(&mut self, nets: &Networks, latents: &Tensor) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        let every = self.recipe.revive_every;
        if every == 0 || !(self.progress.step + 1).is_multiple_of(every) {
            return Ok(());
        }
        let c = latents.size()[1];
        let rows = latents.detach().permute([0, 2, 3, 1]).reshape([-1, c])
            * nets.config.tokenizer.model.scale_factor;
        nets.tokenizer.vquantizer.replace(&self.used.eq(0.0), &rows);
        self.in_use = self.used.gt(0.0).to_kind(Kind::Float).mean(Kind::Float).double_value(&[]);
        self.used = self.used.zeros_like();
        self.share_codes(nets)
    }
}

impl Stage for TokenizerTrainer {
    fn step(&mut self, nets: &Networks) -> Result<Record> {
        Self::step(self, nets)
    }

    fn steps(&self) -> u64 {
        self.recipe.steps
    }

    fn progress(&self) -> Progress {
        self.progress.clone()
    }

    fn add_seconds(&mut self, seconds: f64) {
        self.progress.seconds += seconds;
    }

    fn files(&self) -> &'static [&'static str] {
        &["optim"]
    }

    /// Optimiser state and code counts.
    fn state(&self) -> State {
        let mut state = self.optimizer.state();
        state.insert("used".into(), torch::copied(&self.used));
        vec![("optim", state)]
    }

    fn stream(&self) -> Option<String> {
        self.feed.text()
    }

    fn restore(
        &mut self,
        state: &State,
        progress: &Progress,
        stream: &str,
        place: &str,
    ) -> Result<()> {
        let state = part(state, "optim", place)?;
        self.optimizer.restore(state, place)?;
        if let Some(used) = state.get("used") {
            self.used.f_copy_(used)?;
        }
        self.feed.go_to(progress.position, stream)?;
        self.progress = progress.clone();
        Ok(())
    }
}
