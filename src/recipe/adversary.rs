//! Settings of the tokenizer's adversary.

use crate::optim::{Decay, MOST_STEPS, OptimConfig};
use crate::tokens::discriminator::DiscriminatorConfig;
use ron_faults::{Checks, Fault};
use serde::{Deserialize, Serialize};

/// How the discriminator learns beside the tokenizer, and how much it counts. The network and its place in the loss are the
/// reference's and the VQGAN paper's; rates and the start are this project's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdversaryConfig {
    pub model: DiscriminatorConfig,
    pub optim: OptimConfig,
    /// Updates of the tokenizer before both meet. Earlier than `quantize_after` it would judge what codes make worse again.
    pub start: u64,
    /// Length of its gradient at the decoder's last weight, as a multiple of the reconstruction's.
    pub weight: f64,
}

impl Default for AdversaryConfig {
    fn default() -> Self {
        let optim =
            OptimConfig { lr: 1e-4, warmup: 0, decay: Decay::Constant, ..OptimConfig::default() };
        Self {
            model: DiscriminatorConfig::default(),
            optim: OptimConfig { betas: (0.5, 0.9), weight_decay: 0.0, ..optim },
            start: 10_000,
            weight: 0.8,
        }
    }
}

impl AdversaryConfig {
    /// Checks the values for pictures of `size` pixels a side. Returns all faults.
    pub fn check(&self, size: i64) -> Vec<Fault> {
        let mut found = Checks::default();
        found.part("model", self.model.check(size));
        found.part("optim", self.optim.check());
        found.count("start", self.start, 0, MOST_STEPS);
        found.number("weight", self.weight, 1e-6, 1e3);
        found.faults()
    }
}
