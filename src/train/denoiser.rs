//! The denoiser's training: hide a share t of the tokens under noise, ask for the originals.
//!
//! Letters: b rows of this rank, n rows of a pass, h x w tokens, L bytes of text, D width of a text vector, K codes.

use super::draws::{Conditioning, Draws};
use super::feed::{Batch, Feed};
use super::gallery::{ProgressSheet, gallery};
use super::shell::{Shell, ShellConfig, Update};
use super::stage::Stage;
use super::step_stats::StepStats;
use crate::checkpoint::Phase;
use crate::config::frozen;
use crate::device::seed_step;
use crate::dist::World;
use crate::error::{Error, Result};
use crate::loss::objective;
use crate::metrics::StepRecord;
use crate::model::Cond;
use crate::networks::Networks;
use crate::noise::Noised;
use crate::recipe::TrainConfig;
use crate::tokens::text::batch_tokens;
use crate::torch::precision::Autocast;
use tch::{Kind, Tensor};

/// The denoiser's trainer.
pub struct DenoiserTrainer {
    recipe: TrainConfig,
    seed: u64,
    shell: Shell,
    /// Some pictures of the last step, to look at.
    seen: Option<Batch>,
}

/// Its own stream of draws, apart from the tokenizer's; another one for dropout.
const STREAM: u64 = 0xde40;
const DROPOUT: u64 = 0xd409;

impl DenoiserTrainer {
    /// The trainer of one of the ranks of `world`; all of them make one at the same time.
    ///
    /// Errors: weights in 16 bits; ranks among which the batch cannot be shared evenly; exchanges that fail.
    pub fn new(nets: &Networks, feed: Feed, world: &World) -> Result<Self> {
        if nets.config.model.bf16 {
            return Err(Error::Config(vec![frozen("model.bf16")]));
        }
        let (recipe, seed) = (nets.config.train.clone(), nets.config.seed);
        let job = ShellConfig {
            phase: Phase::Denoiser,
            steps: recipe.steps,
            split: recipe.split(world.size()).map_err(|fault| Error::Config(vec![fault]))?,
            optim: &recipe.optim,
            trained: &nets.trained_vars(),
            ema_decay: Some(recipe.ema_decay),
        };
        Ok(Self { shell: Shell::new(nets, feed, world, &job)?, seen: None, recipe, seed })
    }

    /// One update: the batch; then in each pass noise, guess, objective, backward; then the weights move.
    ///
    /// Errors: the data's; libtorch's, such as memory. A gradient that is not finite leaves the weights as they are.
    pub fn step(&mut self, nets: &Networks) -> Result<StepRecord> {
        let batch = self.next_batch(nets)?; // tokens (b, h, w), captions
        let draws = self.draws(nets, &batch);
        let mut stats = StepStats::new(nets.device); // numbers stay on the device until the step is over
        for micro in self.shell.micro_batches() {
            let batch = batch.rows(micro.first, micro.count);
            let draws = draws.rows(micro.first, micro.count);
            let noised = draws.noised(&batch.tokens); // tokens and mask (n, h, w), t (n,)
            self.shell.before_forward(micro)?;
            let logits = self.guess(nets, &batch, &noised, &draws)?; // (n, K, h, w)
            let loss = objective(&logits, &batch.tokens, &noised, self.recipe.loss()); // scalar
            self.shell.backward(&loss, micro)?;
            let right = logits.argmax(1, false).eq_tensor(&batch.tokens); // (n, h, w)
            stats.add(&loss, &right, &noised.t, self.shell.split.passes);
        }
        let update = self.shell.update()?; // once, with the gradients of all passes
        self.close(nets, stats, update)
    }

    /// Bytes of each bucket in which gradients are exchanged; empty when alone.
    pub fn buckets(&self) -> Result<Vec<u64>> {
        self.shell.buckets()
    }

    /// This rank's rows of the next global batch.
    fn next_batch(&mut self, nets: &Networks) -> Result<Batch> {
        let pictures = self.look_due() || Conditioning::new(&self.recipe, self.at()).clip_image;
        let batch = self.shell.next(|feed, rows| feed.batch(nets, rows, pictures))?;
        let batch = batch.fill_up(nets, &self.shell.world)?;
        let count = self.recipe.log.samples.min(self.shell.rows.count);
        self.seen = Some(batch.rows(0, count)); // a view: costs nothing unless it is looked at
        Ok(batch)
    }

    /// Whether somebody will look at the pictures of the coming step.
    fn look_due(&self) -> bool {
        let every = self.recipe.log.samples_every;
        // pictures themselves are asked for only then: tokens are enough to train on
        every > 0 && (self.shell.progress.step + 1).is_multiple_of(every)
    }

    /// Seed and step, from which the coming step's draws follow.
    fn at(&self) -> (u64, u64) {
        (self.seed ^ STREAM, self.shell.progress.step)
    }

    /// This rank's rows of what the step draws.
    fn draws(&self, nets: &Networks, batch: &Batch) -> Draws {
        let (_, h, w) = batch.tokens.size3().expect("tokens are (b, h, w)");
        let codes = nets.config.model.num_labels;
        let all = Draws::new(&self.recipe, self.at(), (h, w), codes, nets.device);
        // Every rank draws the whole global batch and takes its part: 1 and 128 ranks see the same noise.
        all.rows(self.shell.rows.first, self.shell.rows.count)
    }

    /// What the denoiser makes of noised tokens and captions: logits (n, K, h, w) f32.
    fn guess(
        &self,
        nets: &Networks,
        batch: &Batch,
        noised: &Noised,
        draws: &Draws,
    ) -> Result<Tensor> {
        // Dropout differs by step and by the first row of a micro batch. The step is shifted past all rows, so that no two of them share a seed.
        seed_step(self.seed ^ DROPOUT, (self.shell.progress.step << 32) + draws.first as u64);
        let _autocast = Autocast::bf16(self.recipe.precision.bf16, nets.device)?;
        let cond = with_clip(nets, batch, draws.conditioning, self.text(nets, batch, draws))?;
        let logits = nets.denoiser.forward(&noised.tokens, &noised.t, &cond, true); // (n, K, h, w)
        Ok(logits.to_kind(Kind::Float)) // the softmax of the loss over thousands of codes needs f32
    }

    /// The captions of a batch, some replaced by the empty text.
    fn text(&self, nets: &Networks, batch: &Batch, draws: &Draws) -> Cond {
        let (empty, _) = batch_tokens(&[String::new()], Some(batch.ids.size()[1]), nets.device); // (1, L)
        if let Some(text) = &batch.text {
            // vectors that were made before training come from a frozen encoder: so does the empty text's
            let null = tch::no_grad(|| nets.text.encode_ids(&empty)); // (1, L, D)
            return Cond::text(null.where_self(&draws.drop.unsqueeze(-1), text));
        }
        let ids = empty.where_self(&draws.drop, &batch.ids); // (n, L)
        let encode = || nets.text.encode_ids(&ids); // (n, L, D)
        Cond::text(if self.recipe.train_text { encode() } else { tch::no_grad(encode) })
    }

    /// Numbers of the step, over all ranks.
    fn close(
        &mut self,
        nets: &Networks,
        mut stats: StepStats,
        update: Update,
    ) -> Result<StepRecord> {
        let (loss, accuracy, accuracy_by_t) = stats.over(&self.shell.world)?;
        if let Some(seen) = &self.seen {
            self.shell.meter.read_texts(&nets.config, seen.ids.size()[1]);
        }
        self.shell
            .close(update, StepRecord { loss, accuracy, accuracy_by_t, ..StepRecord::default() })
    }
}

impl Stage for DenoiserTrainer {
    fn step(&mut self, nets: &Networks) -> Result<StepRecord> {
        Self::step(self, nets)
    }

    fn shell(&self) -> &Shell {
        &self.shell
    }

    fn shell_mut(&mut self) -> &mut Shell {
        &mut self.shell
    }

    fn gallery(&self, nets: &Networks) -> Option<ProgressSheet> {
        self.seen.as_ref().map(|batch| gallery(nets, batch, self.seed))
    }
}

/// Adds this batch's CLIP vectors to the conditions if the model has a CLIP. Dropped captions become the empty text;
/// dropped pictures are omitted.
///
/// Errors: pictures that shards do not hold.
fn with_clip(
    nets: &Networks,
    batch: &Batch,
    conditioning: Conditioning,
    cond: Cond,
) -> Result<Cond> {
    let Some(clip) = &nets.clip else { return Ok(cond) };
    let text = match conditioning.clip_text {
        true => clip.texts(&batch.captions),
        false => clip.empty(batch.captions.len() as i64), // what the guess without text gets, too
    };
    let clip_image = match (conditioning.clip_image, &batch.images) {
        (false, _) => Vec::new(),
        (true, Some(images)) => vec![clip.images(images)?],
        (true, None) => {
            let what = "shards of tokens without pictures, from which CLIP vectors are to be made";
            let hint = "`train.clip_image: 0`, or the shards with the pictures themselves";
            return Err(Error::data(what, "`train.clip_image`", hint));
        }
    };
    Ok(Cond { clip: Some(text), clip_image, ..cond })
}
