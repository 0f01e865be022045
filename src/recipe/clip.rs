//! How CLIP is trained.

use super::{MOST_PICTURES, share};
use crate::optim::{Decay, MOST_STEPS, OptimConfig};
use ron_faults::{Checks, Fault};
use serde::{Deserialize, Serialize};

/// How CLIP is trained. The default is the recipe of the CLIP paper (Radford et al. 2021) for ViT-B/32.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClipTrainConfig {
    pub steps: u64,
    /// Pictures per update. Each is compared with the texts of all others of its process, so the batch is not split into
    /// micro batches.
    pub batch: usize,
    pub optim: OptimConfig,
    /// Decay of the moving average of the weights.
    pub ema_decay: f64,
}

impl Default for ClipTrainConfig {
    fn default() -> Self {
        let optim = OptimConfig {
            lr: 5e-4,
            warmup: 2_000,
            decay: Decay::Cosine(0.0),
            betas: (0.9, 0.98),
            eps: 1e-6,
            weight_decay: 0.2,
            max_norm: 0.0,
        };
        Self { steps: 390_625, batch: 32_768, optim, ema_decay: 0.999 }
    }
}

impl ClipTrainConfig {
    /// Checks the values. Returns all faults.
    pub fn check(&self) -> Vec<Fault> {
        let mut found = Checks::default();
        found.count("steps", self.steps, 1, MOST_STEPS);
        // alone, a picture has no wrong text
        found.count("batch", self.batch as u64, 2, MOST_PICTURES as i64);
        found.share("ema_decay", self.ema_decay);
        found.part("optim", self.optim.check());
        found.faults()
    }

    /// Pictures per update on each of `ranks` processes.
    ///
    /// Errors: the batch does not divide evenly; the hint names numbers that do.
    pub fn share(&self, ranks: usize) -> Result<usize, Fault> {
        share("clip.train.", self.batch, ranks)
    }
}
