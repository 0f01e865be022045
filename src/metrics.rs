//! Measurements of one training step.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One row of a training log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The network trained: `tokenizer`, `clip`, `prior` or `denoiser`.
    pub phase: String,
    /// Updates done so far.
    pub step: u64,
    /// Total number of updates.
    pub steps: u64,
    /// The loss of this step. Denoiser: nats per token. Tokenizer: squared error and codebook terms. CLIP: nats per
    /// picture and text. Prior: weighted squared error.
    pub loss: f64,
    /// Denoiser: fraction of tokens predicted right. Tokenizer: fraction of the codes in use. CLIP: fraction of pictures
    /// that are nearest to their own text in the batch. Prior: 0.
    pub accuracy: f64,
    /// Tokenizer: nats that its adversary pays per judgement. ln 2 tells nothing apart, 0 everything. None without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adversary: Option<f64>,
    /// Total 2-norm of the gradients before clipping.
    pub grad_norm: f64,
    pub lr: f64,
    pub images_per_s: f64,
    /// Seconds of training so far, over all resumed parts.
    pub seconds: f64,
    /// Seconds of this step.
    #[serde(default)]
    pub took: f64,
    /// Seconds of this step spent waiting for data.
    #[serde(default)]
    pub wait: f64,
    /// Updates skipped since the start because the loss or gradient was not finite.
    #[serde(default)]
    pub skipped: u64,
    /// Samples and shards left out since the start of the phase, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped_samples: BTreeMap<String, u64>,
    /// Denoiser: accuracy by noise ratio, in fifths of 0..=1. None if no picture had such a ratio.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accuracy_by_t: Vec<Option<f64>>,
    /// Peak memory in bytes: of tensors on a GPU, of the process on the CPU.
    #[serde(default)]
    pub memory: Option<u64>,
    /// Model FLOPs utilisation over all cards. None if the kind of card is unknown.
    #[serde(default)]
    pub mfu: Option<f64>,
}
