//! Keeps what the A blocks look at in one pass, for those who ask. Other passes record nothing.
//!
//! Letters: B pictures, Q queries, N keys, S condition vectors.

use std::cell::RefCell;
use tch::{Kind, Tensor};

/// Attention of each A block of a pass, in their order: (Q, S) f32.
#[derive(Debug, Default)]
pub struct AttentionRecord(RefCell<Vec<Tensor>>);

impl AttentionRecord {
    /// Attention (B, heads, Q, N). The last `s` keys are conditions. The first picture is kept, its heads averaged.
    pub(super) fn keep(&self, attention: &Tensor, s: i64) {
        let first = attention.get(0); // (heads, Q, N)
        let text = first.narrow(2, first.size()[2] - s, s);
        self.0.borrow_mut().push(text.mean_dim(0, false, Kind::Float));
    }

    /// What was kept.
    pub(super) fn into_blocks(self) -> Vec<Tensor> {
        self.0.into_inner()
    }
}
