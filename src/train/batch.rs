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
    /// This rank's equal share of `batch` rows. The caller has checked that it divides evenly.
    pub fn of_rank(world: &World, batch: usize) -> Self {
        let count = batch / world.size();
        Self { first: world.rank() * count, count, of: batch }
    }
}

/// One rank's rows, in the form the denoiser needs.
#[derive(Debug)]
pub struct Batch {
    /// (b, h, w) i64.
    pub tokens: Tensor,
    /// Bytes of the captions (b, L) i64.
    pub ids: Tensor,
    /// The captions' vectors (b, L, D) f32, if the stream provides them.
    pub text: Option<Tensor>,
    pub captions: Vec<String>,
    /// (b, 3, S, S) f32 in 0..=1, only if requested.
    pub images: Option<Tensor>,
}

impl Batch {
    /// Of pictures (b, 3, S, S) f32 in 0..=1, none of which comes twice. `images` keeps them.
    pub fn of_pictures(
        nets: &Networks,
        pictures: Tensor,
        captions: Vec<String>,
        images: bool,
    ) -> Self {
        // in chunks, as elsewhere: a rank's whole share may be more than the device holds
        let tokens: Vec<Tensor> =
            pictures.split(256, 0).iter().map(|some| nets.encode(some)).collect();
        Self {
            tokens: Tensor::cat(&tokens, 0),                       // (b, h, w)
            ids: nets.config.text.batch(&captions, nets.device).0, // (b, L)
            text: None,
            captions,
            images: images.then_some(pictures),
        }
    }

    /// Pads the captions to the longest of all ranks if the config sets no length. So the number of ranks does not
    /// change the result.
    pub fn fill_up(self, nets: &Networks, world: &World) -> Result<Self> {
        // the encoder may attend to padding, so its length changes the vectors
        if nets.config.text.length.is_some() {
            return Ok(self);
        }
        // over all ranks, not of this one's rows
        let longest = world.largest(self.ids.size()[1])?;
        Ok(Self { ids: fill_up(&self.ids, longest), ..self })
    }

    /// `n` rows starting at row `first`.
    pub fn rows(&self, first: usize, n: usize) -> Self {
        let some = |xs: &Tensor| xs.narrow(0, first as i64, n as i64); // views: no copy for a micro batch
        Self {
            tokens: some(&self.tokens),
            ids: some(&self.ids),
            text: self.text.as_ref().map(some),
            captions: self.captions[first..first + n].to_vec(),
            images: self.images.as_ref().map(some),
        }
    }
}
