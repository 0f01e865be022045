//! A feed from a stream of shards. Tokens and vectors that the shards do not hold are computed batch by batch.
//!
//! Letters: b rows of one rank, h x w tokens, L bytes, D width of a text vector.

use super::batch::{Batch, Rows};
use crate::data::augment::{AugmentConfig, together};
use crate::data::stream::{Counts, Decoded, ShardSample, StopAsked, Stream, StreamConfig, Want};
use crate::error::{Error, Result};
use crate::networks::Networks;
use crate::torch;
use tch::{Device, Kind, Tensor};

/// A feed from a stream of shards.
pub struct Streamed {
    stream: Stream,
    config: StreamConfig,
    seed: u64,
    size: i64,
    augment: AugmentConfig,
    /// Device of the pictures.
    device: Device,
    asked: StopAsked,
}

/// Seed offset of the pictures that `some` returns, so that they have their own order.
const ASIDE: u64 = 0xa51d_e000;

impl Streamed {
    pub fn open(
        config: &StreamConfig,
        seed: u64,
        size: i64,
        want: Want,
        device: Device,
    ) -> Result<Self> {
        let stream = Stream::open(config, seed, size, want)?;
        let augment = AugmentConfig::default();
        Ok(Self { stream, config: config.clone(), seed, size, augment, device, asked: None })
    }

    /// Pictures change like this.
    pub fn augmented(self, augment: &AugmentConfig) -> Self {
        Self { augment: augment.clone(), ..self }
    }

    /// Makes a wait for samples end with an error once `asked` says so.
    pub fn until(&mut self, asked: StopAsked) {
        self.stream.until(asked);
        self.asked = asked;
    }

    /// Pictures (b, 3, S, S) f32 in 0..=1, and captions.
    pub fn images(&mut self, rows: Rows) -> Result<(Tensor, Vec<String>)> {
        let first = self.position() + rows.first as u64;
        let samples = self.stream.next(rows)?;
        let pictures = self.pictures(&samples.iter().collect::<Vec<_>>(), first)?;
        Ok((unit(&pictures), self.captions(&samples, first)))
    }

    /// The first pictures of a separate stream. Every rank gets the same.
    pub fn some(&self, count: usize) -> Result<Tensor> {
        let lanes = self.config.lanes.max(1);
        let count = count.div_ceil(lanes) * lanes; // a batch takes as many from each lane
        let seed = self.seed ^ ASIDE;
        // a stream of its own: the run's position must not move
        let mut aside = Self::open(&self.config, seed, self.size, Want::Pictures, self.device)?;
        aside.until(self.asked);
        Ok(aside.images(Rows { first: 0, count, of: count })?.0)
    }

    /// The next batch. `images` requests the pictures too.
    pub fn batch(&mut self, nets: &Networks, rows: Rows, images: bool) -> Result<Batch> {
        let first = self.position() + rows.first as u64;
        let samples = self.stream.next(rows)?;
        // some shards may hold tokens, others pictures: only these are encoded here
        let is_picture = |sample: &&ShardSample| matches!(sample.content, Decoded::Pixels(_));
        let shown: Vec<&ShardSample> = samples.iter().filter(is_picture).collect();
        let images_of_all = shown.len() == samples.len();
        let pictures = match shown.is_empty() {
            true => None,
            false => Some(self.pictures(&shown, first)?),
        };
        let captions = self.captions(&samples, first);
        Ok(Batch {
            tokens: tokens(nets, &samples, pictures.as_ref())?,
            ids: nets.config.text.batch(&captions, nets.device).0,
            text: text(nets, &samples)?,
            captions,
            images: pictures.filter(|_| images && images_of_all).as_ref().map(unit),
        })
    }

    /// Pictures (n, 3, S, S) u8, the first of them the `first`th that the run draws. For a GPU they are copied through pinned
    /// memory.
    fn pictures(&self, samples: &[&ShardSample], first: u64) -> Result<Tensor> {
        let picture = |sample: &&ShardSample| match &sample.content {
            Decoded::Pixels(pixels) => {
                Ok(Tensor::f_from_slice(pixels)?.f_view([3, self.size, self.size])?)
            }
            Decoded::Known(_) => Err(Error::data("a sample without a picture", &sample.key, "")),
        };
        let all: Vec<Tensor> = samples.iter().map(picture).collect::<Result<_>>()?;
        let all = Tensor::f_stack(&all, 0)?; // (n, 3, S, S) u8, a quarter of what f32 would send
        let words = samples.iter().map(|it| together(&it.caption, &it.others));
        let all = self.augment.apply(&all, words, self.seed, first);
        Ok(if self.device.is_cuda() { torch::pinned(&all)? } else { all })
    }

    /// The captions of samples, the first of them the `first`th that the run draws.
    fn captions(&self, samples: &[ShardSample], first: u64) -> Vec<String> {
        let all = samples.iter().map(|it| (&it.caption, &it.others));
        self.augment.captions(all, self.seed, first)
    }

    /// Pictures drawn from the data so far, by all ranks.
    pub fn position(&self) -> u64 {
        self.stream.position()
    }

    /// The stream's state for a checkpoint.
    pub fn text(&self) -> String {
        self.stream.text()
    }

    /// Resumes a saved state.
    pub fn go_to(&mut self, position: u64, text: &str) -> Result<()> {
        self.stream.restore(text, position)
    }

    /// Samples and shards that this rank left out, by reason.
    pub fn skipped(&self) -> Counts {
        self.stream.skipped()
    }
}

/// Bytes -> f32 in 0..=1.
fn unit(pictures: &Tensor) -> Tensor {
    pictures.to_kind(Kind::Float) / 255.0
}

/// Tokens (b, h, w): those in the shards, and those computed from the other samples' `pictures` (n, 3, S, S) u8.
fn tokens(nets: &Networks, samples: &[ShardSample], pictures: Option<&Tensor>) -> Result<Tensor> {
    let made = pictures.map(|pictures| nets.encode_all(pictures)); // (n, h, w), in the order of the samples without tokens
    let mut next = 0;
    let mut row = |sample: &ShardSample| match (&sample.content, &made) {
        (Decoded::Known(known), _) => checked(nets, sample, &known.tokens),
        (Decoded::Pixels(_), made) => {
            next += 1;
            let made = made.as_ref().ok_or_else(|| Error::data("no tokens", &sample.key, ""))?;
            Ok(made.get(next - 1))
        }
    };
    let rows: Vec<Tensor> = samples.iter().map(&mut row).collect::<Result<_>>()?;
    Ok(Tensor::f_stack(&rows, 0)?) // (b, h, w)
}

/// Checks that a shard's tokens fit this model.
fn checked(nets: &Networks, sample: &ShardSample, tokens: &Tensor) -> Result<Tensor> {
    let (grid, codes) = (nets.grid(), nets.config.model.num_labels);
    // a token beyond the codebook would be an index out of range on the device, where nothing names the sample
    let fits = tokens.size() == [grid, grid]
        && tokens.min().int64_value(&[]) >= 0
        && tokens.max().int64_value(&[]) < codes;
    if fits {
        return Ok(tokens.to_device(nets.device));
    }
    let what = format!("expected {grid} x {grid} tokens below {codes}, got {:?}", tokens.size());
    let hint = "make the shards again with this config: `paella precompute`";
    Err(Error::data(what, format!("sample `{}`", sample.key), hint))
}

/// Text vectors (b, L, D), if all samples have them and the text encoder is frozen.
fn text(nets: &Networks, samples: &[ShardSample]) -> Result<Option<Tensor>> {
    let of = |sample: &ShardSample| match &sample.content {
        Decoded::Known(known) => known.text.as_ref().map(Tensor::shallow_clone),
        Decoded::Pixels(_) => None,
    };
    let all: Option<Vec<Tensor>> = samples.iter().map(of).collect();
    // stored vectors would go stale while the encoder learns
    let Some(all) = all.filter(|_| !nets.config.train.train_text) else { return Ok(None) };
    let size = [nets.config.text.length.unwrap_or(0), nets.config.text.d_model];
    if let Some(other) = all.iter().find(|xs| xs.size() != size) {
        let what = format!("expected text vectors {size:?}, got {:?}", other.size());
        let hint = "make the shards again with this config: `paella precompute`";
        return Err(Error::data(what, "a sample of the stream", hint));
    }
    Ok(Some(Tensor::f_stack(&all, 0)?.to_device(nets.device))) // (b, L, D)
}
