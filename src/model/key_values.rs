//! What the A blocks make of a text, kept from pass to pass.
//!
//! Letters: B pictures, S condition vectors, c channels.

use std::cell::Cell;
use tch::Tensor;

/// Keys and values of a text (B, S, 2c) for each A block, handed out in the order of a pass.
#[derive(Debug)]
pub struct KeyValues {
    each: Vec<Tensor>,
    next: Cell<usize>,
}

impl KeyValues {
    pub fn new(each: Vec<Tensor>) -> Self {
        Self { each, next: Cell::new(0) }
    }

    /// In the order of a pass.
    pub fn each(&self) -> &[Tensor] {
        &self.each
    }

    /// Those of the next A block; after the last one of the first again.
    pub fn next(&self) -> Tensor {
        // each pass goes through all blocks in one order, so counting is enough to know whose turn it is
        let at = self.next.get();
        self.next.set((at + 1) % self.each.len());
        self.each[at].shallow_clone()
    }
}
