//! Gradient all-reduce: traffic per update, and how much of it the backward pass hides.
//!
//! Assumed: a ring over all cards with the cards of one node next to each other, so that every link carries the same
//! traffic and the slowest link sets the time; f32 gradients; buckets that are sent as soon as they are full, during
//! the backward pass of the last micro batch. Left out: latency per hop, and other traffic on the network.

use super::Gpu;

/// Bytes of a gradient bucket, PyTorch DDP's default.
pub const BUCKET: f64 = 25.0 * 1024.0 * 1024.0;

/// Traffic and time of one gradient exchange.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exchange {
    /// Bytes of all gradients.
    pub bytes: f64,
    /// Bytes that every card sends and receives per update: 2 (n - 1) / n of the gradients.
    pub sent: f64,
    /// Bytes per second of the slowest link of the ring.
    pub link: f64,
    /// Seconds of the whole exchange.
    pub seconds: f64,
    /// Seconds not hidden by the backward pass: at least the last bucket.
    pub exposed: f64,
}

/// The exchange of `params` gradients between `gpus` cards, `per_node` per node. The last backward pass takes
/// `backward` seconds.
pub fn exchange(params: i64, gpus: usize, per_node: usize, gpu: &Gpu, backward: f64) -> Exchange {
    let (n, bytes) = (gpus as f64, 4.0 * params as f64);
    let link = if gpus > per_node { gpu.network.min(gpu.link) } else { gpu.link };
    let sent = 2.0 * (n - 1.0) / n * bytes;
    let seconds = sent / link;
    let last = seconds * (BUCKET / bytes).min(1.0);
    Exchange { bytes, sent, link, seconds, exposed: (seconds - backward).max(last) }
}
