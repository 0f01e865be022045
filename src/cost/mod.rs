//! Cost of a run before it starts: parameters, operations, memory, traffic and time, computed from the config alone.
//!
//! Nothing here makes a tensor. Every layer is counted as the networks build it, so sums over layers are exact for
//! parameters and matrix products. Cheaper operations (norms, activations, additions) are not counted.
//!
//! Letters: B pictures, N positions of a level, S condition vectors, h x w tokens, K codes, c channels.

mod budget;
mod denoiser;
mod encoders;
mod exchange;
mod hardware;
mod layers;
mod memory;
mod meter;
mod share;
mod work;

pub use budget::{Budget, EstimateRequest, budget, largest, mfu};
pub use denoiser::{DenoiserCost, LevelCost, denoiser};
pub use encoders::{Tokenizer, Towers, clip, discriminator, lpips, prior, text, tokenizer};
pub use exchange::{BUCKET, Exchange, exchange};
pub use hardware::{DEVICES, Gpu, find, find_card, recognise};
pub use memory::{MemoryNeed, usable};
pub use meter::Meter;
pub use share::{SHARES, Share, share_of};
pub use work::{NetworkCost, Work, text_bytes, work};

use std::iter::Sum;
use std::ops::{Add, Mul};

/// Numbers that the backward pass needs from the forward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Stored in the kind of the products: bf16 under autocast, else f32.
    pub products: i64,
    /// Always stored as f32.
    pub full: i64,
    /// Stored as one byte each, such as dropout masks.
    pub bytes: i64,
}

impl Kept {
    /// Bytes with products in bf16 or f32.
    pub fn bytes(self, bf16: bool) -> i64 {
        self.products * if bf16 { 2 } else { 4 } + self.full * 4 + self.bytes
    }
}

/// The cost of a layer or a network for one picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Number of parameters.
    pub params: i64,
    /// Floating point operations of a forward pass. A multiply-add counts as 2.
    pub flops: i64,
    pub kept: Kept,
}

impl Add for Cost {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        let (a, b) = (self.kept, other.kept);
        Self {
            params: self.params + other.params,
            flops: self.flops + other.flops,
            kept: Kept {
                products: a.products + b.products,
                full: a.full + b.full,
                bytes: a.bytes + b.bytes,
            },
        }
    }
}

/// The cost of `times` equal layers in sequence.
impl Mul<i64> for Cost {
    type Output = Self;
    fn mul(self, times: i64) -> Self {
        let Kept { products, full, bytes } = self.kept;
        let kept = Kept { products: products * times, full: full * times, bytes: bytes * times };
        Self { params: self.params * times, flops: self.flops * times, kept }
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}
