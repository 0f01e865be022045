//! How well an edited picture holds together: what its tokens cost the model where the old ones and the new ones meet.
//!
//! Letters: h x w tokens, K codes, D deals of the places.

use crate::loss::cross_entropy;
use crate::model::{Cond, Denoiser};
use crate::networks::Networks;
use crate::noise::Noised;
use crate::sample::PictureSeeds;
use std::fmt::{self, Display, Formatter};
use tch::{Kind, Tensor};

/// D: the places are dealt at random, and each pass puts noise on one deal.
const DEALS: i64 = 4;

/// Mean loss of a token in nats, each guessed with noise on itself and on a random quarter of the places.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SeamLoss {
    /// Of kept and sampled tokens that touch each other, also at a corner.
    pub seam: f64,
    /// Of the other kept ones. None if all touch a sampled one.
    pub kept: Option<f64>,
    /// Of the other sampled ones. None if all touch a kept one.
    pub sampled: Option<f64>,
}

impl SeamLoss {
    /// For tokens (1, h, w) of which those under `mask` (1, h, w) were sampled. None if all were, or none. `cond`: the conditions
    /// of the picture. Takes D passes.
    pub fn of(nets: &Networks, tokens: &Tensor, mask: &Tensor, cond: &Cond) -> Option<Self> {
        let sampled = mask.to_device(nets.device);
        let kept = sampled.logical_not();
        let seam = beside(&sampled).logical_and(&beside(&kept)); // (1, h, w)
        if seam.any().int64_value(&[]) == 0 {
            return None;
        }
        let losses = token_losses(nets, &tokens.to_device(nets.device), cond); // (1, h, w)
        let mean = |part: &Tensor| {
            let part = losses.masked_select(part);
            (part.numel() > 0).then(|| part.mean(Kind::Float).double_value(&[]))
        };
        let away = |part: &Tensor| mean(&part.logical_and(&seam.logical_not()));
        Some(Self { seam: mean(&seam)?, kept: away(&kept), sampled: away(&sampled) })
    }
}

impl Display for SeamLoss {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "loss of a token: {:.2} nats at the seam", self.seam)?;
        let parts = [(self.kept, "in what stays"), (self.sampled, "in what is new")];
        parts.iter().try_for_each(|(nats, place)| match nats {
            Some(nats) => write!(f, ", {nats:.2} {place}"),
            None => Ok(()),
        })
    }
}

/// A mask (1, h, w), spread to the places that touch it.
fn beside(mask: &Tensor) -> Tensor {
    let mask = mask.to_kind(Kind::Float).unsqueeze(0); // (1, 1, h, w)
    mask.max_pool2d([3, 3], [1, 1], [1, 1], [1, 1], false).gt(0.5).squeeze_dim(0) // (1, h, w)
}

/// Loss of each token (1, h, w), in nats. The draws are the same every time.
fn token_losses(nets: &Networks, tokens: &Tensor, cond: &Cond) -> Tensor {
    let _no_grad = tch::no_grad_guard();
    let (_, h, w) = tokens.size3().expect("tokens are (1, h, w)");
    let codes = nets.config.model.num_labels;
    let (noise, uniforms) = PictureSeeds::start(&[0], (h, w), codes, nets.device); // (1, h, w)
    let dealt = uniforms.flatten(0, -1).argsort(0, false).remainder(DEALS).view([1, h, w]);
    let (t, cond) = (1.0 / DEALS as f64, cond.mixed(&[1.0], 1));
    let t = Tensor::full([1], t, (Kind::Float, nets.device));
    // one deal after the other: a large model has no memory for a batch of them
    let deal = |deal| {
        let noised = Noised::new(tokens, &noise, dealt.eq(deal), t.shallow_clone());
        let logits = nets.denoiser.logits(&noised.tokens, &noised.t, &cond); // (1, K, h, w)
        cross_entropy(&logits, tokens, 0.0) * noised.mask // (1, h, w)
    };
    (0..DEALS).map(deal).sum()
}
