//! WebDataset shards: `.tar` and `.tar.gz` files in which the files of a sample follow each other and share a key.
//!
//! Files are `KEY.webp`, `KEY.txt`, `KEY.json`, as LAION's tools write them. A thread reads ahead of the decoders.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SendError, SyncSender, sync_channel};
use std::time::Duration;

use super::groups::Groups;
use super::members::Bytes;
use super::parts::{Content, Parts, parts};
use super::stream::{Patience, ShardSource};
use super::{Broken, Item, Picture, Record, paths};
use crate::{Error, Result};

pub use super::json::Json;

/// Number of samples read ahead.
const AHEAD: usize = 64;

/// The files that a shard holds under one key, not decoded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawSample {
    /// Path inside the shard, up to the first dot of the file name.
    pub key: String,
    /// Bytes of the picture file.
    pub image: Vec<u8>,
    /// White space in it is single blanks.
    pub txt: Option<String>,
    pub json: Option<BTreeMap<String, Json>>,
}

/// The samples of one shard in order. A broken sample is an `Err` in between. A shard that ends early yields one final
/// `Err` after the samples that could be read.
pub struct ShardReader {
    samples: Receiver<std::result::Result<RawSample, Broken>>,
}

impl ShardReader {
    /// Opens a shard. Gzip is detected by content, not by name.
    ///
    /// Errors: the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let place = path.display().to_string();
        let bytes = paths::open(path)
            .map_err(|e| Error::data(format!("cannot open the shard: {e}"), place.clone(), ""))?;
        Ok(Self::of(bytes, place))
    }

    fn of(bytes: Bytes, place: String) -> Self {
        let (sender, samples) = sync_channel(AHEAD);
        std::thread::spawn(move || walk(bytes, &place, &sender));
        Self { samples }
    }
}

impl Iterator for ShardReader {
    type Item = std::result::Result<RawSample, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        self.samples.recv().ok()
    }
}

/// The reading thread: bytes in, samples out, until nobody wants more.
fn walk(
    bytes: Bytes,
    place: &str,
    sender: &SyncSender<std::result::Result<RawSample, Broken>>,
) -> std::result::Result<(), SendError<std::result::Result<RawSample, Broken>>> {
    for group in Groups::new(bytes) {
        let sample = match group {
            Ok(group) => {
                let place = format!("{place}, `{}`", group.key);
                parts(group, false).map(raw).map_err(|refusal| refusal.at(place))
            }
            Err(cut) => {
                Err(Broken { place: place.to_string(), reason: cut.reason, detail: cut.detail })
            }
        };
        sender.send(sample)?;
    }
    Ok(())
}

fn raw(parts: Parts) -> RawSample {
    let Parts { key, content, txt, json } = parts;
    let (Content::Picture(image) | Content::Known(image)) = content;
    RawSample { key, image, txt, json }
}

/// All samples of several shards, in order. A shard that cannot be opened yields one broken item.
pub(super) fn items(
    shards: Vec<ShardSource>,
) -> impl Iterator<Item = std::result::Result<Item, Broken>> {
    let patience = Patience { retries: 5, silence: Duration::from_secs(30), stop: Arc::default() };
    shards.into_iter().flat_map(move |shard| {
        let place = shard.to_string();
        let (reader, broken) = match shard.open(&patience) {
            Ok(bytes) => (Some(ShardReader::of(bytes, place.clone())), None),
            Err(e) => {
                let reason = "the shard cannot be opened".into();
                (None, Some(Err(Broken { place: place.clone(), reason, detail: e.to_string() })))
            }
        };
        let samples = reader.into_iter().flatten();
        broken.into_iter().chain(samples.map(move |sample| item(sample?, &place)))
    })
}

/// Converts a sample. The caption is the `.txt`, else the json's `caption`, with runs of white space as single blanks.
fn item(sample: RawSample, shard: &str) -> std::result::Result<Item, Broken> {
    let RawSample { key, image, txt, json } = sample;
    let place = format!("{shard}, `{key}`");
    let parts = Parts { key, content: Content::Picture(Vec::new()), txt, json };
    let caption = parts.caption().map_err(|refusal| refusal.at(place.clone()))?;
    let [name, style, group, split] =
        ["name", "style", "group", "split"].map(|name| parts.field(name));
    let others = parts.others(&caption);
    let record = Record { key: parts.key, caption, others, name, style, group, split };
    Ok(Item { place, record, picture: Picture::File(image) })
}
