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
use crate::optim::AdamW;
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
    world: World,
    reducer: Reducer,
    optimizer: AdamW,
    progress: Progress,
    meter: Meter,
}

const STREAM: u64 = 0x9107;

/// What one update draws, for the rows of one rank.
struct Draws {
    t: Tensor,     // (b,) f32 in 0..=1
    noise: Tensor, // (b, r) f32
    /// Captions to leave out (b, 1) bool.
    drop: Tensor,
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
        recipe.train.share(world.size()).map_err(|fault| Error::Config(vec![fault]))?;
        let optimizer = AdamW::new(&[("prior", &prior.vars)], &recipe.train.optim);
        Ok(Self {
            bf16: nets.config.train.precision.bf16,
            seed: nets.config.seed,
            feed,
            rows: Rows::of_rank(world, recipe.train.batch),
            reducer: Reducer::new(world, &optimizer.params())?,
            world: world.clone(),
            optimizer,
            progress: Progress::start(Phase::Prior),
            meter: Meter::new(&nets.config, Phase::Prior, nets.device, world.size()),
            recipe,
        })
    }

    /// This rank's rows of what the step draws; all ranks draw the whole batch.
    fn draws(&self, r: i64, device: Device) -> Draws {
        seed_step(self.seed ^ STREAM, self.progress.step);
        let b = self.recipe.train.batch as i64;
        let own = |xs: Tensor| xs.narrow(0, self.rows.first as i64, self.rows.count as i64);
        Draws {
            t: own(uniform(&[b], device)),
            noise: own(Tensor::randn([b, r], (Kind::Float, device))),
            drop: own(uniform(&[b, 1], device).le(self.recipe.train.cond_drop)),
        }
    }

    /// The loss of pictures' vectors (b, r), given their captions' (b, r): a number.
    ///
    /// Formula: mean over b of p2(t) x mean over r of (noise - guess)^2.
    fn loss(&self, model: &PriorModel, images: &Tensor, texts: &Tensor) -> Result<Tensor> {
        let draws = self.draws(images.size()[1], images.device());
        let cond = texts.zeros_like().where_self(&draws.drop, texts);
        let schedule = Schedule::default();
        let noised = schedule.diffuse(images, &draws.noise, &draws.t);
        let guess = {
            let _autocast = Autocast::bf16(self.bf16, images.device())?;
            model.forward(&noised, &draws.t, &cond).to_kind(Kind::Float)
        };
        let error = (guess - draws.noise).square().mean_dim(&[1i64][..], false, Kind::Float); // (b,)
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
        let (pictures, captions) = self.feed.images(self.rows)?;
        let wait = start.elapsed().as_secs_f64();
        let (images, texts) = (clip.images(&pictures)?, clip.texts(&captions));
        self.reducer.forward(true)?;
        let loss = self.loss(&prior.model, &images, &texts)?;
        self.reducer.backward(&loss, true)?;
        let train = &self.recipe.train;
        let lr = train.optim.lr_at(self.progress.step, train.steps);
        let grad_norm = self.optimizer.update(lr)?;
        let mut loss = loss.detach();
        self.world.mean(&mut loss)?;
        let loss = loss.double_value(&[]);
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
        &["optim"]
    }

    fn state(&self) -> State {
        vec![("optim", self.optimizer.state())]
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
        self.feed.go_to(progress.position, stream)?;
        self.progress = progress.clone();
        Ok(())
    }
}
