//! A short mark of the data that a run reads. A run that goes on compares it: other data are no longer its own.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::Dataset;
use super::hash::hash;
use super::stream::{ShardSource, StreamConfig};

/// Bytes of each picture that count.
const BYTES: i64 = 64;

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
    /// A mark of its keys, captions and pictures. Of each picture some bytes count, so that it takes no time.
    pub fn mark(&self) -> DataMark {
        let n = self.len() as i64;
        let some = sampled(&self.images.view([n, -1])); // (N, 3 S S)
        let words = self.records.iter().flat_map(|r| [r.key.bytes(), r.caption.bytes()]);
        // a byte that no text has keeps the words apart
        DataMark::of(self.len(), words.flat_map(|word| word.chain([0xff])).chain(some))
    }
}

/// Some bytes of each picture, from all over it: (N, 3 S S) u8.
fn sampled(pictures: &Tensor) -> Vec<u8> {
    let all = pictures.size()[1];
    // odd: an even stride of a picture whose side is a power of two would go down a single column
    let stride = (all / BYTES).max(1) | 1;
    let some = pictures.slice(1, 0, all, stride).contiguous().view([-1]);
    Vec::<u8>::try_from(some.to_kind(Kind::Uint8)).unwrap_or_default()
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
    fn pictures_of_any_size_with_one_border_and_other_middles_differ() {
        for side in [28, 32, 64, 96, 128, 256] {
            let plain = Tensor::zeros([1, 3, side, side], (Kind::Uint8, Device::Cpu));
            let other = plain.copy();
            let quarter = |dim, xs: &Tensor| xs.narrow(dim, side / 4, side / 2);
            let _ = quarter(3, &quarter(2, &other)).fill_(9);
            assert_ne!(sampled(&plain.view([1, -1])), sampled(&other.view([1, -1])), "{side}");
        }
    }
}
