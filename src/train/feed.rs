//! Where the pictures of a step come from: a data set in memory or a stream of shards, of which every rank takes its
//! rows.
//!
//! Letters: B pictures of a global batch, b rows of one rank, N pictures of the data set, h x w tokens, L bytes, D width
//! of a text vector.

use super::streamed::Streamed;
use crate::data::stream::{Counts, Want};
use crate::data::{Dataset, order::Order};
use crate::dist::World;
use crate::error::{Error, Result};
use crate::networks::Networks;
use crate::tokens::text::batch_tokens;
use std::rc::Rc;
use tch::{Device, Kind, Tensor};

pub use super::batch::{Batch, Rows};

/// Pictures without end, and where we are among them.
pub enum Feed {
    Memory(MemoryFeed),
    Stream(Box<Streamed>),
    /// The same rows every time, as those who measure speed want it.
    Fixed(Box<Batch>),
}

impl Feed {
    /// Endless epochs over a data set in memory, each in an order of its own.
    pub fn memory(data: Rc<Dataset>, seed: u64) -> Result<Self> {
        Ok(Self::Memory(MemoryFeed { order: Order::new(data.len(), seed)?, data, known: None }))
    }

    /// The shards that `data.stream` of the networks' config names, without end.
    ///
    /// Errors: it names none; patterns that are not sound.
    pub fn stream(nets: &Networks, seed: u64, want: Want) -> Result<Self> {
        let data = &nets.config.data;
        let config = data.stream.as_ref().ok_or_else(|| {
            Error::data(
                "the config names no shards",
                "`data.stream`",
                "(shards: [\"x-{000..127}.tar\"])",
            )
        })?;
        let stream = Streamed::open(config, seed, data.size, want, nets.device)?;
        Ok(Self::Stream(Box::new(stream)))
    }

    /// The next pictures (b, 3, S, S) f32 in 0..=1 on the CPU, and their captions.
    pub fn images(&mut self, rows: Rows) -> Result<(Tensor, Vec<String>)> {
        match self {
            Self::Memory(memory) => Ok(memory.images(rows)),
            Self::Stream(stream) => stream.images(rows),
            Self::Fixed(_) => Err(without_pictures()),
        }
    }

    /// About `count` pictures from anywhere (n, 3, S, S); the order goes on as before.
    pub fn some(&self, count: usize) -> Result<Tensor> {
        match self {
            Self::Memory(memory) => memory.some(count),
            Self::Stream(stream) => stream.some(count),
            Self::Fixed(_) => Err(without_pictures()),
        }
    }

    /// The next batch; `images` asks for the pictures themselves as well.
    pub fn batch(&mut self, nets: &Networks, rows: Rows, images: bool) -> Result<Batch> {
        match self {
            Self::Memory(memory) => Ok(memory.batch(nets, rows, images)),
            Self::Stream(stream) => stream.batch(nets, rows, images),
            Self::Fixed(batch) => Ok(batch.rows(rows.first, rows.count)),
        }
    }

    /// Pictures drawn from the data so far, by all ranks.
    pub fn position(&self) -> u64 {
        match self {
            Self::Memory(memory) => memory.order.position(),
            Self::Stream(stream) => stream.position(),
            Self::Fixed(_) => 0,
        }
    }

    /// What a checkpoint holds besides the position: none for a data set in memory. The texts of all ranks, joined, are
    /// that of the run.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Memory(_) | Self::Fixed(_) => None,
            Self::Stream(stream) => Some(stream.text()),
        }
    }

    /// Go on as if `position` pictures had been drawn; `text` is that of a stream.
    ///
    /// Errors: a text that is not of this stream and position.
    pub fn go_to(&mut self, position: u64, text: &str) -> Result<()> {
        match self {
            Self::Memory(memory) => {
                memory.order.go_to(position);
                Ok(())
            }
            Self::Stream(stream) => stream.go_to(position, text),
            Self::Fixed(_) => Ok(()),
        }
    }

    /// What all ranks left out so far, by reason.
    pub fn skipped(&self, world: &World) -> Result<Counts> {
        let Self::Stream(stream) = self else { return Ok(Counts::new()) };
        let own = stream.skipped();
        if world.size() == 1 {
            return Ok(own);
        }
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

/// A data set in memory.
pub struct MemoryFeed {
    data: Rc<Dataset>,
    order: Order,
    /// Tokens (N, h, w) and text bytes (N, L) of the whole data set, worked out once.
    known: Option<(Tensor, Tensor)>,
}

impl MemoryFeed {
    fn images(&mut self, rows: Rows) -> (Tensor, Vec<String>) {
        let picks = self.picks(rows);
        (self.data.images(&picks), self.data.captions(&picks))
    }

    /// Chosen by libtorch's generator.
    fn some(&self, count: usize) -> Result<Tensor> {
        let all = Tensor::randperm(self.data.len() as i64, (Kind::Int64, Device::Cpu));
        let picks = all.slice(0, 0, count as i64, 1);
        Ok(self.data.images(&Vec::<i64>::try_from(picks)?))
    }

    fn batch(&mut self, nets: &Networks, rows: Rows, images: bool) -> Batch {
        let picks = self.picks(rows);
        let (tokens, ids) = self.known.get_or_insert_with(|| known(&self.data, nets));
        let index = Tensor::from_slice(&picks).to_device(nets.device);
        Batch {
            tokens: tokens.index_select(0, &index),
            ids: ids.index_select(0, &index),
            text: None,
            captions: self.data.captions(&picks),
            images: images.then(|| self.data.images(&picks)),
        }
    }

    fn picks(&mut self, rows: Rows) -> Vec<i64> {
        let all = self.order.next(rows.of);
        all[rows.first..rows.first + rows.count].to_vec()
    }
}

fn known(data: &Dataset, nets: &Networks) -> (Tensor, Tensor) {
    let everything: Vec<i64> = (0..data.len() as i64).collect();
    let captions = data.captions(&everything);
    (nets.encode_all(&data.images), batch_tokens(&captions, nets.config.text.length, nets.device).0)
}
