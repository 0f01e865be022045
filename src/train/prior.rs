//! Training of the prior: predicts the noise in a picture's CLIP vector, given the caption's.
//!
//! Letters: B pictures of the global batch, b rows of one rank, r width of a CLIP vector.
//!
//! Source: pabloppp/Arroz-Con-Cosas for network, schedule and weighting. No training script has been published, so the
//!         loop is the simplest that fits them.

use super::feed::Feed;
use super::shell::{Shell, ShellConfig};
use super::stage::Stage;
use crate::checkpoint::Phase;
use crate::config::PriorStageConfig;
use crate::device::seed_step;
use crate::dist::World;
use crate::error::{Error, Result};
use crate::metrics::StepRecord;
use crate::model::prior::{PriorModel, Schedule};
use crate::networks::{Networks, PriorNet};
use crate::noise::uniform;
use crate::tokens::clip::ClipEncoder;
use crate::torch::precision::Autocast;
use tch::{Device, Kind, Tensor};

/// The prior's trainer.
pub struct PriorTrainer {
    recipe: PriorStageConfig,
    bf16: bool,
    seed: u64,
    shell: Shell,
}

const STREAM: u64 = 0x9107;

/// The draws of one update, for n rows.
struct PriorDraws {
    t: Tensor,     // (n,) f32 in 0..=1
    noise: Tensor, // (n, r) f32
    /// Which captions to drop, (n, 1) bool.
    drop: Tensor,
}

impl PriorDraws {
    /// `n` of these rows, starting at row `first`.
    fn rows(&self, first: usize, n: usize) -> Self {
        let some = |xs: &Tensor| xs.narrow(0, first as i64, n as i64);
        Self { t: some(&self.t), noise: some(&self.noise), drop: some(&self.drop) }
    }
}

impl PriorTrainer {
    /// Seed of the order of pictures.
    pub fn order_seed(nets: &Networks) -> u64 {
        nets.config.seed ^ STREAM
    }

    /// The trainer of one rank of `world`.
    ///
    /// Errors: no prior in the config; a batch that does not divide evenly over the ranks; a failed exchange.
    pub fn new(nets: &Networks, feed: Feed, world: &World) -> Result<Self> {
        let (prior, _) = both(nets)?;
        let recipe = nets.config.prior.clone().unwrap_or_default();
        let split = recipe.train.split(world.size());
        let job = ShellConfig {
            phase: Phase::Prior,
            steps: recipe.train.steps,
            split: split.map_err(|fault| Error::Config(vec![fault]))?,
            optim: &recipe.train.optim,
            trained: &[("prior", &prior.vars)],
            ema_decay: Some(recipe.train.ema_decay),
        };
        Ok(Self {
            bf16: nets.config.train.precision.bf16,
            seed: nets.config.seed,
            shell: Shell::new(nets, feed, world, &job)?,
            recipe,
        })
    }

    /// This rank's rows of the step's draws. All ranks draw the whole batch.
    fn draws(&self, device: Device) -> PriorDraws {
        seed_step(self.seed ^ STREAM, self.shell.progress.step); // as the denoiser: draws follow from seed and step
        let (b, r) = (self.recipe.train.batch as i64, self.recipe.model.clip_r);
        let all = PriorDraws {
            t: uniform(&[b], device),
            noise: Tensor::randn([b, r], (Kind::Float, device)),
            drop: uniform(&[b, 1], device).le(self.recipe.train.cond_drop),
        };
        all.rows(self.shell.rows.first, self.shell.rows.count) // the same draws on 1 and on 128 ranks
    }

    /// The loss of pictures' vectors (n, r), given their captions' vectors (n, r): a scalar.
    ///
    /// Formula: mean over n of p2(t) x mean over r of (noise - guess)^2.
    fn loss(
        &self,
        model: &PriorModel,
        images: &Tensor,
        texts: &Tensor,
        draws: &PriorDraws,
    ) -> Result<Tensor> {
        let cond = texts.zeros_like().where_self(&draws.drop, texts); // (n, r); zeros stand for no text, as in sampling
        let schedule = Schedule::default();
        let noised = schedule.diffuse(images, &draws.noise, &draws.t); // (n, r)
        let guess = {
            let _autocast = Autocast::bf16(self.bf16, images.device())?;
            model.forward(&noised, &draws.t, &cond).to_kind(Kind::Float) // (n, r)
        };
        let error = (guess - &draws.noise).square().mean_dim(&[1i64][..], false, Kind::Float); // (n,)
        // p2 takes weight from times that are almost clean, where only details are left that nobody sees
        Ok((error * schedule.p2_weight(&draws.t, 1.0, 1.0)).mean(Kind::Float))
    }
}

/// The prior, and the CLIP it learns from.
///
/// Errors: the model has no prior or no CLIP.
fn both(nets: &Networks) -> Result<(&PriorNet, &ClipEncoder)> {
    let missing =
        || Error::model("there is no prior or no CLIP to train it", "`prior`, `clip`", "");
    Ok((nets.prior.as_ref().ok_or_else(missing)?, nets.clip.as_ref().ok_or_else(missing)?))
}

impl Stage for PriorTrainer {
    fn step(&mut self, nets: &Networks) -> Result<StepRecord> {
        let (prior, clip) = both(nets)?;
        let (pictures, captions) = self.shell.next(|feed, rows| feed.images(rows))?; // (b, 3, S, S)
        let draws = self.draws(nets.device);
        let mut mean = Tensor::zeros([0i64; 0], (Kind::Float, nets.device));
        for micro in self.shell.micro_batches() {
            let (first, count) = (micro.first, micro.count);
            let images = clip.images(&pictures.narrow(0, first as i64, count as i64))?; // (n, r)
            let texts = clip.texts(&captions[first..first + count]); // (n, r)
            self.shell.before_forward(micro)?;
            let loss = self.loss(&prior.model, &images, &texts, &draws.rows(first, count))?;
            self.shell.backward(&loss, micro)?;
            mean += loss.detach() / self.shell.split.passes as f64; // stays on the device: reading it would wait
        }
        let update = self.shell.update()?;
        self.shell.world.mean(&mut mean)?;
        self.shell
            .close(update, StepRecord { loss: mean.double_value(&[]), ..StepRecord::default() })
    }

    fn shell(&self) -> &Shell {
        &self.shell
    }

    fn shell_mut(&mut self) -> &mut Shell {
        &mut self.shell
    }
}
