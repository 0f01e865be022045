//! Peak bytes on one card, which is at the start of the backward pass.

use super::Gpu;
use super::work::Work;
use crate::checkpoint::Phase;

/// Bytes on one card, by use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryNeed {
    /// Weights of trained networks, f32.
    pub weights: i64,
    pub gradients: i64,
    /// AdamW's two moments.
    pub moments: i64,
    /// The moving average of the weights.
    pub average: i64,
    /// Weights of frozen networks, f32 or bf16.
    pub encoders: i64,
    /// Trained weights once more in bf16, under autocast.
    pub copies: i64,
    /// Activations kept from the forward pass, for one micro batch.
    pub activations: i64,
    /// Temporary tensors: the loss's gradients, or a frozen network at its peak with its bf16 copies.
    pub passing: i64,
}

/// Bytes for CUDA's context, library workspaces and NCCL buffers.
const RESERVE: i64 = 2 << 30;
/// Fraction of the memory lost to fragmentation.
const LOST: f64 = 0.04;

impl MemoryNeed {
    /// Memory for micro batches of this size.
    pub fn new(work: &Work, micro: i64) -> Self {
        let (trained, frozen, full) = (work.trained(), work.frozen(), work.frozen_full());
        let bf16 = work.precision.bf16;
        let averaged = work.phase != Phase::Tokenizer;
        let copy = if bf16 { 2 } else { 0 };
        Self {
            weights: 4 * trained,
            gradients: 4 * trained,
            moments: 8 * trained,
            average: if averaged { 4 * trained } else { 0 },
            encoders: 4 * full + 2 * (frozen - full),
            copies: copy * trained,
            activations: work.kept * micro,
            passing: (work.loss * micro).max(copy * full).max(work.widest * micro),
        }
    }

    /// Peak bytes.
    pub fn total(&self) -> i64 {
        self.fixed() + self.activations + self.passing
    }

    /// Bytes that do not depend on the micro batch.
    pub fn fixed(&self) -> i64 {
        self.weights + self.gradients + self.moments + self.average + self.encoders + self.copies
    }

    /// Whether the peak fits into a card's usable memory.
    pub fn fits(&self, gpu: &Gpu) -> bool {
        self.total() <= usable(gpu)
    }
}

/// Bytes of a card that are available for tensors.
pub fn usable(gpu: &Gpu) -> i64 {
    (gpu.memory as f64 * (1.0 - LOST)) as i64 - RESERVE
}
