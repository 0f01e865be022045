//! A short mark of the data that a run reads. A run that goes on compares it: other data are no longer its own.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::Dataset;
use super::hash::hash;
use super::stream::{ShardSource, StreamConfig};

/// The number of pictures, or shards, of a run, and a hash of what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataMark {
    pub count: u64,
    pub hash: u64,
}

impl DataMark {
    fn of(count: usize, bytes: impl Iterator<Item = u8>) -> Self {
        Self { count: count as u64, hash: hash(bytes) }
    }

    /// What has changed since `before`. None: nothing. `one`: what is counted.
    pub fn changed(self, before: Self, one: &str) -> Option<String> {
        let what = match (self.count == before.count, self == before) {
            (_, true) => return None,
            (false, _) => format!("{} {one}s then, {} now", before.count, self.count),
            (true, _) => format!("{} {one}s as then, but not the same ones", self.count),
        };
        Some(format!(
            "the data have changed since the checkpoint: {what}; the run goes on with those that are there now"
        ))
    }
}

impl Dataset {
    /// A mark of its keys, captions and pictures.
    pub fn mark(&self) -> DataMark {
        let words = self.records.iter().flat_map(|r| [r.key.bytes(), r.caption.bytes()]);
        // a byte that no text has keeps the words apart
        let words = words.flat_map(|word| word.chain([0xff]));
        DataMark::of(self.len(), words.chain(bytes(&self.images)))
    }
}

/// The bytes of pictures (N, 3, S, S) u8, one picture after the other.
fn bytes(pictures: &Tensor) -> impl Iterator<Item = u8> {
    let one = |i| Vec::<u8>::try_from(pictures.get(i).reshape([-1])).unwrap_or_default();
    (0..pictures.size()[0]).flat_map(one)
}

impl StreamConfig {
    /// A mark of the names and sizes of its shards. None if some are no files: to ask for their sizes takes long.
    pub fn mark(&self) -> Option<DataMark> {
        let shards = self.sources().ok()?;
        let mut bytes = Vec::new();
        for shard in &shards {
            let ShardSource::File(path) = shard else { return None };
            bytes.extend(path.file_name()?.to_string_lossy().bytes());
            let size = std::fs::metadata(path).map_or(u64::MAX, |data| data.len());
            bytes.extend(size.to_le_bytes());
        }
        Some(DataMark::of(shards.len(), bytes.into_iter()))
    }
}
