//! The denoiser's training: hide a share t of the tokens under noise, ask for the originals.
//!
//! Letters: B pictures of a step, N of the data set, h x w tokens, L bytes of text, K codes.

use super::draws::{Draws, Noised, Told, corrupt};
use super::feed::{Batch, Feed, Rows};
use super::gallery::{Gallery, gallery};
use super::stage::{Stage, State, close, part};
use super::tally::Tally;
use crate::checkpoint::{Phase, Progress};
use crate::cost::Meter;
use crate::device::seed_step;
use crate::dist::{Reducer, World};
use crate::error::{Error, Result};
use crate::loss::{cross_entropy, weighted_mean};
use crate::metrics::Record;
use crate::model::{Cond, Denoiser};
use crate::networks::Networks;
use crate::noise::loss_weight;
use crate::optim::{AdamW, Ema};
use crate::recipe::{Split, TrainConfig};
use crate::tokens::text::batch_tokens;
use crate::torch::precision::Autocast;
use std::time::Instant;
use tch::{Kind, Tensor};

/// The state of a training run besides the weights.
pub struct Trainer {
    recipe: TrainConfig,
    seed: u64,
    feed: Feed,
    rows: Rows,
    split: Split,
    world: World,
    reducer: Reducer,
    optimizer: AdamW,
    pub ema: Ema,
    progress: Progress,
    meter: Meter,
    /// Some pictures of the last step, to look at.
    seen: Option<Batch>,
}

/// Its own stream of draws, apart from the tokenizer's; another one for dropout.
const STREAM: u64 = 0xde40;
const DROPOUT: u64 = 0xd409;

impl Trainer {
    /// The trainer of one of the ranks of `world`; all of them make one at the same time.
    ///
    /// Errors: ranks among which the batch cannot be shared evenly; exchanges that fail.
    pub fn new(nets: &Networks, feed: Feed, world: &World) -> Result<Self> {
        let (recipe, seed) = (nets.config.train.clone(), nets.config.seed);
        let split = recipe.split(world.size()).map_err(|fault| Error::Config(vec![fault]))?;
        let optimizer = AdamW::new(&nets.trained_vars(), &recipe.optim);
        Ok(Self {
            feed,
            rows: Rows::of_rank(world, recipe.global_batch),
            split,
            reducer: Reducer::new(world, &optimizer.params())?,
            world: world.clone(),
            optimizer,
            ema: Ema::new(&nets.trained_vars(), recipe.ema_decay),
            progress: Progress::start(Phase::Denoiser),
            meter: Meter::new(&nets.config, Phase::Denoiser, nets.device, world.size()),
            seen: None,
            recipe,
            seed,
        })
    }

    /// One update: pictures, noise, guess, loss and gradient, once per pass; then the weights move.
    ///
    /// Errors: the data's; libtorch's, such as memory. A gradient that is not finite leaves the weights as they are.
    pub fn step(&mut self, nets: &Networks) -> Result<Record> {
        let (start, Split { micro, passes, .. }) = (Instant::now(), self.split);
        let pictures = self.look_due() || Told::new(&self.recipe, self.at()).clip_image;
        self.world.alone("waiting for data");
        let batch = self.feed.batch(nets, self.rows, pictures)?;
        let wait = start.elapsed().as_secs_f64();
        let batch = batch.fill_up(nets, &self.world)?;
        self.seen = Some(batch.rows(0, self.recipe.log.samples.min(self.rows.count)));
        let draws = self.draws(nets, &batch);
        let mut tally = Tally::new(nets.device);
        for pass in 0..passes {
            let last = pass + 1 == passes;
            let (batch, draws) = (batch.rows(pass * micro, micro), draws.rows(pass * micro, micro));
            let noised = draws.corrupt(&batch.tokens);
            self.reducer.forward(last)?;
            let logits = self.guess(nets, &batch, &noised, &draws)?; // (micro, K, h, w)
            let surprise = cross_entropy(&logits, &batch.tokens, self.recipe.label_smoothing);
            let weight = loss_weight(&noised.mask, &noised.t, self.recipe.min_val);
            let loss = weighted_mean(&surprise, &weight);
            self.reducer.backward(&(&loss / passes as f64), last)?;
            tally.add(&loss, &logits.argmax(1, false).eq_tensor(&batch.tokens), &noised.t, passes);
        }
        let lr = self.recipe.optim.lr_at(self.progress.step, self.recipe.steps);
        let grad_norm = self.optimizer.update(lr)?;
        self.ema.update(self.progress.step)?;
        let (loss, accuracy, accuracy_by_t) = tally.over(&self.world)?;
        let measured =
            Record { loss, accuracy, accuracy_by_t, grad_norm, lr, wait, ..Record::default() };
        self.close(nets, start, measured)
    }

    /// Bytes of each bucket in which gradients are exchanged; empty when alone.
    pub fn buckets(&self) -> Result<Vec<u64>> {
        self.reducer.buckets()
    }

    /// Whether somebody will look at the pictures of the coming step.
    fn look_due(&self) -> bool {
        let every = self.recipe.log.samples_every;
        every > 0 && (self.progress.step + 1).is_multiple_of(every)
    }

    /// Seed and step, from which the coming step's draws follow.
    fn at(&self) -> (u64, u64) {
        (self.seed ^ STREAM, self.progress.step)
    }

    /// This rank's rows of what the step draws.
    fn draws(&self, nets: &Networks, batch: &Batch) -> Draws {
        let (_, h, w) = batch.tokens.size3().expect("tokens are (b, h, w)");
        let codes = nets.config.model.num_labels;
        let all = Draws::new(&self.recipe, self.at(), (h, w), codes, nets.device);
        all.rows(self.rows.first, self.rows.count)
    }

    /// What the denoiser makes of noised tokens and captions: logits (n, K, h, w) f32.
    fn guess(
        &self,
        nets: &Networks,
        batch: &Batch,
        noised: &Noised,
        draws: &Draws,
    ) -> Result<Tensor> {
        seed_step(self.seed ^ DROPOUT, (self.progress.step << 32) + draws.first as u64);
        let _autocast = Autocast::bf16(self.recipe.precision.bf16, nets.device)?;
        let cond = with_clip(nets, batch, draws.told, self.text(nets, batch, draws))?;
        let logits = nets.denoiser.forward(&noised.tokens, &noised.t, &cond, true);
        Ok(logits.to_kind(Kind::Float))
    }

    /// The captions of a batch, some replaced by the empty text.
    fn text(&self, nets: &Networks, batch: &Batch, draws: &Draws) -> Cond {
        let (empty, _) = batch_tokens(&[String::new()], Some(batch.ids.size()[1]), nets.device);
        if let Some(text) = &batch.text {
            let null = tch::no_grad(|| nets.text.read(&empty)); // (1, L, D)
            return Cond::text(null.where_self(&draws.drop.unsqueeze(-1), text));
        }
        let ids = empty.where_self(&draws.drop, &batch.ids);
        let encode = || nets.text.read(&ids);
        Cond::text(if self.recipe.train_text { encode() } else { tch::no_grad(encode) })
    }

    fn close(&mut self, nets: &Networks, start: Instant, measured: Record) -> Result<Record> {
        let (steps, images) = (self.recipe.steps, self.recipe.global_batch);
        self.progress.position = self.feed.position();
        if let Some(seen) = &self.seen {
            self.meter.read_texts(&nets.config, seen.ids.size()[1]);
        }
        let skipped_samples = self.feed.skipped(&self.world)?;
        let measured = Record { skipped_samples, ..measured };
        Ok(close(&mut self.progress, steps, images, &self.meter, start, measured))
    }
}

impl Stage for Trainer {
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
        &["optim", "ema"]
    }

    fn state(&self) -> State {
        vec![("optim", self.optimizer.state()), ("ema", self.ema.state())]
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
        self.optimizer.restore(part(state, "optim", place)?, place)?;
        self.ema.restore(part(state, "ema", place)?, place)?;
        self.feed.go_to(progress.position, stream)?;
        self.progress = progress.clone();
        Ok(())
    }

    fn swap(&mut self) {
        self.ema.swap();
    }

    fn gallery(&self, nets: &Networks) -> Option<Gallery> {
        self.seen.as_ref().map(|batch| gallery(nets, batch, self.seed))
    }
}

/// The conditions with the CLIP vectors that this batch is told, where there is a CLIP: a caption that is not told is the
/// empty text, a picture that is not told is none.
///
/// Errors: pictures that shards do not hold.
fn with_clip(nets: &Networks, batch: &Batch, told: Told, cond: Cond) -> Result<Cond> {
    let Some(clip) = &nets.clip else { return Ok(cond) };
    let text = match told.clip_text {
        true => clip.texts(&batch.captions),
        false => clip.empty(batch.captions.len() as i64),
    };
    let clip_image = match (told.clip_image, &batch.images) {
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
