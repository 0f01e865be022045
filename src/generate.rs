//! Whole batches of pictures from conditions, for scores and for looking on.

use crate::model::Cond;
use crate::networks::Networks;
use crate::noise::random_tokens;
use crate::plan::SampleConfig;
use crate::sample::{Chance, Greedy, Random, Sampler};
use tch::Tensor;

/// Tokens (B, h, w) i64 for `cond`, led away from `null`. Seed libtorch first: noise and draws follow from that.
pub fn generate(nets: &Networks, cond: &Cond, null: &Cond, sample: &SampleConfig) -> Tensor {
    let chance: &dyn Chance = if sample.greedy { &Greedy } else { &Random };
    let size = [cond.byt5.size()[0], nets.grid(), nets.grid()];
    let noise = random_tokens(&size, nets.config.model.num_labels, nets.device);
    let sampler = Sampler { model: &nets.denoiser, cond, null, noise: &noise, chance };
    sampler.run(&noise, &sample.plan())
}
