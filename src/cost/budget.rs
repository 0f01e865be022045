//! The budget of a training stage on given cards, or what to change so that it fits.

use super::exchange::{Exchange, exchange};
use super::memory::{MemoryNeed, usable};
use super::work::{Work, text_bytes, work};
use super::{DEVICES, Gpu};
use crate::checkpoint::Phase;
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::recipe::Split;

/// The cards to plan for, and the assumptions about them.
#[derive(Clone, Debug)]
pub struct EstimateRequest {
    pub gpu: &'static Gpu,
    pub gpus: usize,
    /// Cards per node. None: the usual number for this kind.
    pub per_node: Option<usize>,
    /// Fraction of the peak that the matrix products of a step reach.
    pub utilisation: f64,
    /// Overrides the config's micro batch.
    pub micro_batch: Option<usize>,
    /// Caption length in bytes if the config sets none.
    pub text_bytes: Option<i64>,
}

/// Compute, memory and time of a training stage.
#[derive(Clone, Debug)]
pub struct Budget {
    pub work: Work,
    pub gpu: &'static Gpu,
    pub gpus: usize,
    pub steps: u64,
    /// Pictures per update over all cards.
    pub batch: usize,
    pub split: Split,
    pub memory: MemoryNeed,
    pub exchange: Exchange,
    /// Seconds of an update spent in matrix products, on each card.
    pub compute: f64,
    /// Seconds of an update spent in the optimiser and the weight average. Memory bandwidth bounds them.
    pub update: f64,
}

/// Bytes that gradient clipping, AdamW and the weight average read and write per weight: 12 + 28 + 12.
const UPDATE_BYTES: f64 = 52.0;
const DAY: f64 = 86_400.0;

/// Estimates a stage.
///
/// Errors: a batch that does not divide over the cards; a micro batch that does not fit, with the settings that do.
pub fn budget(config: &RunConfig, phase: Phase, request: &EstimateRequest) -> Result<Budget> {
    let mut config = config.clone();
    config.train.micro_batch = request.micro_batch.or(config.train.micro_batch);
    let stage = work(&config, phase, text_bytes(&config, request.text_bytes));
    let uneven = |fault| Error::Config(vec![fault]);
    let whole = |rows: usize| Split { rows, micro: rows, passes: 1 };
    let (gpus, tokenizer) = (request.gpus, &config.tokenizer.train);
    let (steps, batch, split) = match phase {
        Phase::Tokenizer => {
            let rows = tokenizer.share(gpus).map_err(uneven)?;
            (tokenizer.steps, tokenizer.batch, whole(rows))
        }
        Phase::Clip => {
            let train = config.clip.clone().unwrap_or_default().train;
            (train.steps, train.batch, whole(train.share(gpus).map_err(uneven)?))
        }
        Phase::Prior => {
            let mut train = config.prior.clone().unwrap_or_default().train;
            train.micro_batch = request.micro_batch.or(train.micro_batch);
            (train.steps, train.batch, train.split(gpus).map_err(uneven)?)
        }
        Phase::Denoiser => {
            let split = config.train.split(gpus).map_err(uneven)?;
            (config.train.steps, config.train.global_batch, split)
        }
    };
    let memory = MemoryNeed::new(&stage, split.micro as i64);
    if !memory.fits(request.gpu) {
        return Err(too_large(&config, phase, request, &memory));
    }
    Ok(timed(stage, request, gpus, steps, (batch, split, memory)))
}

fn timed(
    work: Work,
    request: &EstimateRequest,
    gpus: usize,
    steps: u64,
    (batch, split, memory): (usize, Split, MemoryNeed),
) -> Budget {
    let (gpu, precision) = (request.gpu, &work.precision);
    let rate = |bf16: bool| gpu.peak(bf16, precision.tf32) * request.utilisation;
    let seconds = |flops: i64, bf16: bool| split.rows as f64 * flops as f64 / rate(bf16);
    let inside = work.useful() + work.recomputed - work.outside;
    let backward = seconds(work.backward() + work.recomputed, precision.bf16) / split.passes as f64;
    let per_node = request.per_node.unwrap_or(gpu.of_node);
    Budget {
        exchange: exchange(work.trained(), gpus, per_node, gpu, backward),
        compute: seconds(inside, precision.bf16) + seconds(work.outside, false),
        update: UPDATE_BYTES * work.trained() as f64 / gpu.bandwidth,
        work,
        gpu,
        gpus,
        steps,
        batch,
        split,
        memory,
    }
}

impl Budget {
    /// Seconds per update.
    pub fn step(&self) -> f64 {
        self.compute + self.update + self.exchange.exposed
    }

    /// Days of the whole stage.
    pub fn days(&self) -> f64 {
        self.step() * self.steps as f64 / DAY
    }

    /// Pictures per second on one card.
    pub fn images_per_s(&self) -> f64 {
        self.split.rows as f64 / self.step()
    }

    /// Model FLOPs utilisation at this number of pictures per second on one card.
    pub fn mfu(&self, images_per_s: f64) -> f64 {
        mfu(self.work.useful(), images_per_s, self.gpu.peak_of(&self.work.precision))
    }

    /// Pictures per second on one card that finish the run in `days`.
    pub fn images_per_s_in(&self, days: f64) -> f64 {
        self.steps as f64 * self.batch as f64 / (days * DAY * self.gpus as f64)
    }
}

/// Model FLOPs utilisation (MFU).
///
/// Formula: operations per picture x pictures per second / peak.
pub fn mfu(flops: i64, images_per_s: f64, peak: f64) -> f64 {
    flops as f64 * images_per_s / peak
}

/// The error for a stage that does not fit: memory needed, and the settings to change.
fn too_large(
    config: &RunConfig,
    phase: Phase,
    request: &EstimateRequest,
    memory: &MemoryNeed,
) -> Error {
    let gib = |bytes: i64| bytes as f64 / (1u64 << 30) as f64;
    let what = format!(
        "the {phase} needs {:.1} GiB a card, {} has {:.1} GiB for it",
        gib(memory.total()),
        request.gpu.name,
        gib(usable(request.gpu)),
    );
    let ways = match phase {
        Phase::Denoiser => ways_out(config, request),
        Phase::Tokenizer => {
            let batch = config.tokenizer.train.batch;
            fewer(config, phase, ("tokenizer.train.batch", batch), request).into_iter().collect()
        }
        Phase::Clip => {
            let batch = config.clip.clone().unwrap_or_default().train.batch;
            fewer(config, phase, ("clip.train.batch", batch), request).into_iter().collect()
        }
        Phase::Prior => prior_batch(config, request).into_iter().collect(),
    };
    let hint = match ways.is_empty() {
        false => ways.join("; or "),
        true => format!(
            "weights and their state alone take {:.1} GiB; {}",
            gib(memory.fixed()),
            others(config, phase, request)
        ),
    };
    Error::device(what, config.name.clone(), hint)
}

/// Settings under which the denoiser fits, least intrusive first, each with its largest micro batch.
fn ways_out(config: &RunConfig, request: &EstimateRequest) -> Vec<String> {
    let all: Vec<usize> = (0..config.model.levels.len()).collect();
    let precision = &config.train.precision;
    let mut ways = Vec::new();
    for (bf16, recompute) in [(false, false), (true, false), (false, true), (true, true)] {
        if (bf16 && precision.bf16) || (recompute && precision.recompute.len() >= all.len()) {
            continue;
        }
        let mut other = config.clone();
        other.train.precision.bf16 |= bf16;
        if recompute {
            other.train.precision.recompute.clone_from(&all);
        }
        if let Some(micro) = largest(&other, request) {
            let mut settings = vec![format!("`train.micro_batch: {micro}`")];
            settings.extend(bf16.then(|| "`train.precision.bf16: true`".into()));
            settings.extend(recompute.then(|| format!("`train.precision.recompute: {all:?}`")));
            ways.push(settings.join(" with "));
        }
    }
    ways
}

/// The largest micro batch of the denoiser that divides a card's share of the batch and fits.
pub fn largest(config: &RunConfig, request: &EstimateRequest) -> Option<usize> {
    let stage = work(config, Phase::Denoiser, text_bytes(config, request.text_bytes));
    largest_of(&stage, config.train.global_batch, request)
}

fn largest_of(stage: &Work, batch: usize, request: &EstimateRequest) -> Option<usize> {
    let even = |micro: &usize| batch.is_multiple_of(micro * request.gpus);
    let fits = |micro: &usize| MemoryNeed::new(stage, *micro as i64).fits(request.gpu);
    (1..=batch / request.gpus.max(1)).rev().filter(even).find(fits)
}

fn prior_batch(config: &RunConfig, request: &EstimateRequest) -> Option<String> {
    let stage = work(config, Phase::Prior, 1);
    let batch = config.prior.clone().unwrap_or_default().train.batch;
    largest_of(&stage, batch, request).map(|micro| format!("`prior.train.micro_batch: {micro}`"))
}

/// A smaller batch that fits, for a stage whose batch is not split into micro batches.
fn fewer(
    config: &RunConfig,
    phase: Phase,
    (field, batch): (&str, usize),
    request: &EstimateRequest,
) -> Option<String> {
    let stage = work(config, phase, 1);
    let fits = |rows: &usize| MemoryNeed::new(&stage, *rows as i64).fits(request.gpu);
    let rows = (1..batch / request.gpus.max(1)).rev().find(fits)?;
    Some(format!("`{field}: {}`", (rows * request.gpus).max(2)))
}

/// Names of cards with more memory on which the stage fits unchanged.
fn others(config: &RunConfig, phase: Phase, request: &EstimateRequest) -> String {
    let fits = |gpu: &&'static Gpu| {
        let stage = work(config, phase, text_bytes(config, request.text_bytes));
        gpu.memory > request.gpu.memory && MemoryNeed::new(&stage, 1).fits(gpu)
    };
    let names: Vec<&str> = DEVICES.iter().filter(fits).map(|gpu| gpu.name).collect();
    match names.is_empty() {
        true => "no card that is known here is large enough for it".into(),
        false => format!("larger cards: {}", names.join(", ")),
    }
}
