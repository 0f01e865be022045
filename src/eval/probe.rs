//! Evaluates a denoiser at one noise ratio.
//!
//! Letters: B pictures, K codes, h x w tokens.

use crate::loss::{cross_entropy, noised_accuracy};
use crate::model::{Cond, Denoiser};
use crate::noise::corrupt;
use tch::{Kind, Tensor};

/// Cross entropy in nats and accuracy at noise ratio `t`, over the noised tokens of (B, h, w) only.
///
/// Unlike the training objective it has no label smoothing and no weights, so models with different recipes can be
/// compared.
pub fn probe(
    model: &dyn Denoiser,
    tokens: &Tensor,
    cond: &Cond,
    t: f64,
    num_labels: i64,
) -> (f64, f64) {
    let _no_grad = tch::no_grad_guard();
    let ratio = Tensor::full([tokens.size()[0]], t, (Kind::Float, tokens.device())); // (B,)
    let noised = corrupt(tokens, ratio, num_labels);
    let logits = model.logits(&noised.tokens, &noised.t, cond); // (B, K, h, w)
    let hidden = noised.mask.to_kind(Kind::Float); // (B, h, w)
    let loss = cross_entropy(&logits, tokens, 0.0) * &hidden; // (B, h, w)
    let count = hidden.sum(Kind::Float).double_value(&[]).max(1.0);
    let right = noised_accuracy(&logits.argmax(1, false), tokens, &noised.mask);
    (loss.sum(Kind::Float).double_value(&[]) / count, right.unwrap_or(0.0))
}
