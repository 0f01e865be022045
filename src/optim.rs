//! The optimiser: AdamW with its state in plain tensors, a learning rate warm-up, and a moving average of the weights.

use crate::error::Result;
use crate::torch::{self, AdamWStep};
use crate::weights::Named;
use ron_faults::{Checks, Fault};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor, nn};

/// Maximum number of updates that a config may set.
pub const MOST_STEPS: i64 = 1 << 40;

/// The learning rate after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Decay {
    /// Constant at the peak.
    Constant,
    /// Falls along half a cosine to this fraction of the peak at the last step.
    Cosine(f64),
}

/// AdamW and its learning rate. Default, as in the reference: 1e-4 after a warm-up of 10,000 updates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimConfig {
    /// Peak learning rate.
    pub lr: f64,
    /// Updates of linear warm-up. The first update has rate 0.
    pub warmup: u64,
    pub decay: Decay,
    pub betas: (f64, f64),
    pub eps: f64,
    pub weight_decay: f64,
    /// Maximum total 2-norm of the gradients; larger gradients are scaled down. 0: no clipping.
    pub max_norm: f64,
}

impl Default for OptimConfig {
    fn default() -> Self {
        Self {
            lr: 1e-4,
            warmup: 10_000,
            decay: Decay::Constant,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.01,
            max_norm: 1.0,
        }
    }
}

impl OptimConfig {
    /// Learning rate of update `step` (from 0) out of `steps`.
    pub fn lr_at(&self, step: u64, steps: u64) -> f64 {
        // AdamW's first averages rest on few gradients: full steps would follow their noise
        if step < self.warmup {
            return self.lr * step as f64 / self.warmup as f64;
        }
        match self.decay {
            Decay::Constant => self.lr,
            Decay::Cosine(floor) => {
                let done =
                    (step - self.warmup) as f64 / steps.saturating_sub(self.warmup).max(1) as f64;
                let cosine = 0.5 + 0.5 * (std::f64::consts::PI * done.min(1.0)).cos();
                self.lr * (floor + (1.0 - floor) * cosine)
            }
        }
    }
}

impl OptimConfig {
    /// Checks the values. Returns all faults.
    pub fn check(&self) -> Vec<Fault> {
        let mut found = Checks::default();
        // beyond these bounds nothing is learned: a step changes no weight, or leaves none as it was
        found.number("lr", self.lr, 1e-12, 1e3);
        found.number("eps", self.eps, 1e-30, 1.0);
        found.count("warmup", self.warmup, 0, MOST_STEPS);
        for beta in [self.betas.0, self.betas.1] {
            let what = format!("{beta} keeps no average");
            found.unless((0.0..1.0).contains(&beta), "betas", what, "0 to below 1");
        }
        found.share("weight_decay", self.weight_decay);
        let fine = self.max_norm == 0.0 || (1e-12..=1e9).contains(&self.max_norm);
        found.unless(fine, "max_norm", format!("{:?}", self.max_norm), "0 (off), or 1e-12 to 1e9");
        if let Decay::Cosine(floor) = self.decay {
            found.share("decay", floor);
        }
        found.faults()
    }
}

/// AdamW over the trained variables of some networks, in the order of their names.
pub struct AdamW {
    config: OptimConfig,
    names: Vec<String>,
    params: Vec<Tensor>,
    exp_avgs: Vec<Tensor>,
    exp_avg_sqs: Vec<Tensor>,
    steps: Vec<Tensor>, // scalars: a parameter without a gradient does not count the update
}

impl AdamW {
    /// `networks`: (name prefix, variables) of each network.
    pub fn new(networks: &[(&str, &nn::VarStore)], config: &OptimConfig) -> Self {
        let (names, params): (Vec<_>, Vec<_>) = trained(networks).into_iter().unzip();
        let zeros = |xs: &Tensor| xs.zeros_like().set_requires_grad(false);
        Self {
            exp_avgs: params.iter().map(zeros).collect(),
            exp_avg_sqs: params.iter().map(zeros).collect(),
            steps: params
                .iter()
                .map(|xs| Tensor::zeros([0i64; 0], (Kind::Float, xs.device())))
                .collect(),
            config: config.clone(),
            names,
            params,
        }
    }

    /// Clips the gradients, updates with rate `lr`, and clears the gradients. Returns the norm before clipping.
    ///
    /// If the norm is not finite, weights and state do not change.
    pub fn update(&mut self, lr: f64) -> Result<f64> {
        let norm = torch::grad_norm(&self.params)?;
        if norm.is_finite() {
            let OptimConfig { betas, eps, weight_decay, max_norm, .. } = self.config;
            // clipped on their way into the update: a pass of their own over all gradients would take as long as the norm
            let factor = if max_norm > 0.0 { (max_norm / (norm + 1e-6)).min(1.0) } else { 1.0 };
            let at = AdamWStep { lr, betas, eps, weight_decay, factor };
            // weights without a gradient (a condition that was dropped) stay, and their step does not count
            torch::fused_adamw(&self.params, &self.exp_avgs, &self.exp_avg_sqs, &self.steps, at)?;
        }
        // also when nothing moved: the next backward pass adds to what is left here
        torch::reset_grads(&self.params)?;
        Ok(norm)
    }

    /// The trained variables by prefixed name, in a fixed order.
    pub fn params(&self) -> Vec<(String, Tensor)> {
        self.names.iter().cloned().zip(self.params.iter().map(Tensor::shallow_clone)).collect()
    }

    /// The state by name, for a checkpoint: copies on the CPU.
    pub fn state(&self) -> Named {
        self.slots().map(|(name, xs)| (name, torch::copied(&xs))).collect()
    }

    /// Restores the state of a checkpoint, with the names that `state` uses.
    pub fn restore(&mut self, state: &Named, place: &str) -> Result<()> {
        for (name, mut xs) in self.slots() {
            let missing = || {
                crate::Error::checkpoint(
                    format!("`{name}` is missing"),
                    place,
                    "resume with the config of this run",
                )
            };
            xs.f_copy_(
                state.get(&name).filter(|saved| saved.size() == xs.size()).ok_or_else(missing)?,
            )?;
        }
        Ok(())
    }

    fn slots(&self) -> impl Iterator<Item = (String, Tensor)> {
        let kinds =
            [("exp_avg", &self.exp_avgs), ("exp_avg_sq", &self.exp_avg_sqs), ("step", &self.steps)];
        kinds.into_iter().flat_map(|(kind, tensors)| {
            self.names
                .iter()
                .zip(tensors)
                .map(move |(name, xs)| (format!("{kind}.{name}"), xs.shallow_clone()))
        })
    }
}

/// A moving average of the weights. It samples better than the weights themselves.
pub struct Ema {
    decay: f64,
    names: Vec<String>,
    params: Vec<Tensor>,
    averages: Vec<Tensor>,
}

impl Ema {
    /// Starts the averages at the current weights.
    pub fn new(networks: &[(&str, &nn::VarStore)], decay: f64) -> Self {
        let (names, params): (Vec<_>, Vec<_>) = trained(networks).into_iter().unzip();
        Self {
            averages: params.iter().map(|xs| xs.detach().copy()).collect(),
            decay,
            names,
            params,
        }
    }

    /// Moves the averages towards the weights. Early updates move them further, so that the initial weights lose
    /// influence quickly.
    pub fn update(&mut self, step: u64) -> Result<()> {
        let decay = self.decay.min((1.0 + step as f64) / (10.0 + step as f64)); // 0.1 at step 0, 0.91 at step 90, never above `decay`
        let values: Vec<Tensor> = self.params.iter().map(Tensor::detach).collect();
        torch::lerp(&self.averages, &values, 1.0 - decay)
    }

    /// Swaps averages and weights. A second call restores them.
    pub fn swap(&mut self) {
        tch::no_grad(|| {
            // by value: the optimiser, checkpoints and recorded passes hold on to the tensors themselves
            for (param, average) in self.params.iter_mut().zip(&mut self.averages) {
                let weights = param.copy();
                param.copy_(average);
                average.copy_(&weights);
            }
        });
    }

    /// The averages by name, for a checkpoint: copies on the CPU.
    pub fn state(&self) -> Named {
        self.names.iter().cloned().zip(self.averages.iter().map(torch::copied)).collect()
    }

    /// Restores the averages of a checkpoint, with the names that `state` uses.
    pub fn restore(&mut self, state: &Named, place: &str) -> Result<()> {
        for (name, average) in self.names.iter().zip(&mut self.averages) {
            let missing = || {
                crate::Error::checkpoint(
                    format!("`{name}` is missing"),
                    place,
                    "resume with the config of this run",
                )
            };
            let saved = state.get(name).filter(|saved| saved.size() == average.size());
            average.f_copy_(saved.ok_or_else(missing)?)?;
        }
        Ok(())
    }
}

/// Trained variables by prefixed name, sorted, so that the order is fixed.
fn trained(networks: &[(&str, &nn::VarStore)]) -> Vec<(String, Tensor)> {
    let mut all: Vec<(String, Tensor)> = networks
        .iter()
        .flat_map(|(prefix, vars)| {
            vars.variables().into_iter().map(move |(name, xs)| (format!("{prefix}.{name}"), xs))
        })
        .filter(|(_, xs)| xs.requires_grad())
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    let mut seen = std::collections::HashSet::new();
    all.retain(|(_, xs)| seen.insert(xs.data_ptr() as usize)); // a tensor may have two names
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_starts_at_zero_and_cosine_ends_at_its_floor() {
        let config =
            OptimConfig { lr: 2.0, warmup: 4, decay: Decay::Cosine(0.1), ..OptimConfig::default() };
        assert_eq!(
            (config.lr_at(0, 10), config.lr_at(2, 10), config.lr_at(4, 10)),
            (0.0, 1.0, 2.0)
        );
        assert!((config.lr_at(10, 10) - 0.2).abs() < 1e-12);
    }

    /// Weights and state after some updates in this kind of number, clipped and not.
    fn updated(kind: Kind, max_norm: f64) -> Vec<Tensor> {
        let config = OptimConfig { max_norm, ..OptimConfig::default() };
        let vars = nn::VarStore::new(tch::Device::Cpu);
        for (i, size) in [vec![3i64, 5], vec![40_000], vec![], vec![2, 3, 3, 3]].iter().enumerate()
        {
            let mut xs = vars.root().zeros(&format!("w{i}"), size);
            let values =
                Tensor::linspace(-2.0, 2.0, xs.numel() as i64, (Kind::Float, tch::Device::Cpu));
            xs.set_data(&values.view(&size[..]).to_kind(kind));
        }
        let mut adamw = AdamW::new(&[("", &vars)], &config);
        for step in 0..3 {
            for (i, (name, xs)) in adamw.params().iter().enumerate() {
                // the last one has no gradient once
                if (step, i) != (1, 3) {
                    ((xs * (1.0 + i as f64)).sin().sum(kind) * 2.0).backward();
                    assert!(xs.grad().defined(), "{name}");
                }
            }
            assert!(adamw.update(0.01).expect("an update") > 1.0);
        }
        let state = adamw.state().into_values();
        adamw.params().into_iter().map(|(_, xs)| xs.detach()).chain(state).collect()
    }

    #[test]
    fn the_update_of_f32_on_the_cpu_is_that_of_libtorch() {
        for max_norm in [0.0, 1.0] {
            // libtorch updates f64
            let pairs =
                updated(Kind::Float, max_norm).into_iter().zip(updated(Kind::Double, max_norm));
            for (a, b) in pairs {
                let apart = (a.to_kind(Kind::Double) - &b).abs().max().double_value(&[]);
                assert!(apart < 3e-6, "{apart}, {:?}", b.size());
            }
        }
    }
}
