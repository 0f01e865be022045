//! Training and evaluation settings: every number that is not a network's size.

mod adversary;
mod clip;
mod prior;

pub use adversary::AdversaryConfig;
pub use clip::ClipTrainConfig;
pub use prior::PriorTrainConfig;

use crate::checkpoint::SaveConfig;
use crate::error::counted;
use crate::loss::LossConfig;
use crate::optim::{Decay, MOST_STEPS, OptimConfig};
use crate::tokens::codebook::Revive;
use ron_faults::{Checks, Fault};
use serde::{Deserialize, Serialize};

/// How the tokenizer (VQGAN) is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenizerTrainConfig {
    pub steps: u64,
    /// Pictures per update.
    pub batch: usize,
    pub optim: OptimConfig,
    /// Weight of the mean squared error relative to the codebook and commitment terms.
    pub reconstruction: f64,
    /// Number of initial updates trained without quantisation. Then the codes are initialised to cluster means of the
    /// latents.
    pub quantize_after: u64,
    /// Every this many updates, codes not used since the last time are replaced by latents of the batch. 0: never.
    pub revive_every: u64,
    /// Which latents.
    pub revive: Revive,
    /// Initial value of the gains on a residual block's two branches. The published model starts at 0.
    pub gain: f64,
    /// Weight of LPIPS between pictures and reconstructions, which `weights.vgg` and `weights.lpips` are for. 0: left out. `paella plan`
    /// does not count it.
    pub perceptual: f64,
    /// A discriminator that learns beside the tokenizer: sharper pictures. None: squared error alone.
    pub adversary: Option<AdversaryConfig>,
}

impl Default for TokenizerTrainConfig {
    fn default() -> Self {
        let optim = OptimConfig {
            lr: 6e-3,
            warmup: 50,
            decay: Decay::Cosine(0.02),
            ..OptimConfig::default()
        };
        Self {
            steps: 1_000,
            batch: 32,
            optim: OptimConfig { betas: (0.9, 0.99), weight_decay: 0.0, ..optim },
            reconstruction: 20.0,
            quantize_after: 100,
            revive_every: 20,
            revive: Revive::Any,
            gain: 0.3,
            perceptual: 0.0,
            adversary: None,
        }
    }
}

impl TokenizerTrainConfig {
    /// Checks the values. Returns all faults.
    pub fn check(&self) -> Vec<Fault> {
        let mut found = Checks::default();
        found.count("batch", self.batch as u64, 2, 1 << 20);
        found.count("steps", self.steps, 1, MOST_STEPS);
        found.count("quantize_after", self.quantize_after, 0, MOST_STEPS);
        found.number("reconstruction", self.reconstruction, 1e-9, 1e9);
        found.number("gain", self.gain, -10.0, 10.0);
        found.number("perceptual", self.perceptual, 0.0, 1e6);
        if let Some(adversary) = &self.adversary {
            let (from, to) = (self.quantize_after, self.steps.saturating_sub(1));
            let steps = counted(self.steps, "step");
            let what = format!("{} of {steps}, {from} of them without codes", adversary.start);
            let fits = (from..=to).contains(&adversary.start);
            found.unless(fits, "adversary.start", what, &format!("{from} to {to}"));
        }
        found.part("optim", self.optim.check());
        found.faults()
    }

    /// Pictures per update on each of `ranks` processes.
    ///
    /// Errors: the batch does not divide evenly; the hint names numbers that do.
    pub fn share(&self, ranks: usize) -> Result<usize, Fault> {
        share("tokenizer.train.", self.batch, ranks)
    }
}

/// The share of each of `ranks` processes in the field `batch` below `path`, which is not split into micro batches.
fn share(path: &str, batch: usize, ranks: usize) -> Result<usize, Fault> {
    let ranks = ranks.max(1);
    if batch >= ranks && batch.is_multiple_of(ranks) {
        return Ok(batch / ranks);
    }
    let fits = match batch / ranks * ranks {
        0 => format!("{ranks}"),
        below => format!("{below} or {}", below + ranks),
    };
    let what = format!("`batch` {batch} is not a multiple of {}", counted(ranks, "rank"));
    Err(Fault::new(what, format!("`{path}batch`"), format!("`batch` {fits}")))
}

/// How noise ratios are drawn in training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum NoiseRatio {
    /// Uniform in 0..1, as in the reference.
    Uniform,
    /// Distributed as the largest of p uniform draws, where p is the value. 2 prefers high noise, where the text
    /// matters most.
    Power(f64),
    /// As `Power`, with p rising evenly from 1 at the first step to this value at the last. Little noise teaches what
    /// tokens look like beside each other, much noise what a text makes of none; the second is learned on the first.
    Rising(f64),
}

impl NoiseRatio {
    /// The p of [`NoiseRatio::Power`] at a step of a run of `steps`.
    pub fn power(self, step: u64, steps: u64) -> f64 {
        match self {
            Self::Uniform => 1.0,
            Self::Power(p) => p,
            Self::Rising(p) => 1.0 + (p - 1.0) * (step as f64 / steps.max(1) as f64).min(1.0),
        }
    }
}

/// Which captions are dropped together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DropBy {
    /// Each caption independently.
    Caption,
    /// All captions of a global batch or none, as in the reference.
    Batch,
}

/// How the denoiser (and the text encoder, unless frozen) is trained. The default is the reference's recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    pub steps: u64,
    /// Pictures per update over all processes. The share of one process is derived from it.
    pub global_batch: usize,
    /// Maximum pictures that one process holds in memory at once. None: its whole share. Smaller micro batches are
    /// accumulated.
    pub micro_batch: Option<usize>,
    pub optim: OptimConfig,
    pub precision: Precision,
    pub label_smoothing: f64,
    /// Loss weight of a clean token in a clean picture.
    pub min_val: f64,
    /// Fraction of the captions replaced by the empty text. Guidance needs this.
    pub cond_drop: f64,
    pub drop_by: DropBy,
    /// Fraction of the batches that receive their captions' CLIP vectors. The others receive the empty text's.
    pub clip_text: f64,
    /// Fraction of the batches that receive their pictures' CLIP vectors. The others receive none.
    pub clip_image: f64,
    pub noise_ratio: NoiseRatio,
    /// Whether to train the text encoder too. At full size it is loaded and stays frozen.
    pub train_text: bool,
    /// Decay of the moving average of the weights.
    pub ema_decay: f64,
    /// Number of consecutive updates without a finite loss and gradient that ends the run. Each one is skipped and
    /// counted.
    pub max_bad: u64,
    pub save: SaveConfig,
    pub log: LogConfig,
}

/// Numeric precision and memory layout of the training passes. The default is plain f32, which is bit-exact on the CPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Precision {
    /// Matrix products and convolutions in bf16, the rest in f32 (autocast). Weights and optimiser state stay f32.
    pub bf16: bool,
    /// GPU: f32 matrix products may round their inputs to 19 bits (TF32).
    pub tf32: bool,
    /// Store activations channels-last: position by position instead of channel by channel.
    pub channels_last: bool,
    /// GPU: sampling runs in bf16 from passes that were recorded once (CUDA graphs). Both guesses of guidance are one
    /// batch if text and empty text have one length (`text.length`) and the model has no prior.
    pub replay: bool,
    /// Levels of the denoiser (0 is the finest) that recompute their activations in the backward pass instead of
    /// keeping them.
    pub recompute: Vec<usize>,
}

/// What a run logs besides its JSON lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Updates between two grids of pictures: originals, noised, predicted, sampled. 0: none.
    pub samples_every: u64,
    /// Pictures per grid.
    pub samples: usize,
    /// Also write TensorBoard event files to `tensorboard/`, beside the JSON lines.
    pub tensorboard: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { samples_every: 0, samples: 8, tensorboard: false }
    }
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 1_300_000,
            global_batch: 2048,
            micro_batch: None,
            optim: OptimConfig::default(),
            precision: Precision::default(),
            label_smoothing: 0.1,
            min_val: 0.3,
            cond_drop: 0.05,
            drop_by: DropBy::Caption,
            clip_text: 0.0,
            clip_image: 0.0,
            noise_ratio: NoiseRatio::Uniform,
            train_text: true,
            ema_decay: 0.999,
            max_bad: 20,
            save: SaveConfig::default(),
            log: LogConfig::default(),
        }
    }
}

/// Division of a global batch over ranks and passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Rows per rank.
    pub rows: usize,
    /// Rows per pass.
    pub micro: usize,
    /// Passes per rank for one update.
    pub passes: usize,
}

impl TrainConfig {
    /// Checks the values for a denoiser with `levels` levels. Returns all faults.
    pub fn check(&self, levels: usize) -> Vec<Fault> {
        let mut found = Checks::default();
        found.count("steps", self.steps, 1, MOST_STEPS);
        check_batch(&mut found, "global_batch", self.global_batch, self.split(1));
        found.part("save", self.save.check());
        found.count("log.samples", self.log.samples as u64, 1, 64);
        found.count("max_bad", self.max_bad, 1, i64::MAX);
        for level in self.precision.recompute.iter().filter(|level| **level >= levels) {
            let what = format!("there is no level {level}");
            found.unless(false, "precision.recompute", what, "levels count from 0, the finest");
        }
        found.number("label_smoothing", self.label_smoothing, 0.0, 0.999); // at 1 the loss ignores the tokens
        found.share("min_val", self.min_val);
        found.share("cond_drop", self.cond_drop);
        found.share("clip_text", self.clip_text);
        found.share("clip_image", self.clip_image);
        found.share("ema_decay", self.ema_decay);
        if let NoiseRatio::Power(p) | NoiseRatio::Rising(p) = self.noise_ratio {
            found.number("noise_ratio", p, 0.01, 100.0);
        }
        found.part("optim", self.optim.check());
        found.faults()
    }

    /// The settings of the objective.
    pub fn loss(&self) -> LossConfig {
        LossConfig { label_smoothing: self.label_smoothing, min_val: self.min_val }
    }

    /// The share of each of `ranks` processes.
    ///
    /// Errors: the batch does not divide evenly; the hint names numbers that do.
    pub fn split(&self, ranks: usize) -> Result<Split, Fault> {
        split("train.", "global_batch", (self.global_batch, self.micro_batch), ranks)
    }
}

/// The most pictures of one update.
const MOST_PICTURES: usize = 1 << 24;

/// Adds the faults of a batch, and of the micro batches that it is split into.
fn check_batch(found: &mut Checks, name: &str, batch: usize, split: Result<Split, Fault>) {
    found.count(name, batch as u64, 1, MOST_PICTURES as i64);
    if let (Err(fault), true) = (split, batch <= MOST_PICTURES) {
        found.unless(false, "micro_batch", fault.what, &fault.hint);
    }
}

/// Splits the batch of field `name` below `path` over `ranks` processes.
fn split(
    path: &str,
    name: &str,
    (batch, micro_batch): (usize, Option<usize>),
    ranks: usize,
) -> Result<Split, Fault> {
    let (batch, ranks) = (batch.max(1), ranks.max(1));
    if micro_batch == Some(0) {
        let place = format!("`{path}micro_batch`");
        return Err(Fault::new("passes of 0 pictures", place, "at least 1, or None"));
    }
    let micro = micro_batch.unwrap_or(batch / ranks).max(1);
    let unit = micro.saturating_mul(ranks);
    if batch.is_multiple_of(unit) {
        let rows = batch / ranks;
        return Ok(Split { rows, micro, passes: rows / micro });
    }
    let passes = micro_batch.map(|micro| format!("`micro_batch` {micro} x ")).unwrap_or_default();
    let what = format!("`{name}` {batch} is not a multiple of {passes}{}", counted(ranks, "rank"));
    let whole = |n: usize| n.checked_mul(unit).filter(|&n| n > 0).map(|n| n.to_string());
    let batches = [whole(batch / unit), whole(batch / unit + 1)];
    let batches = batches.into_iter().flatten().collect::<Vec<_>>().join(" or ");
    let divides = |n: &usize| batch.is_multiple_of(n.saturating_mul(ranks));
    // near ones are the useful ones: a search through 2^63 numbers never ends
    let below = |n: usize, most: usize| (1..n.min(most.saturating_add(1))).rev().take(1 << 16);
    let smaller = below(micro, batch / ranks).find(divides);
    let smaller = smaller.map_or(String::new(), |n| format!("; or `micro_batch` {n}"));
    let fewer = below(ranks, batch / micro).find(|n| batch.is_multiple_of(n.saturating_mul(micro)));
    let fewer = fewer.map_or(String::new(), |n| format!("; or {}", counted(n, "rank")));
    Err(Fault::new(what, format!("`{path}{name}`"), format!("`{name}` {batches}{smaller}{fewer}")))
}

/// How a trained model is scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvalConfig {
    /// Number of captions to generate one picture for, from training and from the held-out pairs each.
    pub captions: usize,
    /// Pictures per pass.
    pub batch: usize,
    /// Side in pixels of the averaged pictures used for the nearest-neighbour search.
    pub feature_size: i64,
    pub seed: u64,
    /// Also score generated pictures with a small classifier trained on the real ones (for data with few classes).
    pub classifier: bool,
}

impl EvalConfig {
    /// Checks the values for pictures of `size` pixels a side. Returns all faults.
    pub fn check(&self, size: i64) -> Vec<Fault> {
        let mut found = Checks::default();
        found.count("captions", self.captions as u64, 1, 1 << 20);
        found.count("batch", self.batch as u64, 1, 1 << 16);
        found.within("feature_size", self.feature_size, 1, size.max(1));
        found.faults()
    }
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self { captions: 200, batch: 50, feature_size: 16, seed: 1, classifier: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(
        global_batch: usize,
        micro_batch: Option<usize>,
        ranks: usize,
    ) -> Result<Split, Fault> {
        TrainConfig { global_batch, micro_batch, ..TrainConfig::default() }.split(ranks)
    }

    #[test]
    fn noise_rises_from_even_to_high() {
        let powers = [0, 50, 100, 200].map(|step| NoiseRatio::Rising(3.0).power(step, 100));
        assert_eq!(powers, [1.0, 2.0, 3.0, 3.0]);
        let fixed = [NoiseRatio::Uniform, NoiseRatio::Power(2.0)].map(|how| how.power(7, 10));
        assert_eq!(fixed, [1.0, 2.0]);
    }

    #[test]
    fn shares_come_out_even_or_are_refused_with_numbers_that_do() {
        assert_eq!(split(2048, Some(8), 128), Ok(Split { rows: 16, micro: 8, passes: 2 }));
        assert_eq!(split(32, None, 4), Ok(Split { rows: 8, micro: 8, passes: 1 }));
        let fault = split(2048, Some(16), 96).unwrap_err();
        assert_eq!(
            fault.what,
            "`global_batch` 2048 is not a multiple of `micro_batch` 16 x 96 ranks"
        );
        assert_eq!(fault.hint, "`global_batch` 1536 or 3072; or 64 ranks");
        let fault = split(6, Some(4), 1).unwrap_err();
        assert_eq!(fault.hint, "`global_batch` 4 or 8; or `micro_batch` 3");
        assert!(split(6, Some(0), 1).is_err() && split(3, None, 8).is_err());
        let prior = PriorTrainConfig { batch: 6, micro_batch: Some(4), ..Default::default() };
        let fault = prior.split(1).unwrap_err();
        assert_eq!(fault.what, "`batch` 6 is not a multiple of `micro_batch` 4 x 1 rank");
        assert_eq!(fault.place, "`prior.train.batch`");
    }
}
