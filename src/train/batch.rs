//! One rank's rows of a global batch.
//!
//! Letters: b rows of one rank, h x w tokens, L bytes, S pixels, D width of a text vector.

use crate::dist::World;
use crate::error::Result;
use crate::networks::Networks;
use crate::tokens::text::fill_up;
use tch::Tensor;

pub use crate::data::stream::Rows;

impl Rows {
    /// An even share of `batch` rows; the caller has seen that it comes out even.
    pub fn of_rank(world: &World, batch: usize) -> Self {
        let count = batch / world.size();
        Self { first: world.rank() * count, count, of: batch }
    }
}

/// One rank's rows, as the denoiser wants them.
#[derive(Debug)]
pub struct Batch {
    /// (b, h, w) i64.
    pub tokens: Tensor,
    /// Bytes of the captions (b, L) i64.
    pub ids: Tensor,
    /// The captions' vectors (b, L, D) f32, where a stream brings them along.
    pub text: Option<Tensor>,
    pub captions: Vec<String>,
    /// (b, 3, S, S) f32 in 0..=1; only when they were asked for.
    pub images: Option<Tensor>,
}

impl Batch {
    /// Where the config sets no length of captions: as long as the longest of all ranks, so that the number of ranks
    /// changes nothing.
    pub fn fill_up(self, nets: &Networks, world: &World) -> Result<Self> {
        if nets.config.text.length.is_some() {
            return Ok(self);
        }
        let longest = world.largest(self.ids.size()[1])?;
        Ok(Self { ids: fill_up(&self.ids, longest), ..self })
    }

    /// `n` rows from row `first` on.
    pub fn rows(&self, first: usize, n: usize) -> Self {
        let some = |xs: &Tensor| xs.narrow(0, first as i64, n as i64);
        Self {
            tokens: some(&self.tokens),
            ids: some(&self.ids),
            text: self.text.as_ref().map(some),
            captions: self.captions[first..first + n].to_vec(),
            images: self.images.as_ref().map(some),
        }
    }
}
