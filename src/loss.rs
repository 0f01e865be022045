//! The loss: how surprised the model is by the original tokens.

use tch::{Kind, Reduction, Tensor};

/// Label-smoothed cross entropy of each token.
///
/// Formula: (1 - s) (-log p[target]) + s mean over labels of (-log p).
/// Shapes:  logits (B, K, h, w) f32, tokens (B, h, w) i64 -> (B, h, w) f32, in nats.
/// Source:  dome272/Paella src/train.py, `nn.CrossEntropyLoss(label_smoothing=0.1, reduction='none')`.
pub fn cross_entropy(logits: &Tensor, tokens: &Tensor, label_smoothing: f64) -> Tensor {
    logits.cross_entropy_loss::<Tensor>(tokens, None, Reduction::None, -100, label_smoothing)
}

/// Each picture's weighted mean, then the mean over pictures: (B, h, w), (B, h, w) -> scalar.
pub fn weighted_mean(loss: &Tensor, weight: &Tensor) -> Tensor {
    let per_token = [1i64, 2];
    let sum = |x: &Tensor| x.sum_dim_intlist(&per_token[..], false, Kind::Float);
    (sum(&(loss * weight)) / sum(weight)).mean(Kind::Float)
}

/// Share of tokens whose best guess is right: logits (B, K, h, w), tokens (B, h, w) -> scalar in 0..=1.
pub fn accuracy(logits: &Tensor, tokens: &Tensor) -> Tensor {
    logits.argmax(1, false).eq_tensor(tokens).to_kind(Kind::Float).mean(Kind::Float)
}
