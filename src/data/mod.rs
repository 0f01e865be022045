//! Captioned pictures: `DataConfig` -> `Dataset` { images, records }.
//!
//! A data set is held in memory as one tensor of bytes. Items that cannot be read are left out, counted and named.

pub mod assets;
pub mod augment;
mod braces;
mod collect;
mod dice;
pub mod folder;
mod groups;
mod gzip;
pub(crate) mod hash;
pub mod idx;
mod json;
pub mod laion;
mod look;
mod mark;
mod members;
pub mod order;
mod parts;
mod paths;
pub mod scenes;
pub mod shards;
pub mod stream;
mod text;
mod threads;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use ron_faults::{Checks, Fault};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::{Error, Result};
use augment::AugmentConfig;
use collect::Collector;
use scenes::ScenesConfig;
use stream::StreamConfig;

pub use mark::DataMark;
pub use paths::{home, is_remote, is_there, shard_list};
pub use text::{caption, read_caption, tidy};

/// File extensions of pictures, in lower case.
const PICTURES: [&str; 17] = [
    "png", "apng", "webp", "jpg", "jpeg", "jpe", "jfif", "jif", "pjpeg", "pjp", "gif", "bmp",
    "dib", "ppm", "pgm", "pbm", "pnm",
];
/// File extensions of pictures that have no decoder here. Such a file may still hold a format that has one.
const OTHER_PICTURES: [&str; 23] = [
    "tif", "tiff", "avif", "heic", "heif", "hif", "jxl", "jp2", "j2k", "svg", "ico", "tga", "qoi",
    "exr", "hdr", "dds", "psd", "dng", "cr2", "nef", "arw", "pam", "ff",
];

/// Which pictures to use, and their size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    pub source: Source,
    /// Side in pixels, 1..=4096. Pictures are cropped to a square and resized.
    pub size: i64,
    /// Use only these groups, such as `food-drink`. Empty means all.
    pub groups: Vec<String>,
    /// Use only these styles, such as `3d`. Empty means all.
    pub styles: Vec<String>,
    /// Use only the first `limit` pictures that pass the filters; at least 1.
    pub limit: Option<usize>,
    /// What happens to pictures in training; those of sessions and scores stay as they are.
    pub augment: AugmentConfig,
    /// Train on a stream of shards instead. Then the fields above, except `size`, select the pictures for sessions and
    /// scores.
    pub stream: Option<StreamConfig>,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            source: Source::Emoji,
            size: 64,
            groups: vec![],
            styles: vec![],
            limit: None,
            augment: AugmentConfig::default(),
            stream: None,
        }
    }
}

/// Where pictures come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Source {
    /// Shipped data: 4,358 emoji, 64x64, in the styles `3d`, `noto` and `flat`.
    Emoji,
    /// Shipped data: 6,000 pictures of Fashion-MNIST, 28x28 grey. At size 32 they get a black frame.
    Fashion,
    /// WebDataset shards, `.tar` or `.tar.gz`, named as in `StreamConfig::shards`: files, commands, addresses.
    Shards { train: Vec<String>, val: Vec<String> },
    /// The folder of Fashion-MNIST's four IDX files, plain or `.gz`. Framed as `Fashion`.
    Idx(PathBuf),
    /// A folder of pictures with `.txt` files of the same name; 1 in 20 is for validation. `~` is the home folder.
    Folder(PathBuf),
    /// Made up by number as they are asked for: one to three shapes on flat ground. Training sees new ones at every step.
    Scenes(ScenesConfig),
}

/// Part of the train/validation split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Train,
    Val,
}

/// Metadata of a picture. Unknown fields are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Unique in its shard, folder or file.
    pub key: String,
    pub caption: String,
    /// Captions that training may use instead, see [`AugmentConfig::tags`].
    #[serde(skip)]
    pub others: Vec<String>,
    /// The concept or class: `red apple`, `ankle boot`.
    pub name: String,
    pub style: String,
    pub group: String,
    /// `train` or `val`. The emoji also have `val-style` and `val-concept`.
    pub split: String,
}

/// Captioned pictures in memory. Picture `i` has record `i`.
#[derive(Debug)]
pub struct Dataset {
    /// (N, 3, S, S) u8, CPU.
    pub images: Tensor,
    pub records: Vec<Record>,
    pub skipped: Skipped,
}

/// Items that could not be read. Items rejected by a filter are not counted here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Reason -> count.
    pub reasons: BTreeMap<String, usize>,
    /// (place, reason with details), in reading order.
    pub names: Vec<(String, String)>,
}

/// An item that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// File, or shard and key.
    pub place: String,
    /// A short reason, the same for all items of one kind.
    pub reason: String,
    /// Details of this item; may be empty.
    pub detail: String,
}

/// `a.tar, `0`: no caption`.
impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colon = if self.detail.is_empty() { "" } else { ": " };
        write!(f, "{}: {}{colon}{}", self.place, self.reason, self.detail)
    }
}

/// Why something is left out: a short reason, the same for all items of one kind, and the details of this one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusal {
    reason: String,
    detail: String,
}

impl From<&str> for Refusal {
    fn from(reason: &str) -> Self {
        Self { reason: reason.into(), detail: String::new() }
    }
}

impl Refusal {
    /// Of an error of `crate::image::decode`.
    fn undecodable(error: &Error) -> Self {
        let what = error.faults().first().map_or("", |fault| fault.what.as_str());
        let detail = what.trim_start_matches("the picture cannot be decoded: ");
        if detail.starts_with("no decoder for") {
            return detail.into();
        }
        Self { reason: "the picture cannot be decoded".into(), detail: detail.into() }
    }

    fn at(self, place: String) -> Broken {
        Broken { place, reason: self.reason, detail: self.detail }
    }
}

/// A picture before it is decoded into a data set.
struct Item {
    place: String,
    record: Record,
    picture: Picture,
}

enum Picture {
    /// The bytes of an encoded picture file.
    File(Vec<u8>),
    /// The path of a picture file.
    Path(PathBuf),
    /// Width and height, then one byte per pixel, row by row.
    Grey(u32, u32, Vec<u8>),
}

type Items = Box<dyn Iterator<Item = std::result::Result<Item, Broken>>>;

impl Dataset {
    /// Reads one part of a data set: filter, decode, crop, resize.
    ///
    /// Errors: a source that does not exist; a size or limit out of range; no picture left, either by the filter (with
    ///         the known groups and styles) or because all are broken (with the first reasons).
    pub fn open(config: &DataConfig, part: Part) -> Result<Self> {
        Self::open_where(config, part, |_| true)
    }

    /// As [`Dataset::open`], with an additional filter. Pictures that do not pass it are not decoded.
    pub fn open_where(
        config: &DataConfig,
        part: Part,
        keep: impl Fn(&Record) -> bool,
    ) -> Result<Self> {
        let mut found = Checks::default();
        found.part("data", config.check());
        match found.faults() {
            faults if faults.is_empty() => {}
            faults => return Err(Error::Config(faults)),
        }
        if let Source::Scenes(scenes) = &config.source {
            let wanted = |list: &[String], value: &String| list.is_empty() || list.contains(value);
            return scenes::dataset(scenes, part, config.size, config.limit, |record| {
                wanted(&config.groups, &record.group)
                    && wanted(&config.styles, &record.style)
                    && keep(record)
            });
        }
        let mut collector = Collector::new(config, &keep);
        for item in config.source.items(part)? {
            match item {
                Ok(item) => collector.push(item),
                Err(broken) => collector.skipped.add(broken),
            }
            if collector.is_full() {
                break;
            }
        }
        collector.finish()
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// indices 0..len -> (B, 3, S, S) f32 in 0..=1, CPU.
    pub fn images(&self, indices: &[i64]) -> Tensor {
        self.bytes(indices).to_kind(Kind::Float) / 255.0
    }

    /// indices 0..len -> (B, 3, S, S) u8, CPU.
    pub fn bytes(&self, indices: &[i64]) -> Tensor {
        self.images.index_select(0, &Tensor::from_slice(indices))
    }

    /// indices 0..len -> their captions.
    pub fn captions(&self, indices: &[i64]) -> Vec<String> {
        indices.iter().map(|&i| self.records[i as usize].caption.clone()).collect()
    }

    /// The first picture with this caption, else with this name, else whose caption starts with it. Ignores case.
    pub fn find(&self, caption_prefix: &str) -> Option<usize> {
        let wanted = tidy(caption_prefix).to_lowercase();
        let first = |fits: &dyn Fn(&Record) -> bool| self.records.iter().position(fits);
        if wanted.is_empty() {
            return None;
        }
        first(&|r| r.caption.to_lowercase() == wanted)
            .or_else(|| first(&|r| r.name.to_lowercase() == wanted))
            .or_else(|| first(&|r| r.caption.to_lowercase().starts_with(&wanted)))
    }
}

impl DataConfig {
    /// Whether training reads a stream or scenes, not a data set in memory.
    pub fn is_endless(&self) -> bool {
        self.stream.is_some() || self.has_scenes()
    }

    /// Whether training sees scenes.
    pub fn has_scenes(&self) -> bool {
        self.stream.is_none() && matches!(self.source, Source::Scenes(_))
    }

    /// Whether pictures become tokens in every step of the denoiser's training, not once before the first.
    pub fn is_encoded_every_step(&self) -> bool {
        self.is_endless() || !self.augment.keeps_pictures()
    }

    /// Everything that is wrong though well formed; `stream` apart, which has its own check.
    pub fn check(&self) -> Vec<Fault> {
        let mut found = Checks::default();
        found.within("size", self.size, 1, 4096);
        found.unless(self.limit != Some(0), "limit", "no pictures", "at least 1, or None");
        found.part("augment", self.augment.check(self.size));
        if let Source::Scenes(scenes) = &self.source {
            found.part("source", scenes.check());
        }
        let what = "no step sees a picture of scenes twice: there is nothing to change";
        let idle = self.has_scenes() && !self.augment.is_off();
        found.unless(!idle, "augment", what, "leave `augment` out, or set its numbers to 0");
        found.faults()
    }
}

impl Source {
    fn items(&self, part: Part) -> Result<Items> {
        match self {
            Self::Emoji => shipped("emoji", part),
            Self::Fashion => shipped("fashion", part),
            Self::Shards { train, val } => {
                let (patterns, name) = match part {
                    Part::Train => (train, "train"),
                    Part::Val => (val, "val"),
                };
                Ok(Box::new(shards::items(stream::present(patterns, name)?)))
            }
            Self::Idx(folder) => idx::items(&paths::home(folder), part),
            Self::Folder(folder) => folder::items(&paths::home(folder), part),
            Self::Scenes(_) => Ok(Box::new(std::iter::empty())), // they are drawn, not decoded
        }
    }

    /// Whether a 28x28 picture at size 32 gets a black frame instead of being resized.
    fn is_framed(&self) -> bool {
        matches!(self, Self::Fashion | Self::Idx(_))
    }
}

/// The shipped shards of one part. The training part has only records of the split `train`.
fn shipped(name: &str, part: Part) -> Result<Items> {
    let word = if part == Part::Train { "train" } else { "val" };
    let folder = assets::assets_dir()?.join(name);
    let pattern = folder.join(format!("{name}-{word}-*.tar.gz")).display().to_string();
    let items = shards::items(stream::present(&[pattern], word)?);
    Ok(Box::new(items.filter(move |item| match item {
        Ok(item) => (item.record.split == "train") == (part == Part::Train),
        Err(_) => true,
    })))
}

impl Skipped {
    /// Total count over all reasons.
    pub fn total(&self) -> usize {
        self.reasons.values().sum()
    }

    fn add(&mut self, broken: Broken) {
        *self.reasons.entry(broken.reason.clone()).or_default() += 1;
        let colon = if broken.detail.is_empty() { "" } else { ": " };
        self.names.push((broken.place, format!("{}{colon}{}", broken.reason, broken.detail)));
    }
}

/// `3 skipped: 2 no caption, 1 the json cannot be read`. Empty if nothing was skipped.
impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reasons: Vec<String> =
            self.reasons.iter().map(|(why, n)| format!("{n} {why}")).collect();
        if reasons.is_empty() {
            Ok(())
        } else {
            write!(f, "{} skipped: {}", self.total(), reasons.join(", "))
        }
    }
}
