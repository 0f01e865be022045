//! What one step of training measured.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One row of a training log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// What is trained: `tokenizer`, `prior` or `denoiser`.
    pub phase: String,
    /// Updates done so far.
    pub step: u64,
    /// Updates in all.
    pub steps: u64,
    /// The loss of this step: nats per token, for the tokenizer squared error and codebook terms, for the
    /// prior weighted squared error.
    pub loss: f64,
    /// Denoiser: share of tokens guessed right. Tokenizer: share of the codes in use. Prior: 0.
    pub accuracy: f64,
    /// Total 2-norm of the gradients before clipping.
    pub grad_norm: f64,
    pub lr: f64,
    pub images_per_s: f64,
    /// Seconds of training so far, over all resumed parts.
    pub seconds: f64,
    /// Seconds of this step.
    #[serde(default)]
    pub took: f64,
    /// Seconds of this step that were spent waiting for data.
    #[serde(default)]
    pub wait: f64,
    /// Updates left out since the start because loss or gradient was not finite.
    #[serde(default)]
    pub skipped: u64,
    /// Samples and shards that the stream left out since the start of the phase, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped_samples: BTreeMap<String, u64>,
    /// Denoiser: accuracy by noise ratio, in fifths of 0..=1; none where no picture had such a ratio.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accuracy_by_t: Vec<Option<f64>>,
    /// Most bytes in use: tensors on a GPU, the process on the CPU.
    #[serde(default)]
    pub memory: Option<u64>,
    /// Share of the peak of all cards that went into useful operations; none where the kind of card is not known.
    #[serde(default)]
    pub mfu: Option<f64>,
}
