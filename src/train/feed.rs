//! The pictures of each step: from a data set in memory, a stream of shards, or scenes drawn on demand. Every rank takes
//! its rows.
//!
//! Letters: B pictures of a global batch, b rows of one rank, N pictures of the data set, h x w tokens, L bytes, D width
//! of a text vector.

use super::fresh::SceneFeed;
use super::streamed::Streamed;
use crate::data::augment::{AugmentConfig, together};
use crate::data::scenes::ScenesConfig;
use crate::data::stream::{Counts, StopAsked, Want};
use crate::data::{Dataset, order::Order};
use crate::dist::World;
use crate::error::{Error, Result};
use crate::networks::Networks;
use std::rc::Rc;
use tch::{Device, Kind, Tensor};

pub use super::batch::{Batch, Rows};

/// An endless source of pictures, with its position.
pub enum Feed {
    Memory(MemoryFeed),
    Stream(Box<Streamed>),
    Fresh(SceneFeed),
    /// The same rows every time, for measuring speed.
    Fixed(Box<Batch>),
}

impl Feed {
    /// Endless epochs over a data set in memory, each in its own order.
    pub fn memory(data: Rc<Dataset>, seed: u64) -> Result<Self> {
        let (order, augment) = (Order::new(data.len(), seed)?, AugmentConfig::default());
        Ok(Self::Memory(MemoryFeed { order, augment, seed, data, known: None }))
    }

    /// Pictures in memory, and their captions, change like this each time they come up. A stream knows its config already.
    ///
    /// Errors: keywords are asked for where no picture has any.
    pub fn augmented(mut self, augment: &AugmentConfig) -> Result<Self> {
        if let Self::Memory(memory) = &mut self {
            let tagged = memory.data.records.iter().any(|record| !record.others.is_empty());
            if augment.tags > 0.0 && !tagged {
                let hint =
                    "`tags: 0`; keywords are the `tags` of a shard's json, beside its `name`";
                return Err(Error::data("no picture has keywords", "`data.augment.tags`", hint));
            }
            memory.augment = augment.clone();
        }
        Ok(self)
    }

    /// The endless stream of the shards in `data.stream` of the networks' config.
    ///
    /// Errors: the config names no shards; invalid patterns.
    pub fn stream(nets: &Networks, seed: u64, want: Want) -> Result<Self> {
        let data = &nets.config.data;
        let config = data.stream.as_ref().ok_or_else(|| {
            Error::data(
                "the config names no shards",
                "`data.stream`",
                "(shards: [\"x-{000..127}.tar\"])",
            )
        })?;
        // tokens cannot change, and have no keywords beside them: shards that hold both give their pictures
        let want = if data.augment.is_off() { want } else { Want::Pictures };
        let stream =
            Streamed::open(config, seed, data.size, want, nets.device)?.augmented(&data.augment);
        // boxed: its own state is far larger than that of the other feeds
        Ok(Self::Stream(Box::new(stream)))
    }

    /// Makes a wait for the samples of a stream end with an error once `asked` says so. Other feeds never wait.
    pub fn until(mut self, asked: StopAsked) -> Self {
        if let Self::Stream(stream) = &mut self {
            stream.until(asked);
        }
        self
    }

    /// Scenes made up as they are asked for, `size` pixels a side, without end.
    pub fn fresh(config: &ScenesConfig, size: i64) -> Self {
        Self::Fresh(SceneFeed::new(config, size))
    }

    /// The next pictures (b, 3, S, S) f32 in 0..=1 on the CPU, and their captions.
    pub fn images(&mut self, rows: Rows) -> Result<(Tensor, Vec<String>)> {
        match self {
            Self::Memory(memory) => Ok(memory.images(rows)),
            Self::Stream(stream) => stream.images(rows),
            Self::Fresh(fresh) => fresh.images(rows),
            Self::Fixed(_) => Err(without_pictures()),
        }
    }

    /// About `count` pictures from all over the data (n, 3, S, S). Does not change the position.
    pub fn some(&self, count: usize) -> Result<Tensor> {
        match self {
            Self::Memory(memory) => memory.some(count),
            Self::Stream(stream) => stream.some(count),
            Self::Fresh(fresh) => fresh.some(count),
            Self::Fixed(_) => Err(without_pictures()),
        }
    }

    /// The next batch. `images` requests the pictures too.
    pub fn batch(&mut self, nets: &Networks, rows: Rows, images: bool) -> Result<Batch> {
        match self {
            Self::Memory(memory) => Ok(memory.batch(nets, rows, images)),
            Self::Stream(stream) => stream.batch(nets, rows, images),
            Self::Fresh(fresh) => fresh.batch(nets, rows, images),
            // a view of the same numbers: measuring speed reads no data
            Self::Fixed(batch) => Ok(batch.rows(rows.first, rows.count)),
        }
    }

    /// Pictures drawn from the data so far, by all ranks.
    pub fn position(&self) -> u64 {
        match self {
            Self::Memory(memory) => memory.order.position(),
            Self::Stream(stream) => stream.position(),
            Self::Fresh(fresh) => fresh.position(),
            Self::Fixed(_) => 0,
        }
    }

    /// State for a checkpoint besides the position. None for a data set in memory and for scenes. The concatenated texts of all
    /// ranks are the state of the run.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Memory(_) | Self::Fresh(_) | Self::Fixed(_) => None,
            Self::Stream(stream) => Some(stream.text()),
        }
    }

    /// Continues as if `position` pictures had been drawn. `text` is the saved state of a stream.
    ///
    /// Errors: a text that does not belong to this stream and position.
    pub fn go_to(&mut self, position: u64, text: &str) -> Result<()> {
        match self {
            Self::Memory(memory) => {
                memory.order.go_to(position);
                Ok(())
            }
            Self::Stream(stream) => stream.go_to(position, text),
            Self::Fresh(fresh) => {
                fresh.go_to(position);
                Ok(())
            }
            Self::Fixed(_) => Ok(()),
        }
    }

    /// Samples and shards that all ranks left out so far, by reason.
    pub fn skipped(&self, world: &World) -> Result<Counts> {
        let own = match self {
            Self::Memory(memory) => return Ok(memory.skipped()), // all ranks read the same pictures
            Self::Stream(stream) => stream.skipped(),
            Self::Fresh(_) | Self::Fixed(_) => return Ok(Counts::new()), // made up: nothing can be broken
        };
        if world.size() == 1 {
            return Ok(own);
        }
        // Every rank reads other shards, so only the sum says what the run has lost.
        let mut all = Counts::new();
        for text in world.gather(&serde_json::to_string(&own).unwrap_or_default())? {
            for (why, n) in serde_json::from_str::<Counts>(&text).unwrap_or_default() {
                *all.entry(why).or_default() += n;
            }
        }
        Ok(all)
    }
}

fn without_pictures() -> Error {
    Error::data("tokens without pictures", "a fixed batch", "")
}

/// Feeds from a data set in memory.
pub struct MemoryFeed {
    data: Rc<Dataset>,
    order: Order,
    augment: AugmentConfig,
    seed: u64,
    /// Tokens (N, h, w) and text bytes (N, L) of the whole data set, computed once.
    known: Option<(Tensor, Tensor)>,
}

impl MemoryFeed {
    fn skipped(&self) -> Counts {
        let reasons = self.data.skipped.reasons.iter();
        reasons.map(|(why, &n)| (why.clone(), n as u64)).collect()
    }

    fn images(&mut self, rows: Rows) -> (Tensor, Vec<String>) {
        let first = self.first(rows);
        let picks = self.picks(rows);
        let records = picks.iter().map(|&i| &self.data.records[i as usize]);
        let words = records.map(|it| together(&it.caption, &it.others));
        let images = self.augment.apply(&self.data.bytes(&picks), words, self.seed, first);
        (images.to_kind(Kind::Float) / 255.0, self.captions(&picks, first))
    }

    /// How many pictures the run draws before these.
    fn first(&self, rows: Rows) -> u64 {
        self.order.position() + rows.first as u64
    }

    fn captions(&self, picks: &[i64], first: u64) -> Vec<String> {
        let records = picks.iter().map(|&i| &self.data.records[i as usize]);
        self.augment.captions(records.map(|it| (&it.caption, &it.others)), self.seed, first)
    }

    /// Random pictures, drawn with libtorch's generator.
    fn some(&self, count: usize) -> Result<Tensor> {
        let all = Tensor::randperm(self.data.len() as i64, (Kind::Int64, Device::Cpu));
        let picks = all.slice(0, 0, count as i64, 1); // all of them if there are fewer
        Ok(self.data.images(&Vec::<i64>::try_from(picks)?))
    }

    fn batch(&mut self, nets: &Networks, rows: Rows, images: bool) -> Batch {
        if !self.augment.keeps_pictures() {
            let (pictures, captions) = self.images(rows);
            return Batch::of_pictures(nets, pictures, captions, images);
        }
        let first = self.first(rows);
        let picks = self.picks(rows);
        let captions = self.captions(&picks, first);
        // A frozen tokenizer gives the same tokens in every epoch: the whole set is encoded at the first batch.
        let (tokens, ids) = self.known.get_or_insert_with(|| known(&self.data, nets));
        let index = Tensor::from_slice(&picks).to_device(nets.device);
        Batch {
            tokens: tokens.index_select(0, &index), // (b, h, w)
            ids: match self.augment.tags > 0.0 {
                true => nets.config.text.batch(&captions, nets.device).0,
                false => ids.index_select(0, &index),
            }, // (b, L)
            text: None, // from `ids` in each step, also by an encoder that is not trained
            captions,
            images: images.then(|| self.data.images(&picks)),
        }
    }

    fn picks(&mut self, rows: Rows) -> Vec<i64> {
        // the whole global batch, so that the order is the same on any number of ranks
        let all = self.order.next(rows.of);
        all[rows.first..rows.first + rows.count].to_vec()
    }
}

fn known(data: &Dataset, nets: &Networks) -> (Tensor, Tensor) {
    let everything: Vec<i64> = (0..data.len() as i64).collect();
    let captions = data.captions(&everything);
    (nets.encode_all(&data.images), nets.config.text.batch(&captions, nets.device).0)
}
