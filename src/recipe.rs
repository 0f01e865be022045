//! The recipes: every number of training and scoring that is not a network's size.

use crate::checkpoint::SaveConfig;
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
    /// Factor of the mean squared error against the codebook and commitment terms.
    pub reconstruction: f64,
    /// The first so many updates go without a codebook; then its codes start at means of the latents.
    pub quantize_after: u64,
    /// Every so many updates, codes that were not used since become latents of the batch; 0: never.
    pub revive_every: u64,
    /// Which latents.
    pub revive: Revive,
    /// Start of the gains that let a residual block's two branches in; the published model starts at 0.
    pub gain: f64,
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
        }
    }
}

impl TokenizerTrainConfig {
    /// Everything that is wrong though well formed.
    pub fn check(&self) -> Vec<Fault> {
        let mut found = Checks::default();
        found.count("batch", self.batch as u64, 2, 1 << 20);
        found.count("steps", self.steps, 1, MOST_STEPS);
        found.count("quantize_after", self.quantize_after, 0, MOST_STEPS);
        found.number("reconstruction", self.reconstruction, 1e-9, 1e9);
        found.number("gain", self.gain, -10.0, 10.0);
        found.part("optim", self.optim.check());
        found.faults()
    }

    /// Pictures of each of `ranks` processes.
    ///
    /// Errors: it does not come out even; the hint names numbers that do.
    pub fn share(&self, ranks: usize) -> Result<usize, Fault> {
        let (batch, ranks) = (self.batch, ranks.max(1));
        if batch >= ranks && batch.is_multiple_of(ranks) {
            return Ok(batch / ranks);
        }
        let fits = match batch / ranks * ranks {
            0 => format!("{ranks}"),
            below => format!("{below} or {}", below + ranks),
        };
        let what = format!("`batch` {batch} is not a multiple of {ranks} ranks");
        Err(Fault::new(what, "`tokenizer.train.batch`", format!("`batch` {fits}")))
    }
}

/// How the prior is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PriorTrainConfig {
    pub steps: u64,
    /// Pictures per update over all processes.
    pub batch: usize,
    /// Pictures that one process holds in memory at once; None: its whole share. Smaller ones are accumulated.
    pub micro_batch: Option<usize>,
    pub optim: OptimConfig,
    /// Decay of the moving average of the weights.
    pub ema_decay: f64,
    /// Share of the captions whose vector is replaced by zeros, which guidance needs.
    pub cond_drop: f64,
}

impl Default for PriorTrainConfig {
    fn default() -> Self {
        Self {
            steps: 300_000,
            batch: 2048,
            micro_batch: None,
            optim: OptimConfig::default(),
            ema_decay: 0.999,
            cond_drop: 0.05,
        }
    }
}

impl PriorTrainConfig {
    /// Everything that is wrong though well formed.
    pub fn check(&self) -> Vec<Fault> {
        let mut found = Checks::default();
        found.count("steps", self.steps, 1, MOST_STEPS);
        found.count("batch", self.batch as u64, 1, 1 << 24);
        if let Err(fault) = self.split(1) {
            found.unless(false, "micro_batch", fault.what, &fault.hint);
        }
        found.share("cond_drop", self.cond_drop);
        found.share("ema_decay", self.ema_decay);
        found.part("optim", self.optim.check());
        found.faults()
    }

    /// The share of each of `ranks` processes.
    ///
    /// Errors: it does not come out even; the hint names numbers that do.
    pub fn split(&self, ranks: usize) -> Result<Split, Fault> {
        split("prior.train.", "batch", (self.batch, self.micro_batch), ranks)
    }
}

/// How noise ratios are drawn in training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum NoiseRatio {
    /// Every ratio equally often, as the reference does.
    Uniform,
    /// The largest of so many uniform draws: 2 prefers high noise, where the text matters.
    Power(f64),
}

/// Which captions are left out together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DropBy {
    /// Each by itself.
    Caption,
    /// All of a global batch or none, as the reference does.
    Batch,
}

/// How the denoiser (and the text encoder, unless frozen) is trained. The default is the reference's recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    pub steps: u64,
    /// Pictures per update over all processes; the share of one is derived, never written.
    pub global_batch: usize,
    /// Pictures that one process holds in memory at once; None: its whole share. Smaller ones are accumulated.
    pub micro_batch: Option<usize>,
    pub optim: OptimConfig,
    pub precision: Precision,
    pub label_smoothing: f64,
    /// Loss weight of a clean token in a clean picture.
    pub min_val: f64,
    /// Share of the captions replaced by the empty one, which guidance needs.
    pub cond_drop: f64,
    pub drop_by: DropBy,
    /// Share of the batches that are given their captions' CLIP vectors; the others get the empty text's.
    pub clip_text: f64,
    /// Share of the batches that are given their pictures' CLIP vectors; the others get none.
    pub clip_image: f64,
    pub noise_ratio: NoiseRatio,
    /// Train the text encoder along; at full size it is loaded and stays frozen.
    pub train_text: bool,
    /// Decay of the moving average of the weights.
    pub ema_decay: f64,
    /// Updates in a row without a finite loss and gradient that end the run; each one is skipped and counted.
    pub max_bad: u64,
    pub save: SaveConfig,
    pub log: LogConfig,
}

/// Numbers and memory layout of the training passes. The default is plain f32, which is bit-exact on the CPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Precision {
    /// Matrix products and convolutions in bf16, the rest in f32 (autocast); weights and state stay f32.
    pub bf16: bool,
    /// GPU: f32 matrix products may round their inputs to 19 bits.
    pub tf32: bool,
    /// Pictures lie in memory position by position instead of channel by channel.
    pub channels_last: bool,
    /// Levels of the denoiser (0 is the finest) that keep no activations and compute them again for the gradient.
    pub recompute: Vec<usize>,
}

/// What a run writes down besides its JSON lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Updates between two grids of pictures: originals, noised, guessed, sampled; 0: none.
    pub samples_every: u64,
    /// Pictures in a grid.
    pub samples: usize,
    /// Also write TensorBoard's event files, into `tensorboard/` beside the JSON lines.
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

/// How a global batch is shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Rows of one rank.
    pub rows: usize,
    /// Rows of one pass.
    pub micro: usize,
    /// Passes of a rank for one update.
    pub passes: usize,
}

impl TrainConfig {
    /// Everything that is wrong though well formed, for a denoiser of so many `levels`.
    pub fn check(&self, levels: usize) -> Vec<Fault> {
        let mut found = Checks::default();
        found.count("steps", self.steps, 1, MOST_STEPS);
        found.count("global_batch", self.global_batch as u64, 1, 1 << 24);
        if let Err(fault) = self.split(1) {
            found.unless(false, "micro_batch", fault.what, &fault.hint);
        }
        found.part("save", self.save.check());
        found.count("log.samples", self.log.samples as u64, 1, 64);
        found.count("max_bad", self.max_bad, 1, i64::MAX);
        for level in self.precision.recompute.iter().filter(|level| **level >= levels) {
            let what = format!("there is no level {level}");
            found.unless(false, "precision.recompute", what, "levels count from 0, the finest");
        }
        found.share("label_smoothing", self.label_smoothing);
        found.share("min_val", self.min_val);
        found.share("cond_drop", self.cond_drop);
        found.share("clip_text", self.clip_text);
        found.share("clip_image", self.clip_image);
        found.share("ema_decay", self.ema_decay);
        if let NoiseRatio::Power(p) = self.noise_ratio {
            found.number("noise_ratio", p, 0.01, 100.0);
        }
        found.part("optim", self.optim.check());
        found.faults()
    }

    /// The numbers of the objective.
    pub fn loss(&self) -> LossConfig {
        LossConfig { label_smoothing: self.label_smoothing, min_val: self.min_val }
    }

    /// The share of each of `ranks` processes.
    ///
    /// Errors: it does not come out even; the hint names numbers that do.
    pub fn split(&self, ranks: usize) -> Result<Split, Fault> {
        split("train.", "global_batch", (self.global_batch, self.micro_batch), ranks)
    }
}

/// A batch, in the field `name` below `path`, over `ranks` processes.
fn split(
    path: &str,
    name: &str,
    (batch, micro_batch): (usize, Option<usize>),
    ranks: usize,
) -> Result<Split, Fault> {
    let (batch, ranks) = (batch.max(1), ranks.max(1));
    let micro = micro_batch.unwrap_or(batch / ranks).max(1);
    let unit = micro * ranks;
    if micro_batch != Some(0) && batch.is_multiple_of(unit) {
        let rows = batch / ranks;
        return Ok(Split { rows, micro, passes: rows / micro });
    }
    let passes = micro_batch.map(|micro| format!("`micro_batch` {micro} x ")).unwrap_or_default();
    let what = format!("`{name}` {batch} is not a multiple of {passes}{ranks} ranks");
    let whole = |n: usize| (n > 0).then(|| (n * unit).to_string());
    let batches = [whole(batch / unit), whole(batch / unit + 1)];
    let batches = batches.into_iter().flatten().collect::<Vec<_>>().join(" or ");
    let divides = |n: &usize| batch.is_multiple_of(n * ranks);
    let smaller = (1..micro).rev().find(divides).map(|n| format!("; or `micro_batch` {n}"));
    let fewer = (1..ranks).rev().find(|n| batch.is_multiple_of(n * micro));
    let fewer = fewer.map(|n| format!("; or {n} ranks"));
    let (smaller, fewer) = (smaller.unwrap_or_default(), fewer.unwrap_or_default());
    Err(Fault::new(what, format!("`{path}{name}`"), format!("`{name}` {batches}{smaller}{fewer}")))
}

/// How a trained model is scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvalConfig {
    /// Captions that get a picture each, from training and from the held-out pairs.
    pub captions: usize,
    /// Pictures per pass.
    pub batch: usize,
    /// Side of the averaged picture that nearest neighbours are searched with, in pixels.
    pub feature_size: i64,
    pub seed: u64,
    /// Name generated pictures with a small classifier trained on the real ones (for data with few classes).
    pub classifier: bool,
}

impl EvalConfig {
    /// Everything that is wrong though well formed, for pictures of `size` pixels a side.
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
        assert_eq!(fault.what, "`batch` 6 is not a multiple of `micro_batch` 4 x 1 ranks");
        assert_eq!(fault.place, "`prior.train.batch`");
    }
}
