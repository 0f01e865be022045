//! The recipes: every number of training and scoring that is not a network's size.

use crate::optim::{Decay, OptimConfig};
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
            gain: 0.3,
        }
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

/// How the denoiser (and the text encoder, unless frozen) is trained. The default is the reference's recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    pub steps: u64,
    /// Pictures per update.
    pub global_batch: usize,
    pub optim: OptimConfig,
    pub label_smoothing: f64,
    /// Loss weight of a clean token in a clean picture.
    pub min_val: f64,
    /// Share of the captions replaced by the empty one, which guidance needs.
    pub cond_drop: f64,
    pub noise_ratio: NoiseRatio,
    /// Train the text encoder along; at full size it is loaded and stays frozen.
    pub train_text: bool,
    /// Decay of the moving average of the weights.
    pub ema_decay: f64,
    /// Updates between two checkpoints.
    pub save_every: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 1_300_000,
            global_batch: 2048,
            optim: OptimConfig::default(),
            label_smoothing: 0.1,
            min_val: 0.3,
            cond_drop: 0.05,
            noise_ratio: NoiseRatio::Uniform,
            train_text: true,
            ema_decay: 0.999,
            save_every: 1_000,
        }
    }
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

impl Default for EvalConfig {
    fn default() -> Self {
        Self { captions: 200, batch: 50, feature_size: 16, seed: 1, classifier: false }
    }
}
