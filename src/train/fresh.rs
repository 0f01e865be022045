//! Scenes as a feed: every step sees pictures that no step has seen, made up as they are asked for.
//!
//! Letters: b rows of one rank, h x w tokens, L bytes.

use super::batch::{Batch, Rows};
use crate::data::Part;
use crate::data::scenes::{self, ScenesConfig};
use crate::error::Result;
use crate::networks::Networks;
use tch::{Kind, Tensor};

/// Row r of a batch is picture number `position + r`: all that a checkpoint needs is the position.
pub struct SceneFeed {
    config: ScenesConfig,
    size: i64,
    /// Pictures drawn so far, by all ranks.
    position: u64,
}

impl SceneFeed {
    pub fn new(config: &ScenesConfig, size: i64) -> Self {
        Self { config: config.clone(), size, position: 0 }
    }

    /// (b, 3, S, S) f32 in 0..=1, captions.
    pub fn images(&mut self, rows: Rows) -> Result<(Tensor, Vec<String>)> {
        let first = self.position + rows.first as u64;
        let drawn = self.numbered(first, rows.count)?;
        self.position += rows.of as u64; // the global batch: other ranks have drawn the rows between
        Ok(drawn)
    }

    /// The first `count` pictures of all: every rank gets the same.
    pub fn some(&self, count: usize) -> Result<Tensor> {
        Ok(self.numbered(0, count)?.0)
    }

    pub fn batch(&mut self, nets: &Networks, rows: Rows, images: bool) -> Result<Batch> {
        let (pictures, captions) = self.images(rows)?;
        Ok(Batch::of_pictures(nets, pictures, captions, images))
    }

    pub fn position(&self) -> u64 {
        self.position
    }

    pub fn go_to(&mut self, position: u64) {
        self.position = position;
    }

    /// Pictures `first` and the next ones, (count, 3, S, S) f32 in 0..=1, with their captions.
    fn numbered(&self, first: u64, count: usize) -> Result<(Tensor, Vec<String>)> {
        let (pixels, all) = scenes::pictures(&self.config, Part::Train, self.size, first, count)?;
        let captions = all.into_iter().map(|picture| picture.caption).collect();
        Ok((pixels.to_kind(Kind::Float) / 255.0, captions)) // bytes -> 0..=1
    }
}
