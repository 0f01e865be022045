//! The loss: how far the model's scores are from the original tokens.
//!
//! Letters: B pictures, K codes, h rows and w columns of tokens.

use crate::noise::{Noised, loss_weight};
use tch::{Kind, Reduction, Tensor};

/// The two numbers of the objective; a run's config has them under `train`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossConfig {
    /// Share of the target's weight that is spread over all codes, 0..=1.
    pub label_smoothing: f64,
    /// Weight of a clean token in a clean picture, 0..=1; a noised token has weight 1.
    pub min_val: f64,
}

/// What training minimises: the weighted loss of guessing the original tokens under noise.
///
/// Shapes:  logits (B, K, h, w) f32, tokens (B, h, w) i64 -> scalar, in nats.
/// Source:  dome272/Paella src/train.py, the body of its training loop.
pub fn objective(logits: &Tensor, tokens: &Tensor, noised: &Noised, config: LossConfig) -> Tensor {
    let token_loss = cross_entropy(logits, tokens, config.label_smoothing); // (B, h, w)
    let weight = loss_weight(&noised.mask, &noised.t, config.min_val); // (B, h, w)
    weighted_mean(&token_loss, &weight) // scalar
}

/// Label-smoothed cross entropy of each token.
///
/// Formula: (1 - s) (-log p[target]) + s mean over labels of (-log p).
/// Shapes:  logits (B, K, h, w) f32, tokens (B, h, w) i64 -> (B, h, w) f32, in nats.
/// Source:  dome272/Paella src/train.py, `nn.CrossEntropyLoss(label_smoothing=0.1, reduction='none')`.
pub fn cross_entropy(logits: &Tensor, tokens: &Tensor, label_smoothing: f64) -> Tensor {
    // softmax is fast over neighbours in memory: the codes of a position go side by side
    let k = logits.size()[1];
    let rows = logits.movedim_int(1, -1).reshape([-1, k]); // (B h w, K)
    let tokens_in_row = tokens.reshape([-1]);
    let none = None::<Tensor>; // no weights of codes
    rows.cross_entropy_loss(&tokens_in_row, none, Reduction::None, -100, label_smoothing)
        .view_as(tokens)
}

/// Each picture's weighted mean, then the mean over pictures: (B, h, w), (B, h, w) -> scalar.
pub fn weighted_mean(loss: &Tensor, weight: &Tensor) -> Tensor {
    let sum = |xs: &Tensor| xs.sum_dim_intlist(&[1i64, 2][..], false, Kind::Float); // (B,)
    // Divided by its own weights, so that a picture with little noise counts as much as one with a lot.
    (sum(&(loss * weight)) / sum(weight)).mean(Kind::Float) // scalar
}

/// Share of tokens whose best guess is right: logits (B, K, h, w), tokens (B, h, w) -> scalar in 0..=1.
pub fn accuracy(logits: &Tensor, tokens: &Tensor) -> Tensor {
    logits.argmax(1, false).eq_tensor(tokens).to_kind(Kind::Float).mean(Kind::Float)
}

/// Share of the noised tokens that are guessed right: guess, tokens, mask (B, h, w) -> 0..=1. None if no token is noised.
pub fn noised_accuracy(guess: &Tensor, tokens: &Tensor, mask: &Tensor) -> Option<f64> {
    let sum = |xs: &Tensor| xs.to_kind(Kind::Float).sum(Kind::Float).double_value(&[]);
    let all = sum(mask);
    (all > 0.0).then(|| sum(&guess.eq_tensor(tokens).logical_and(mask)) / all)
}
