//! The tokenizer's adversary: a discriminator that learns beside it, and what the tokenizer pays for being found out.
//!
//! Letters: B pictures of S x S pixels.

use super::shell::State;
use crate::device::seed_step;
use crate::dist::{Reducer, World};
use crate::error::{Error, Result};
use crate::model::init::VarBuilder;
use crate::optim::AdamW;
use crate::recipe::AdversaryConfig;
use crate::tokens::discriminator::{Discriminator, Judging, mistakes, price};
use crate::torch;
use crate::weights::{self, Named};
use tch::{Device, Kind, Tensor, nn};

/// Separates its draws from the tokenizer's.
const STREAM: u64 = 0xadce;
/// Before its names in a checkpoint.
const PREFIX: &str = "adversary";

/// What one update of the adversary did.
#[derive(Clone, Copy, Debug)]
pub struct Learned {
    /// What it paid before, averaged over all ranks: 0.69 tells nothing apart, 0 everything.
    pub loss: f64,
    pub grad_norm: f64,
}

/// The discriminator with its optimiser.
pub struct Adversary {
    config: AdversaryConfig,
    /// Updates of the tokenizer in all.
    steps: u64,
    model: Discriminator,
    vars: nn::VarStore,
    optimizer: AdamW,
    reducer: Reducer,
    world: World,
}

impl Adversary {
    /// A fresh adversary for a training of `steps` updates; all ranks of `world` make one at the same time.
    ///
    /// Errors: a failed exchange.
    pub fn new(
        config: &AdversaryConfig,
        (seed, steps): (u64, u64),
        device: Device,
        world: &World,
    ) -> Result<Self> {
        seed_step(seed ^ STREAM, 0);
        let vars = nn::VarStore::new(device);
        let model = Discriminator::new(&VarBuilder::root(&vars), &config.model);
        let optimizer = AdamW::new(&[(PREFIX, &vars)], &config.optim);
        let reducer = Reducer::new(world, &optimizer.params())?;
        let side = 1 << config.model.depth;
        let nothing = Tensor::zeros([1, 3, side, side], (Kind::Float, device));
        // the singular vectors come one step nearer, as in PyTorch before each judgement of a training
        let _ = tch::no_grad(|| model.logits(&nothing, Judging::ToLearn));
        // the reducer shares what is trained, and the singular vectors are not; by name, in one order on all ranks
        let (config, world) = (config.clone(), world.clone());
        let own = Self { config, steps, model, vars, optimizer, reducer, world };
        own.world.broadcast(&own.weights())?;
        Ok(own)
    }

    /// Whether the tokenizer is judged at this step.
    pub fn judges(&self, step: u64) -> bool {
        step >= self.config.start
    }

    /// What the reconstructions (b, 3, S, S) pay: a scalar whose gradient at the decoder's last weight is `weight` times
    /// as long as that of `reconstruction`, the scalar that they pay already.
    ///
    /// Formula: weight |d reconstruction / d last| / (|d price / d last| + 1e-4) price, the factor at most 1e4.
    /// Source:  arXiv 2012.09841, equation 7.
    /// Differs: 1e-4 and 1e4 are those of the paper's code; the price is -log D, as in the paper's text.
    pub fn judge(
        &self,
        reconstructed: &Tensor,
        reconstruction: &Tensor,
        last: &Tensor,
    ) -> Result<Tensor> {
        let price = price(&self.model.logits(reconstructed, Judging::ToTeach));
        let length = |of: &Tensor| -> Result<Tensor> {
            // the graph is walked again by the step's own backward pass
            let mut found = Tensor::f_run_backward(&[of], &[last], true, false)?;
            Ok(found.remove(0).norm())
        };
        let mut factor = (length(reconstruction)? / (length(&price)? + 1e-4)).clamp(0.0, 1e4);
        self.world.mean(&mut factor)?; // each rank has seen its own rows
        Ok(price * factor.detach() * self.config.weight)
    }

    /// One update on pictures and their reconstructions (b, 3, S, S).
    pub fn learn(
        &mut self,
        step: u64,
        pictures: &Tensor,
        reconstructed: &Tensor,
    ) -> Result<Learned> {
        self.reducer.forward(true)?;
        let of = |images: &Tensor| self.model.logits(&images.detach(), Judging::ToLearn);
        let loss = mistakes(&of(pictures), &of(reconstructed)); // scalar
        self.reducer.backward(&loss, true)?;
        let start = self.config.start;
        let lr = self.config.optim.lr_at(step - start, self.steps.saturating_sub(start));
        let grad_norm = self.optimizer.update(lr)?;
        let mut loss = loss.detach().to_kind(Kind::Float);
        self.world.mean(&mut loss)?;
        Ok(Learned { loss: loss.double_value(&[]), grad_norm })
    }

    /// Its weights and singular vectors.
    pub fn weights(&self) -> Vec<Tensor> {
        weights::named(&self.vars, false).into_values().collect()
    }

    /// Adds weights and optimiser state to those of the tokenizer's optimiser.
    pub fn add_to(&self, state: &mut State) {
        for (_, tensors) in state {
            tensors.extend(self.optimizer.state());
            let weights = weights::named(&self.vars, false).into_iter();
            tensors
                .extend(weights.map(|(name, xs)| (format!("{PREFIX}.{name}"), torch::copied(&xs))));
        }
    }

    /// Goes on from a checkpoint's optimiser state. One without an adversary leaves it fresh: it was asked for since.
    ///
    /// Errors: an adversary of other sizes.
    pub fn restore(&mut self, saved: &Named, place: &str) -> Result<()> {
        let own = |name: &str| saved.get(&format!("{PREFIX}.{name}"));
        let names = weights::named(&self.vars, false);
        if names.keys().all(|name| own(name).is_none()) {
            return Ok(());
        }
        let _no_grad = tch::no_grad_guard();
        for (name, mut xs) in names {
            let fits = own(&name).filter(|saved| saved.size() == xs.size());
            let fits = fits.ok_or_else(|| {
                let hint = "resume with the config of this run";
                Error::checkpoint(format!("the adversary's `{name}` does not fit"), place, hint)
            })?;
            xs.f_copy_(fits)?;
        }
        self.optimizer.restore(saved, place)
    }
}
