//! Training of the tokenizer: reconstructs pictures through the codebook, perhaps judged by an adversary.
//!
//! Letters: B pictures of a step, K codes of width c, h x w tokens.

use super::adversary::Adversary;
use super::feed::Feed;
use super::shell::{MicroBatch, Shell, ShellConfig, State, part};
use super::stage::Stage;
use crate::checkpoint::{Phase, Progress};
use crate::device::seed_step;
use crate::dist::World;
use crate::error::{Error, Result};
use crate::metrics::StepRecord;
use crate::networks::Networks;
use crate::recipe::{Split, TokenizerTrainConfig};
use crate::tokens::lpips::Lpips;
use crate::torch;
use crate::weights;
use tch::{Kind, Tensor};

/// The tokenizer's trainer.
pub struct TokenizerTrainer {
    recipe: TokenizerTrainConfig,
    seed: u64,
    shell: Shell,
    /// Uses of each code since the last revival (K,) f32.
    used: Tensor,
    /// Fraction of the codes that were used between the last two revivals.
    in_use: f64,
    perceptual: Option<Lpips>,
    adversary: Option<Adversary>,
}

const STREAM: u64 = 0x70ce;
/// Number of pictures whose latents initialise the codes.
const FIT_PICTURES: usize = 512;

impl TokenizerTrainer {
    /// Seed of the order of pictures, different from the denoiser's.
    pub fn order_seed(nets: &Networks) -> u64 {
        nets.config.seed ^ STREAM
    }

    /// The trainer of one rank of `world`. Sets the residual gains of the (fresh) tokenizer.
    ///
    /// Errors: a batch that does not divide evenly over the ranks; a failed exchange.
    pub fn new(nets: &Networks, feed: Feed, world: &World) -> Result<Self> {
        let (recipe, seed) = (nets.config.tokenizer.train.clone(), nets.config.seed);
        let rows = recipe.share(world.size()).map_err(|fault| Error::Config(vec![fault]))?;
        // branches at the published 0 come in slowly: a short training starts them higher
        nets.tokenizer.set_gains(recipe.gain);
        let job = ShellConfig {
            phase: Phase::Tokenizer,
            steps: recipe.steps,
            split: Split { rows, micro: rows, passes: 1 }, // batch norm needs the whole batch at once
            optim: &recipe.optim,
            trained: &[("tokenizer", &nets.tokenizer_vars)],
            ema_decay: None,
        };
        let codes = nets.config.tokenizer.model.codebook_size;
        let times = (seed ^ STREAM, recipe.steps);
        let adversary =
            recipe.adversary.as_ref().map(|own| Adversary::new(own, times, nets.device, world));
        Ok(Self {
            perceptual: perceptual(nets)?,
            adversary: adversary.transpose()?,
            shell: Shell::new(nets, feed, world, &job)?,
            used: Tensor::zeros([codes], (Kind::Float, nets.device)),
            in_use: 0.0,
            recipe,
            seed,
        })
    }

    /// One step: reconstruct pictures through the codebook, squared error and codebook terms, update.
    pub fn step(&mut self, nets: &Networks) -> Result<StepRecord> {
        let step = self.shell.progress.step;
        seed_step(self.seed ^ STREAM, step);
        let fits = step == self.recipe.quantize_after;
        let (some, images) = self.shell.next(|feed, rows| {
            let some = fits.then(|| feed.some(FIT_PICTURES)).transpose()?;
            Ok((some, feed.images(rows)?.0))
        })?;
        let images = images.to_device(nets.device); // (b, 3, S, S)
        if let Some(some) = some {
            // codes begin where the latents are by now
            self.fit_codebook(nets, &some)?;
        }
        let all = MicroBatch { first: 0, count: self.shell.rows.count, last: true };
        self.shell.before_forward(all)?;
        let Guess { recon, error, vq_loss } = self.guess(nets, &images)?;
        let loss = &error + vq_loss; // scalar
        let judges = self.adversary.as_ref().filter(|adversary| adversary.judges(step));
        let judged = match judges {
            Some(adversary) => {
                &loss + adversary.judge(&recon, &error, nets.tokenizer.last_weight())?
            }
            None => loss.shallow_clone(),
        };
        self.shell.backward(&judged, all)?;
        let mut update = self.shell.update()?;
        let judges = self.adversary.as_mut().filter(|adversary| adversary.judges(step));
        // after the tokenizer's update, on the reconstructions from before it: no second forward pass
        let learned = judges.map(|adversary| adversary.learn(step, &images, &recon)).transpose()?;
        let adversary = learned.map(|learned| learned.loss);
        if learned.is_some_and(|learned| !learned.grad_norm.is_finite()) {
            update.grad_norm = f64::NAN; // counted as an update that was skipped
        }
        self.agree(nets)?; // running means: the optimiser does not move them
        let mut loss = loss.detach(); // without the adversary's part, whose factor changes from step to step
        self.shell.world.mean(&mut loss)?;
        let (loss, accuracy) = (loss.double_value(&[]), self.in_use);
        self.shell.close(update, StepRecord { loss, accuracy, adversary, ..StepRecord::default() })
    }

    /// Pictures (b, 3, S, S) through the codebook, once quantisation has begun.
    fn guess(&mut self, nets: &Networks, images: &Tensor) -> Result<Guess> {
        let tokenizer = &nets.tokenizer;
        let (recon, vq_loss) = if self.shell.progress.step < self.recipe.quantize_after {
            // No codes at first: codes fitted to untrained latents would all become unused.
            let latents = tokenizer.latents(images, true); // (b, c, h, w)
            (
                tokenizer.decode_unscaled(&latents),
                Tensor::zeros([0i64; 0], (Kind::Float, nets.device)),
            )
        } else {
            let encoded = tokenizer.encode(images, true); // tokens (b, h, w), latents (b, c, h, w)
            self.count(&encoded.tokens)?;
            self.revive(nets, &encoded.latents)?;
            (tokenizer.decode(&encoded.qe), encoded.vq_loss)
        };
        Ok(Guess { error: self.error(&recon, images), recon, vq_loss })
    }

    /// Squared error of reconstructions (b, 3, S, S), and how different they look -> scalar.
    fn error(&self, recon: &Tensor, images: &Tensor) -> Tensor {
        // the mean over pixels is small beside the latents' loss: the factor makes pictures count
        let squared = (recon - images).square().mean(Kind::Float) * self.recipe.reconstruction;
        match &self.perceptual {
            Some(lpips) => {
                squared + lpips.distance(recon, images).mean(Kind::Float) * self.recipe.perceptual
            }
            None => squared,
        }
    }

    /// Averages the values that gradients do not update over all ranks, since each rank's batch norm has seen only its
    /// rows.
    fn agree(&self, nets: &Networks) -> Result<()> {
        for mut xs in weights::named(&nets.tokenizer_vars, false).into_values() {
            if !xs.requires_grad() && xs.is_floating_point() && self.shell.world.size() > 1 {
                self.shell.world.mean(&mut xs)?;
            }
        }
        Ok(())
    }

    /// Initialises the codes to cluster means of the encoder's current latents of these pictures (n, 3, S, S).
    fn fit_codebook(&mut self, nets: &Networks, images: &Tensor) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        let latents = nets.tokenizer.latents(&images.to_device(nets.device), false); // (B, c, h, w)
        let c = latents.size()[1];
        nets.tokenizer.vquantizer.fit(
            &latents.permute([0, 2, 3, 1]).reshape([-1, c]), // (B h w, c)
            8,
            self.recipe.revive,
        );
        self.share_codes(nets)
    }

    /// Copies the codes of rank 0 to all ranks.
    fn share_codes(&self, nets: &Networks) -> Result<()> {
        self.shell.world.broadcast(&[nets.tokenizer.vquantizer.weight.shallow_clone()])
    }

    /// Counts the codes used on all ranks.
    fn count(&mut self, tokens: &Tensor) -> Result<()> {
        let codes = self.used.size()[0];
        let chosen = tokens.flatten(0, -1).bincount::<Tensor>(None, codes).to_kind(Kind::Float); // (K,)
        self.shell.world.sum(&chosen)?;
        self.used += chosen; // since the last look, over all ranks
        Ok(())
    }

    /// Replaces unused codes by latents (B, c, h, w) of this batch.
    fn revive(&mut self, nets: &Networks, latents: &Tensor) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        let every = self.recipe.revive_every;
        if every == 0 || !(self.shell.progress.step + 1).is_multiple_of(every) {
            return Ok(());
        }
        let c = latents.size()[1];
        let rows = latents.detach().permute([0, 2, 3, 1]).reshape([-1, c])
            * nets.config.tokenizer.model.scale_factor; // codes live in scaled latents: (B h w, c)
        // each rank drew rows of its own batch: rank 0's are shared out below
        nets.tokenizer.vquantizer.replace(&self.used.eq(0.0), &rows, self.recipe.revive);
        self.in_use = self.used.gt(0.0).to_kind(Kind::Float).mean(Kind::Float).double_value(&[]);
        self.used = self.used.zeros_like(); // a code has until the next look to be chosen
        self.share_codes(nets)
    }
}

/// What one pass makes of its pictures.
struct Guess {
    recon: Tensor,   // (b, 3, S, S)
    error: Tensor,   // scalar
    vq_loss: Tensor, // scalar, 0 before quantisation
}

/// LPIPS, if the config asks for it.
///
/// Errors: weights that cannot be read.
fn perceptual(nets: &Networks) -> Result<Option<Lpips>> {
    let weights = &nets.config.weights;
    let files = weights.vgg.as_ref().zip(weights.lpips.as_ref());
    files.map(|(vgg, lpips)| Lpips::open(vgg, lpips, nets.device)).transpose()
}

impl Stage for TokenizerTrainer {
    fn step(&mut self, nets: &Networks) -> Result<StepRecord> {
        Self::step(self, nets)
    }

    fn shell(&self) -> &Shell {
        &self.shell
    }

    fn shell_mut(&mut self) -> &mut Shell {
        &mut self.shell
    }

    fn trained_beside(&self) -> Vec<Tensor> {
        self.adversary.as_ref().map(Adversary::weights).unwrap_or_default()
    }

    /// Optimiser state and code counts.
    fn state(&self) -> State {
        let mut state = self.shell.state();
        for (_, tensors) in &mut state {
            // in the optimiser's file: a run that goes on must revive the same codes
            tensors.insert("used".into(), torch::copied(&self.used));
        }
        if let Some(adversary) = &self.adversary {
            adversary.add_to(&mut state);
        }
        state
    }

    fn restore(
        &mut self,
        state: &State,
        progress: &Progress,
        stream: &str,
        place: &str,
    ) -> Result<()> {
        let saved = part(state, "optim", place)?;
        if let Some(used) = saved.get("used") {
            self.used.f_copy_(used)?;
        }
        if let Some(adversary) = &mut self.adversary {
            adversary.restore(saved, place)?;
        }
        self.shell.restore(state, progress, stream, place)
    }
}
