//! The prior's training: noise in a picture's CLIP vector, guessed from the caption's.
//!
//! Letters: B pictures of the global batch, b rows of one rank, r width of a CLIP vector.
//!
//! Source: pabloppp/Arroz-Con-Cosas for network, schedule and weighting; no training script has been published, so the
//! loop is the plainest that fits them.

use super::feed::{Feed, Rows};
use super::stage::{Stage, State, close, part};
use crate::checkpoint::{Phase, Progress};
use crate::config::PriorStageConfig;
use crate::cost::Meter;
use crate::device::seed_step;
use crate::dist::{Reducer, World};
use crate::error::{Error, Result};
use crate::metrics::Record;
use crate::model::prior::{PriorModel, Schedule};
use crate::networks::{Networks, PriorNet};
use crate::noise::uniform;
use crate::optim::{AdamW, Ema};
use crate::recipe::Split;
use crate::tokens::clip::ClipEncoder;
use crate::torch::precision::Autocast;
use std::time::Instant;
use tch::{Device, Kind, Tensor};

/// The state of a prior's training besides the weights.
pub struct PriorTrainer {
    recipe: PriorStageConfig,
    bf16: bool,
    seed: u64,
    feed: Feed,
    rows: Rows,
    split: Split,
    world: World,
    reducer: Reducer,
    optimizer: AdamW,
    ema: Ema,
    progress: Progress,
    meter: Meter,
}

const STREAM: u64 = 0x9107;

/// What one update draws, for n rows.
struct Draws {
    t: Tensor,     // (n,) f32 in 0..=1
    noise: Tensor, // (n, r) f32
    /// Captions to leave out (n, 1) bool.
    drop: Tensor,
}

impl Draws {
    /// `n` of these rows, from row `first` on.
    fn rows(&self, first: usize, n: usize) -> Self {
        let some = |xs: &Tensor| xs.narrow(0, first as i64, n as i64);
        Self { t: some(&self.t), noise: some(&self.noise), drop: some(&self.drop) }
    }
}

impl PriorTrainer {
    /// The seed of the order in which it sees pictures.
    pub fn order_seed(nets: &Networks) -> u64 {
        nets.config.seed ^ STREAM
    }

    /// The trainer of one of the ranks of `world`.
    ///
    /// Errors: no prior in the config; ranks among which the batch cannot be shared evenly; exchanges that fail.
    pub fn new(nets: &Networks, feed: Feed, world: &World) -> Result<Self> {
        let (prior, _) = both(nets)?;
        let recipe = nets.config.prior.clone().unwrap_or_default();
        let split = recipe.train.split(world.size());
        let split = split.map_err(|fault| Error::Config(vec![fault]))?;
        let trained = [("prior", &prior.vars)];
        let optimizer = AdamW::new(&trained, &recipe.train.optim);
        Ok(Self {
            bf16: nets.config.train.precision.bf16,
            seed: nets.config.seed,
            feed,
            rows: Rows::of_rank(world, recipe.train.batch),
            split,
            reducer: Reducer::new(world, &optimizer.params())?,
            world: world.clone(),
            optimizer,
            ema: Ema::new(&trained, recipe.train.ema_decay),
            progress: Progress::start(Phase::Prior),
            meter: Meter::new(&nets.config, Phase::Prior, nets.device, world.size()),
            recipe,
        })
    }

    /// This rank's rows of what the step draws; all ranks draw the whole batch.
    fn draws(&self, device: Device) -> Draws {
        seed_step(self.seed ^ STREAM, self.progress.step);
        let (b, r) = (self.recipe.train.batch as i64, self.recipe.model.clip_r);
        let all = Draws {
            t: uniform(&[b], device),
            noise: Tensor::randn([b, r], (Kind::Float, device)),
            drop: uniform(&[b, 1], device).le(self.recipe.train.cond_drop),
        };
        all.rows(self.rows.first, self.rows.count)
    }

    /// The loss of pictures' vectors (n, r), given their captions' (n, r): a number.
    ///
    /// Formula: mean over n of p2(t) x mean over r of (noise - guess)^2.
    fn loss(
        &self,
        model: &PriorModel,
        images: &Tensor,
        texts: &Tensor,
        draws: &Draws,
    ) -> Result<Tensor> {
        let cond = texts.zeros_like().where_self(&draws.drop, texts);
        let schedule = Schedule::default();
        let noised = schedule.diffuse(images, &draws.noise, &draws.t);
        let guess = {
            let _autocast = Autocast::bf16(self.bf16, images.device())?;
            model.forward(&noised, &draws.t, &cond).to_kind(Kind::Float)
        };
        let error = (guess - &draws.noise).square().mean_dim(&[1i64][..], false, Kind::Float); // (n,)
        Ok((error * schedule.p2_weight(&draws.t, 1.0, 1.0)).mean(Kind::Float))
    }
}

/// The prior and the CLIP that it learns from.
///
/// Errors: the config has none.
fn both(nets: &Networks) -> Result<(&PriorNet, &ClipEncoder)> {
    let missing =
        || Error::model("there is no prior or no CLIP to train it", "`prior`, `clip`", "");
    Ok((nets.prior.as_ref().ok_or_else(missing)?, nets.clip.as_ref().ok_or_else(missing)?))
}

impl Stage for PriorTrainer {
    fn step(&mut self, nets: &Networks) -> Result<Record> {
        let start = Instant::now();
        let (prior, clip) = both(nets)?;
        self.world.alone("waiting for data");
        let (pictures, captions) = self.feed.images(self.rows)?;
        let wait = start.elapsed().as_secs_f64();
        let (draws, Split { micro, passes, .. }) = (self.draws(nets.device), self.split);
        let mut mean = Tensor::zeros([0i64; 0], (Kind::Float, nets.device));
        for pass in 0..passes {
            let (first, last) = (pass * micro, pass + 1 == passes);
            let images = clip.images(&pictures.narrow(0, first as i64, micro as i64))?;
            let texts = clip.texts(&captions[first..first + micro]);
            self.reducer.forward(last)?;
            let loss = self.loss(&prior.model, &images, &texts, &draws.rows(first, micro))?;
            let loss = loss / passes as f64;
            self.reducer.backward(&loss, last)?;
            mean += loss.detach();
        }
        let train = &self.recipe.train;
        let lr = train.optim.lr_at(self.progress.step, train.steps);
        let grad_norm = self.optimizer.update(lr)?;
        self.ema.update(self.progress.step)?;
        self.world.mean(&mut mean)?;
        let loss = mean.double_value(&[]);
        self.progress.position = self.feed.position();
        let skipped_samples = self.feed.skipped(&self.world)?;
        let measured = Record { loss, grad_norm, lr, wait, skipped_samples, ..Record::default() };
        let (steps, batch) = (train.steps, train.batch);
        Ok(close(&mut self.progress, steps, batch, &self.meter, start, measured))
    }

    fn steps(&self) -> u64 {
        self.recipe.train.steps
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
}
