//! The sampler of a run: its conditions, and the draws of the passes that are left.

use super::workspace::Sampling;
use crate::model::{Cond, Denoiser};
use crate::networks::Networks;
use crate::sample::{PictureSeeds, Region, Sampler};

/// The sampler of a run, with the draws of the passes that are left.
pub(super) struct Runner<'a> {
    model: Box<dyn Denoiser + 'a>,
    run: &'a Sampling,
    cond: Cond,
    null: Cond,
    chance: PictureSeeds,
}

impl<'a> Runner<'a> {
    pub(super) fn new(nets: &'a Networks, run: &'a Sampling) -> Self {
        let (cond, null) = conditions(nets, run);
        let chance = PictureSeeds::new(&run.seeds(), run.path.len() - 1, run.greedy);
        Self { model: nets.sampling_denoiser(), run, cond, null, chance }
    }

    pub(super) fn sampler(&self) -> Sampler<'_> {
        Sampler {
            model: &*self.model,
            cond: &self.cond,
            null: &self.null,
            noise: &self.run.noise,
            chance: &self.chance,
            region: self
                .run
                .canvas
                .as_ref()
                .map(|canvas| Region { mask: &canvas.mask, original: &canvas.original }),
        }
    }
}

/// The conditions of every picture of the run, and the conditions for guidance to lead away from.
fn conditions(nets: &Networks, run: &Sampling) -> (Cond, Cond) {
    let b = run.noise.size()[0];
    let texts = |text: &str| vec![text.to_string(); b as usize];
    let null = if run.negative.is_empty() {
        nets.null(b as usize)
    } else {
        nets.encode_text(&texts(&run.negative))
    };
    if let Some(mix) = &run.mix {
        return (mix.condition(nets, b), null);
    }
    match &run.to {
        None => (nets.condition(&texts(&run.text)), null),
        Some(to) => (nets.condition(&[run.text.clone(), to.clone()]).between(b), null),
    }
}
