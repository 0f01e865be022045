//! Where the A blocks of one pass look.
//!
//! Letters: h x w tokens, H x W positions of a level, S condition vectors.

use super::blocks::Context;
use super::record::AttentionRecord;
use super::{Cond, Paella};
use tch::Tensor;

/// Where one A block looks.
#[derive(Debug)]
pub struct BlockAttention {
    /// Level of the block; 0 is the finest.
    pub level: usize,
    /// Share of each position's attention that goes to each condition vector (H, W, S) f32, mean over the heads.
    pub shares: Tensor,
}

impl Paella {
    /// One pass: tokens (1, h, w) i64, t (1,) f32 -> where each A block looks, in their order.
    pub fn attention(&self, tokens: &Tensor, t: &Tensor, cond: &Cond) -> Vec<BlockAttention> {
        let _no_grad = tch::no_grad_guard();
        let _bf16 = self.in_bf16();
        let record = AttentionRecord::default();
        let context = Context {
            t_embed: &self.embed_t(t),
            cond: &self.embed_cond(cond), // (1, S, c_cond)
            key_values: None,
            attn_weights: cond.attn_weights.as_ref(),
            record: Some(&record),
            train: false,
        };
        let _ = self.unet(tokens, &context);
        let (_, h, w) = tokens.size3().expect("tokens are (1, h, w)");
        let p = self.config().patch_size;
        let (h, w) = (h / p, w / p); // positions of the finest level
        let block = |shares: Tensor| {
            let places = shares.size()[0];
            let level = (0..self.config().levels.len()).find(|i| (h >> i) * (w >> i) == places);
            let level = level.expect("a block belongs to a level");
            BlockAttention { level, shares: shares.view([h >> level, w >> level, -1]) }
        };
        record.into_blocks().into_iter().map(block).collect()
    }
}
