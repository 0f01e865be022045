//! Speed of a config's denoiser on a device: training steps and sampling runs, with random weights on random tokens. In
//! `pieces` what stands around it: tokenizer, text encoder, reading of shards.
//!
//! Letters: B pictures, h x w tokens, S condition vectors, D width of a text vector.

mod pieces;

use crate::checkpoint::Phase;
use crate::config::RunConfig;
use crate::cost::{self, EstimateRequest, Gpu, find_card};
use crate::data::DataConfig;
use crate::device::wait;
use crate::dist::World;
use crate::error::{Error, Result};
use crate::model::replay::{Replay, Replayed, sampling_only};
use crate::model::{Cond, Denoiser};
use crate::networks::Networks;
use crate::noise::random_tokens;
use crate::recipe::Precision;
use crate::sample::{Random, Sampler};
use crate::tokens::text::{TextConfig, batch_tokens};
use crate::torch::precision::{Autocast, peak_memory};
use crate::torch::profile::{KernelTime, longest, profiled, release_memory};
use crate::train::batch::Batch;
use crate::train::{DenoiserTrainer, Feed};
use serde::Serialize;
use std::path::Path;
use std::time::Instant;
use tch::{Device, Kind, Tensor};

pub use pieces::{BenchPiece, Loading, PieceSpeed, load};

/// Steps and runs before the clock starts: libraries are loaded, workspaces found.
const WARM_UP: usize = 3;

/// Training steps of one micro batch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Training {
    pub micro_batch: usize,
    /// Activations are computed again instead of kept.
    pub recompute: bool,
    /// Milliseconds of each step; the others follow from their median.
    pub each_ms: Vec<f64>,
    pub ms: f64,
    pub pictures_per_s: f64,
    /// Share of the peak. None if the kind of card is unknown.
    pub mfu: Option<f64>,
    /// Most bytes in use.
    pub memory: Option<u64>,
    pub loss: f64,
    /// None if the kind of card is unknown, or if by the estimate it does not fit.
    #[serde(rename = "plan")]
    pub estimate: Option<Estimated>,
}

/// What `paella plan` says of the same step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Estimated {
    pub ms: f64,
    /// Of these, the products, at this share of the peak.
    pub products_ms: f64,
    pub share: f64,
    pub pictures_per_s: f64,
    pub mfu: f64,
    pub memory: i64,
}

/// Sampling runs of one batch, from noise to tokens.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SamplingSpeed {
    pub way: SamplingWay,
    pub batch: i64,
    /// Passes of a run; each is two of the model where it is guided.
    pub passes: usize,
    pub each_ms: Vec<f64>,
    pub ms: f64,
    pub ms_per_picture: f64,
    pub memory: Option<u64>,
}

/// A denoiser to be measured.
pub struct Bench {
    nets: Networks,
    /// Bytes of each caption.
    bytes: i64,
    /// The trainer, and the micro batch that it was made for.
    trainer: Option<(usize, DenoiserTrainer)>,
    /// The same denoiser as it samples fastest, with what was recorded of it.
    sampler: Option<(Networks, Replay)>,
    /// Batch and way of the last sampling run: the next such run needs no warm-up.
    warm: Option<(i64, SamplingWay)>,
    /// The config's text encoder, which is built when its time is asked for.
    text_config: TextConfig,
    text: Option<pieces::FullText>,
}

/// How a sampling run is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SamplingWay {
    /// The networks of the training steps, every kernel launched by itself.
    Plain,
    /// A copy of the networks that only samples: weights of products stored in bf16 (a session casts them in every
    /// pass), both guesses of guidance in one batch, on a GPU recorded passes.
    Replayed,
}

impl Bench {
    /// The denoiser of `config` with random weights. Captions come as vectors: the text encoder is only there to say what
    /// no caption is, and there is no CLIP.
    ///
    /// Errors: a config that is not sound; memory.
    pub fn new(config: &RunConfig, device: Device) -> Result<Self> {
        let mut config = config.clone();
        let bytes = cost::text_bytes(&config, None);
        (config.clip, config.prior) = (None, None);
        // no pictures are read, and none become tokens
        config.data = DataConfig { size: config.data.size, ..DataConfig::default() };
        (config.weights, config.stages) = (Default::default(), vec![Phase::Denoiser]);
        config.model.bf16 = false; // each way to sample is measured by itself
        let text_config = config.text.clone();
        config.text.make_smallest();
        config.text.length = Some(bytes);
        let train = &mut config.train;
        (train.clip_text, train.clip_image, train.train_text) = (0.0, 0.0, false);
        (train.log.samples_every, train.micro_batch) = (0, None);
        let nets = Networks::new(&config, device)?;
        Ok(Self { nets, bytes, trainer: None, sampler: None, warm: None, text_config, text: None })
    }

    /// What is measured: parameters of the denoiser, operations of one picture in training.
    pub fn size(&self) -> (i64, i64) {
        let work = cost::work(&self.nets.config, Phase::Denoiser, self.bytes);
        (work.trained(), work.useful())
    }

    /// From now on no level keeps its activations, or all do.
    ///
    /// Errors: libtorch's.
    pub fn recompute(&mut self, on: bool) -> Result<()> {
        let levels = if on { self.nets.config.model.levels.len() } else { 0 };
        let precision = Precision {
            recompute: (0..levels).collect(),
            ..self.nets.config.train.precision.clone()
        };
        if precision != self.nets.config.train.precision {
            self.release()?;
            self.nets.set_precision(&precision)?;
            self.nets.config.train.precision = precision;
        }
        Ok(())
    }

    /// `steps` whole updates of `micro` pictures: noise, forward, loss, backward, clipping, AdamW, average.
    ///
    /// Errors: memory, after which the optimiser's state is gone and other sizes can be measured.
    pub fn train(&mut self, micro: usize, steps: usize) -> Result<Training> {
        self.ready(micro)?;
        let device = self.nets.device;
        let _ = peak_memory(device);
        let (mut each_ms, mut memory, mut loss) = (Vec::new(), None, f64::NAN);
        for _ in 0..steps.max(1) {
            let start = Instant::now();
            let record = self.step()?;
            each_ms.push(1e3 * start.elapsed().as_secs_f64());
            memory = memory.max(record.1);
            loss = record.0;
        }
        let ms = median(&each_ms);
        let pictures_per_s = 1e3 * micro as f64 / ms;
        let (precision, kind) = (&self.nets.config.train.precision, kind_of(device));
        let peak = kind.map(|gpu| gpu.peak_of(precision));
        Ok(Training {
            micro_batch: micro,
            recompute: !precision.recompute.is_empty(),
            mfu: peak.map(|peak| cost::mfu(self.size().1, pictures_per_s, peak)),
            estimate: kind.and_then(|gpu| self.estimate(gpu, micro).ok()),
            each_ms,
            ms,
            pictures_per_s,
            memory,
            loss,
        })
    }

    /// Loss and most memory of one update, once the device is done.
    fn step(&mut self) -> Result<(f64, Option<u64>)> {
        let Some((_, trainer)) = &mut self.trainer else { return Ok((f64::NAN, None)) };
        let step = trainer.step(&self.nets);
        wait(self.nets.device);
        let record = step.inspect_err(|_| self.trainer = None)?;
        Ok((record.loss, record.memory))
    }

    /// A trainer of this micro batch that has taken its first steps.
    fn ready(&mut self, micro: usize) -> Result<()> {
        if self.trainer.as_ref().is_some_and(|(known, _)| *known == micro) {
            return Ok(());
        }
        self.release()?;
        self.nets.config.train.global_batch = micro;
        let feed = Feed::Fixed(Box::new(self.batch(micro as i64)));
        self.trainer = Some((micro, DenoiserTrainer::new(&self.nets, feed, &World::solo())?));
        (0..WARM_UP).try_for_each(|_| self.step().map(drop))
    }

    /// Give up the optimiser's state, and the memory that libtorch keeps.
    ///
    /// Errors: libtorch's.
    pub fn release(&mut self) -> Result<()> {
        self.trainer = None;
        self.warm = None;
        self.sampler = None;
        self.text = None;
        release_memory(self.nets.device)
    }

    fn batch(&self, b: i64) -> Batch {
        let captions = vec![String::new(); b as usize];
        Batch {
            tokens: self.tokens(b),
            ids: batch_tokens(&captions, Some(self.bytes), self.nets.device).0,
            text: Some(self.text(b)),
            captions,
            images: None,
        }
    }

    /// (b, h, w) i64.
    fn tokens(&self, b: i64) -> Tensor {
        let grid = self.nets.grid();
        random_tokens(&[b, grid, grid], self.nets.config.model.num_labels, self.nets.device)
    }

    /// (b, S, D) f32.
    fn text(&self, b: i64) -> Tensor {
        let size = [b, self.bytes, self.nets.config.text.d_model];
        Tensor::randn(size, (Kind::Float, self.nets.device)) * 0.1
    }

    fn cond(&self, b: i64) -> Cond {
        let width = self.nets.config.model.clip_embd;
        let clip = || Tensor::randn([b, width], (Kind::Float, self.nets.device)) * 0.1;
        Cond { clip: (width > 0).then(clip), ..Cond::text(self.text(b)) }
    }

    /// `runs` batches of `batch` pictures, from noise to tokens by the config's schedule; captions are read before.
    pub fn sample(&mut self, batch: i64, runs: usize, way: SamplingWay) -> Result<SamplingSpeed> {
        let device = self.nets.device;
        let (cond, null) = (self.cond(batch), self.cond(batch));
        self.ready_to_sample(way)?;
        if self.warm != Some((batch, way)) {
            self.sample_once(&cond, &null, way)?;
            self.warm = Some((batch, way));
        }
        let _ = peak_memory(device);
        let mut each_ms = Vec::new();
        for _ in 0..runs.max(1) {
            let start = Instant::now();
            self.sample_once(&cond, &null, way)?;
            each_ms.push(1e3 * start.elapsed().as_secs_f64());
        }
        let ms = median(&each_ms);
        Ok(SamplingSpeed {
            way,
            batch,
            passes: self.nets.config.sample.schedule().len(),
            each_ms,
            ms,
            ms_per_picture: ms / batch as f64,
            memory: peak_memory(device),
        })
    }

    fn ready_to_sample(&mut self, way: SamplingWay) -> Result<()> {
        if way == SamplingWay::Replayed && self.sampler.is_none() {
            let nets = Networks::new(&self.nets.config, self.nets.device)?;
            sampling_only(&nets.denoiser_vars);
            self.sampler = Some((nets, Replay::default()));
        }
        Ok(())
    }

    fn sample_once(&self, cond: &Cond, null: &Cond, way: SamplingWay) -> Result<()> {
        let Networks { config, denoiser, device, .. } = &self.nets;
        // a replayed pass switches autocast on by itself
        let bf16 = config.train.precision.bf16 && way == SamplingWay::Plain;
        let _autocast = Autocast::bf16(bf16, *device)?;
        let replayed = match (&self.sampler, way) {
            (Some((nets, replay)), SamplingWay::Replayed) => {
                Some(Replayed { model: &nets.denoiser, replay: Some(replay) })
            }
            _ => None,
        };
        let model: &dyn Denoiser = replayed.as_ref().map_or(denoiser, |model| model);
        let noise = self.tokens(cond.byt5.size()[0]);
        let sampler = Sampler { model, cond, null, noise: &noise, chance: &Random, region: None };
        let tokens = sampler.run(&noise, &config.sample.schedule());
        wait(*device);
        let fits = tokens.size() == noise.size();
        if fits { Ok(()) } else { Err(Error::model("tokens of another shape", "sampling", "")) }
    }

    /// One training step, and one sampling run of one picture, under the profiler: two traces into `folder`, and the ten
    /// longest kernels of each.
    pub fn profile(&mut self, micro: usize, folder: &Path) -> Result<[Vec<KernelTime>; 2]> {
        let make = |e: std::io::Error| {
            Error::device(e.to_string(), folder.display().to_string(), "is the folder writable?")
        };
        std::fs::create_dir_all(folder).map_err(make)?;
        let device = self.nets.device;
        self.ready(micro)?;
        let train = folder.join("train.trace.json");
        profiled(device, &train, || self.step())?;
        let (cond, null) = (self.cond(1), self.cond(1));
        self.ready_to_sample(SamplingWay::Replayed)?;
        self.sample_once(&cond, &null, SamplingWay::Replayed)?;
        let sample = folder.join("sample.trace.json");
        profiled(device, &sample, || self.sample_once(&cond, &null, SamplingWay::Replayed))?;
        Ok([longest(&train, 10)?, longest(&sample, 10)?])
    }

    fn estimate(&self, gpu: &'static Gpu, micro: usize) -> Result<Estimated> {
        let request = EstimateRequest {
            gpu,
            gpus: 1,
            per_node: None,
            utilisation: cost::share_of(gpu).share,
            micro_batch: None,
            text_bytes: None,
        };
        let mut config = self.nets.config.clone();
        config.train.global_batch = micro;
        let budget = cost::budget(&config, Phase::Denoiser, &request)?;
        let pictures_per_s = budget.images_per_s();
        Ok(Estimated {
            ms: 1e3 * budget.step(),
            products_ms: 1e3 * budget.compute,
            share: request.utilisation,
            pictures_per_s,
            mfu: budget.mfu(pictures_per_s),
            memory: budget.memory.total(),
        })
    }
}

/// The kind of a card; a CPU counts as the one that the table lists.
fn kind_of(device: Device) -> Option<&'static Gpu> {
    find_card(device).or_else(|| cost::find("cpu").filter(|_| !device.is_cuda()))
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => 0.5 * (sorted[n / 2 - 1] + sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_between_the_two() {
        assert_eq!([median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0])], [2.0, 2.5]);
        assert!(median(&[]).is_nan());
    }
}
