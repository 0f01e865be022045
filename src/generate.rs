//! Generates whole batches of pictures from conditions, for scores and previews.

use crate::model::Cond;
use crate::networks::Networks;
use crate::noise::random_tokens;
use crate::sample::{Pass, SampleConfig, Sampler, chance};
use tch::Tensor;

/// Samples tokens (B, h, w) i64 for `cond`, with guidance away from `null`. Seed libtorch first: noise and draws follow
/// from its generator.
pub fn generate(nets: &Networks, cond: &Cond, null: &Cond, sample: &SampleConfig) -> Tensor {
    generate_with(nets, cond, null, sample, |noise, passes| {
        passes.last().map_or(noise, |pass| pass.after)
    })
}

/// As [`generate`], but `take` receives the initial noise and the passes, and decides how far to go.
pub fn generate_with<T>(
    nets: &Networks,
    cond: &Cond,
    null: &Cond,
    sample: &SampleConfig,
    take: impl FnOnce(Tensor, &mut dyn Iterator<Item = Pass>) -> T,
) -> T {
    let size = [cond.byt5.size()[0], nets.grid(), nets.grid()];
    let noise = random_tokens(&size, nets.config.model.num_labels, nets.device); // (B, h, w)
    let model = nets.sampling_denoiser();
    let sampler = Sampler {
        model: &*model,
        cond,
        null,
        noise: &noise,
        chance: chance(sample.greedy),
        region: None,
    };
    let schedule = sample.schedule();
    let mut passes = sampler.passes(&noise, &schedule);
    take(noise.shallow_clone(), &mut passes)
}
