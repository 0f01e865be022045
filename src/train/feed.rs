//! Where the pictures of a step come from: a data set in memory, of which every rank takes its rows.
//!
//! Letters: B pictures of a global batch, b rows of one rank, N pictures of the data set, h x w tokens, L bytes.

use crate::data::{Dataset, order::Order};
use crate::dist::World;
use crate::error::Result;
use crate::networks::Networks;
use crate::tokens::text::batch_tokens;
use std::rc::Rc;
use tch::{Device, Kind, Tensor};

/// The rows of a global batch that one rank works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    pub first: usize,
    pub count: usize,
    /// Rows of all ranks together, B.
    pub of: usize,
}

impl Rows {
    /// An even share of `batch` rows; the caller has seen that it comes out even.
    pub fn of_rank(world: &World, batch: usize) -> Self {
        let count = batch / world.size();
        Self { first: world.rank() * count, count, of: batch }
    }
}

/// One rank's rows, as the denoiser wants them.
pub struct Batch {
    /// (b, h, w) i64.
    pub tokens: Tensor,
    /// Bytes of the captions (b, L) i64.
    pub ids: Tensor,
    pub captions: Vec<String>,
    /// (b, 3, S, S) f32 in 0..=1; only when they were asked for.
    pub images: Option<Tensor>,
}

impl Batch {
    /// `n` rows from row `first` on.
    pub fn rows(&self, first: usize, n: usize) -> Self {
        let some = |xs: &Tensor| xs.narrow(0, first as i64, n as i64);
        Self {
            tokens: some(&self.tokens),
            ids: some(&self.ids),
            captions: self.captions[first..first + n].to_vec(),
            images: self.images.as_ref().map(some),
        }
    }
}

pub struct Feed {
    data: Rc<Dataset>,
    order: Order,
    /// Tokens (N, h, w) and text bytes (N, L) of the whole data set, worked out once.
    known: Option<(Tensor, Tensor)>,
}

impl Feed {
    /// Endless epochs over a data set in memory, each in an order of its own.
    pub fn memory(data: Rc<Dataset>, seed: u64) -> Result<Self> {
        Ok(Self { order: Order::new(data.len(), seed)?, data, known: None })
    }

    /// The next pictures (b, 3, S, S) f32 in 0..=1 on the CPU, and their captions.
    pub fn images(&mut self, rows: Rows) -> Result<(Tensor, Vec<String>)> {
        let picks = self.picks(rows);
        Ok((self.data.images(&picks), self.data.captions(&picks)))
    }

    /// About `count` pictures from anywhere (n, 3, S, S), chosen by libtorch's generator; the order goes on as before.
    pub fn some(&self, count: usize) -> Result<Tensor> {
        let all = Tensor::randperm(self.data.len() as i64, (Kind::Int64, Device::Cpu));
        let picks = all.slice(0, 0, count as i64, 1);
        Ok(self.data.images(&Vec::<i64>::try_from(picks)?))
    }

    /// The next batch; `images` asks for the pictures themselves as well.
    pub fn batch(&mut self, nets: &Networks, rows: Rows, images: bool) -> Result<Batch> {
        let picks = self.picks(rows);
        let (tokens, ids) = self.known.get_or_insert_with(|| known(&self.data, nets));
        let index = Tensor::from_slice(&picks).to_device(nets.device);
        Ok(Batch {
            tokens: tokens.index_select(0, &index),
            ids: ids.index_select(0, &index),
            captions: self.data.captions(&picks),
            images: images.then(|| self.data.images(&picks)),
        })
    }

    fn picks(&mut self, rows: Rows) -> Vec<i64> {
        let all = self.order.next(rows.of);
        all[rows.first..rows.first + rows.count].to_vec()
    }

    /// Pictures drawn from the data so far, by all ranks.
    pub fn position(&self) -> u64 {
        self.order.position()
    }

    pub fn go_to(&mut self, position: u64) {
        self.order.go_to(position);
    }
}

fn known(data: &Dataset, nets: &Networks) -> (Tensor, Tensor) {
    let everything: Vec<i64> = (0..data.len() as i64).collect();
    let captions = data.captions(&everything);
    (nets.encode_all(&data.images), batch_tokens(&captions, nets.config.text.length, nets.device).0)
}
