//! Speed of what stands around the denoiser: pictures to tokens and back, texts to vectors, and the reading of pictures.
//!
//! Letters: B pictures or texts, h x w tokens, S pixels of a side, L bytes.

use super::{Bench, median};
use crate::config::RunConfig;
use crate::data::stream::{Counts, Rows, Stream, Want};
use crate::device::wait;
use crate::error::{Error, Result};
use crate::model::init::VarBuilder;
use crate::tokens::text::{TextConfig, TextEncoder};
use crate::torch::precision::peak_memory;
use serde::{Deserialize, Serialize};
use std::time::Instant;
use tch::{Device, Kind, Tensor, nn};

/// Work of the tokenizer or of the text encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BenchPiece {
    /// Pictures -> tokens.
    Encode,
    /// Tokens -> pictures.
    Decode,
    /// Texts -> vectors.
    Text,
}

/// Time of one batch of a piece.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PieceSpeed {
    pub piece: BenchPiece,
    pub batch: i64,
    pub each_ms: Vec<f64>,
    pub ms: f64,
    pub ms_per_picture: f64,
    pub memory: Option<u64>,
}

/// A text encoder of full size.
pub(super) struct FullText {
    encoder: TextEncoder,
    _vars: nn::VarStore, // owns the weights
}

impl FullText {
    pub(super) fn new(config: &TextConfig, device: Device) -> Self {
        let vars = nn::VarStore::new(device);
        let encoder = TextEncoder::new(&VarBuilder::root(&vars), config);
        encoder.store_in_bf16(&vars);
        Self { encoder, _vars: vars }
    }
}

impl BenchPiece {
    /// The piece of this name, as it is written in JSON.
    pub fn named(name: &str) -> Option<Self> {
        serde_json::from_value(name.into()).ok()
    }
}

impl Bench {
    /// `times` batches of `batch` pictures or texts, after one that is not counted. A text has `text.length` bytes, or as
    /// many as the config's captions.
    pub fn piece(&mut self, piece: BenchPiece, batch: i64, times: usize) -> PieceSpeed {
        let device = self.nets.device;
        let side = self.nets.config.data.size;
        let input = match piece {
            BenchPiece::Encode => Tensor::rand([batch, 3, side, side], (Kind::Float, device)),
            BenchPiece::Decode => self.tokens(batch),
            BenchPiece::Text => {
                Tensor::randint_low(3, 259, [batch, self.bytes], (Kind::Int64, device))
            }
        };
        let mut each_ms = Vec::new();
        for round in 0..=times.max(1) {
            let start = Instant::now();
            drop(self.once(piece, &input));
            wait(device);
            match round {
                0 => drop(peak_memory(device)), // a peak counts from here
                _ => each_ms.push(1e3 * start.elapsed().as_secs_f64()),
            }
        }
        let ms = median(&each_ms);
        let memory = peak_memory(device);
        PieceSpeed { piece, batch, each_ms, ms, ms_per_picture: ms / batch as f64, memory }
    }

    fn once(&mut self, piece: BenchPiece, input: &Tensor) -> Tensor {
        match piece {
            BenchPiece::Encode => self.nets.encode(input),
            BenchPiece::Decode => self.nets.decode(input),
            BenchPiece::Text => {
                let full = || FullText::new(&self.text_config, self.nets.device);
                let encoder = &self.text.get_or_insert_with(full).encoder;
                tch::no_grad(|| encoder.encode_ids(input))
            }
        }
    }
}

/// How fast the shards of a config are read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Loading {
    pub pictures: usize,
    pub threads: usize,
    pub seconds: f64,
    pub pictures_per_s: f64,
    /// Samples and shards left out, by reason.
    pub skipped: Counts,
}

/// Reads `pictures` pictures as training does (filter, decoding, crop), after one batch that is not counted: threads are
/// started, shards are open.
///
/// Errors: the config names no shards, since other data are read once at the start; the stream's own.
pub fn load(config: &RunConfig, pictures: usize) -> Result<Loading> {
    let shards = config.data.stream.as_ref().ok_or_else(|| {
        let hint = "a config with `stream: Some((shards: [\"x-{000..127}.tar\"]))`";
        Error::command("only shards are read during training", "`data.stream`", hint)
    })?;
    let count = config.train.global_batch;
    let rows = Rows { first: 0, count, of: count };
    let mut stream = Stream::open(shards, config.seed, config.data.size, Want::Pictures)?;
    stream.next(rows)?;
    let (start, mut read) = (Instant::now(), 0);
    while read < pictures {
        read += stream.next(rows)?.len();
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(Loading {
        pictures: read,
        threads: shards.threads,
        seconds,
        pictures_per_s: read as f64 / seconds,
        skipped: stream.skipped(),
    })
}
