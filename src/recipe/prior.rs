//! How the prior is trained.

use super::{Split, check_batch, split};
use crate::optim::{MOST_STEPS, OptimConfig};
use ron_faults::{Checks, Fault};
use serde::{Deserialize, Serialize};

/// How the prior is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PriorTrainConfig {
    pub steps: u64,
    /// Pictures per update over all processes.
    pub batch: usize,
    /// Maximum pictures that one process holds in memory at once. None: its whole share. Smaller micro batches are
    /// accumulated.
    pub micro_batch: Option<usize>,
    pub optim: OptimConfig,
    /// Decay of the moving average of the weights.
    pub ema_decay: f64,
    /// Fraction of the captions whose vector is replaced by zeros. Guidance needs this.
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
    /// Checks the values. Returns all faults.
    pub fn check(&self) -> Vec<Fault> {
        let mut found = Checks::default();
        found.count("steps", self.steps, 1, MOST_STEPS);
        check_batch(&mut found, "batch", self.batch, self.split(1));
        found.share("cond_drop", self.cond_drop);
        found.share("ema_decay", self.ema_decay);
        found.part("optim", self.optim.check());
        found.faults()
    }

    /// The share of each of `ranks` processes.
    ///
    /// Errors: the batch does not divide evenly; the hint names numbers that do.
    pub fn split(&self, ranks: usize) -> Result<Split, Fault> {
        split("prior.train.", "batch", (self.batch, self.micro_batch), ranks)
    }
}
