//! A short mark of the data that a run reads. A run that goes on compares it: other data are no longer its own.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

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
        let some = row_sums(&self.images).into_iter().flat_map(i64::to_le_bytes);
        let words = self.records.iter().flat_map(|r| [r.key.bytes(), r.caption.bytes()]);
        // a byte that no text has keeps the words apart
        DataMark::of(self.len(), words.flat_map(|word| word.chain([0xff])).chain(some))
    }
}

/// The sum of each row of each picture (N, 3, S, S): 0.7 s for ten thousand pictures of 64 pixels.
fn row_sums(pictures: &Tensor) -> Vec<i64> {
    let sums = pictures.sum_dim_intlist([3i64].as_slice(), false, Kind::Int64).reshape([-1]); // (N 3 S)
    Vec::try_from(sums).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn one_dot_anywhere_changes_the_sums() {
        for side in [28, 32, 64, 96, 128, 256] {
            let plain = Tensor::zeros([1, 3, side, side], (Kind::Uint8, Device::Cpu));
            let other = plain.copy();
            let _ = other.narrow(2, side / 2, 1).narrow(3, side / 3, 1).fill_(1);
            assert_ne!(row_sums(&plain), row_sums(&other), "{side}");
        }
    }
}
