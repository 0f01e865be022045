//! The sampler of a run: its conditions, and the draws of the passes that are left.

use super::seam::SeamLoss;
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
    /// `cond`, `null`: what [`conditions`] has read.
    pub(super) fn new(nets: &'a Networks, run: &'a Sampling, (cond, null): (Cond, Cond)) -> Self {
        let chance = PictureSeeds::new(run.seeds(), run.path.len() - 1, run.greedy);
        Self { model: nets.sampling_denoiser(), run, cond, null, chance }
    }

    /// What the seam of an edit costs in the first picture, once `run` is at its end under the same conditions.
    pub(super) fn seam(&self, nets: &Networks, run: &Sampling) -> Option<SeamLoss> {
        let (canvas, last) = (run.canvas.as_ref()?, run.path.last()?);
        let ended = run.path.len() > run.schedule.len();
        let seam = || SeamLoss::of(nets, &last.narrow(0, 0, 1), &canvas.mask, &self.cond);
        ended.then(seam).flatten()
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

/// The conditions of every picture of the run, and the conditions for guidance to lead away from. A text is read alone: a
/// picture has the same conditions among others as by itself.
pub(super) fn conditions(nets: &Networks, run: &Sampling) -> (Cond, Cond) {
    let b = run.noise.size()[0];
    let null = nets.encode_text(std::slice::from_ref(&run.negative)).mixed(&[1.0], b);
    let seq = nets.config.model.clip_seq_len;
    let read = |texts: &[String]| match run.with_prior {
        true => nets.condition(texts),
        false => nets.encode_text(texts),
    };
    let cond = match (&run.mix, &run.mix_to, &run.to) {
        (Some(mix), Some(to), _) => {
            Cond::joined(&[mix, to].map(|mix| mix.condition(nets, 1))).between(b)
        }
        (Some(mix), None, _) => mix.condition(nets, b),
        (None, _, Some(to)) => read(&[run.text.clone(), to.clone()]).between(b),
        (None, _, None) if run.each.is_empty() => {
            read(std::slice::from_ref(&run.text)).mixed(&[1.0], b)
        }
        _ => Cond::joined(
            &run.each.iter().map(|text| read(std::slice::from_ref(text))).collect::<Vec<_>>(),
        ),
    };
    match &run.weights {
        Some(weights) => (weights.weigh(cond, seq), null),
        None => (cond, null),
    }
}
