//! Builds a data set from items: filter, decode in threads, one block of bytes.

use std::collections::BTreeSet;

use image::{GrayImage, Luma, RgbImage};
use tch::Tensor;

use super::threads::{processors, side_by_side};
use super::{DataConfig, Dataset, Item, Picture, Record, Refusal, Skipped};
use crate::{Error, Result};

/// Number of items decoded at once. Bounds the memory of encoded pictures.
const BATCH: usize = 512;
const THREADS: usize = 8;

/// Collects items in order.
pub(super) struct Collector<'a> {
    config: &'a DataConfig,
    keep: &'a dyn Fn(&Record) -> bool,
    /// Accepted items that are not decoded yet.
    pending: Vec<Item>,
    /// Decoded pixels: (N, 3, S, S).
    pixels: Vec<u8>,
    records: Vec<Record>,
    pub(super) skipped: Skipped,
    groups: BTreeSet<String>,
    styles: BTreeSet<String>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(config: &'a DataConfig, keep: &'a dyn Fn(&Record) -> bool) -> Self {
        let (pending, pixels, records) = Default::default();
        let (skipped, groups, styles) = Default::default();
        Self { config, keep, pending, pixels, records, skipped, groups, styles }
    }

    /// Adds an item if it passes the filters.
    pub(super) fn push(&mut self, item: Item) {
        let Record { group, style, .. } = &item.record;
        remember(&mut self.groups, group);
        remember(&mut self.styles, style);
        let wanted = |list: &[String], value| list.is_empty() || list.contains(value);
        let wanted = wanted(&self.config.groups, group) && wanted(&self.config.styles, style);
        if wanted && (self.keep)(&item.record) && !self.is_full() {
            self.pending.push(item);
        }
        if self.pending.len() >= self.room() {
            self.decode();
        }
    }

    /// Whether the limit is reached.
    pub(super) fn is_full(&self) -> bool {
        self.config.limit == Some(self.records.len())
    }

    /// Number of items to decode at once, at most what the limit leaves.
    fn room(&self) -> usize {
        self.config.limit.map_or(BATCH, |limit| BATCH.min(limit - self.records.len())).max(1)
    }

    /// Decodes the pending items in threads. The order is kept.
    fn decode(&mut self) {
        let items = std::mem::take(&mut self.pending);
        let (size, framed) = (self.config.size as u32, self.config.source.is_framed());
        let decoded = side_by_side(&items, processors().min(THREADS), |item| {
            picture(&item.picture, size, framed)
        });
        for (item, pixels) in items.into_iter().zip(decoded) {
            match pixels {
                Ok(pixels) => {
                    self.pixels.extend(pixels);
                    self.records.push(item.record);
                }
                Err(e) => self.skipped.add(Refusal::undecodable(&e).at(item.place)),
            }
        }
    }

    /// The finished data set.
    ///
    /// Errors: no picture is left.
    pub(super) fn finish(mut self) -> Result<Dataset> {
        self.decode();
        if self.records.is_empty() {
            return Err(self.nothing());
        }
        let shape = [self.records.len() as i64, 3, self.config.size, self.config.size];
        let images = Tensor::from_slice(&self.pixels).view(shape);
        Ok(Dataset { images, records: self.records, skipped: self.skipped })
    }

    fn nothing(&self) -> Error {
        let Self { config, groups, styles, skipped, .. } = self;
        let place = format!("{:?}", config.source);
        if skipped.total() > 0 {
            let first =
                skipped.names.iter().take(3).map(|(place, why)| format!("\n    {place}: {why}"));
            let what = format!("no picture can be read; {skipped}{}", first.collect::<String>());
            return Error::data(what, place, "see what is wrong with the first ones");
        }
        if groups.is_empty()
            && styles.is_empty()
            && config.groups.is_empty()
            && config.styles.is_empty()
        {
            let hint = "a folder of pictures with a .txt of the same name beside each, or .tar shards of them";
            return Error::data("there are no pictures", place, hint);
        }
        let filter =
            format!("groups [{}], styles [{}]", config.groups.join(", "), config.styles.join(", "));
        let hint = format!("groups there are: {}; styles: {}", listed(groups), listed(styles));
        Error::data(format!("no picture passes the filter: {filter}"), place, hint)
    }
}

fn remember(set: &mut BTreeSet<String>, value: &str) {
    if !value.is_empty() && !set.contains(value) {
        set.insert(value.to_string());
    }
}

fn listed(names: &BTreeSet<String>) -> String {
    if names.is_empty() { "none".into() } else { Vec::from_iter(names.iter().cloned()).join(", ") }
}

/// Decodes and resizes one picture -> its (3, S, S) bytes.
fn picture(picture: &Picture, size: u32, framed: bool) -> Result<Vec<u8>> {
    let img = match picture {
        Picture::File(bytes) => crate::image::decode(bytes)?,
        Picture::Path(path) => crate::image::load(path)?,
        Picture::Grey(w, h, pixels) => grey(*w, *h, pixels)?,
    };
    let img = match framed && img.dimensions() == (28, 28) && size == 32 {
        true => frame(&img),
        false => crate::image::fit(&img, size),
    };
    let channel = |c: usize| img.as_raw().iter().skip(c).step_by(3).copied();
    Ok(channel(0).chain(channel(1)).chain(channel(2)).collect())
}

fn grey(w: u32, h: u32, pixels: &[u8]) -> Result<RgbImage> {
    let img = GrayImage::from_raw(w, h, pixels.to_vec());
    let img = img.ok_or_else(|| Error::data("fewer pixels than the header says", "", ""))?;
    Ok(RgbImage::from_fn(w, h, |x, y| {
        let Luma([value]) = *img.get_pixel(x, y);
        image::Rgb([value; 3])
    }))
}

/// 28x28 -> 32x32: two black pixels on every side.
fn frame(img: &RgbImage) -> RgbImage {
    let mut framed = RgbImage::new(32, 32);
    image::imageops::replace(&mut framed, img, 2, 2);
    framed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_black_and_keeps_every_pixel() {
        let white = RgbImage::from_pixel(28, 28, image::Rgb([255; 3]));
        let framed = frame(&white);
        assert_eq!(framed.pixels().filter(|p| p.0 == [255; 3]).count(), 28 * 28);
        assert_eq!((framed.get_pixel(1, 1).0, framed.get_pixel(2, 2).0), ([0; 3], [255; 3]));
    }

    #[test]
    fn bytes_are_channel_by_channel() {
        let grey = Picture::Grey(2, 2, vec![1, 2, 3, 4]);
        assert_eq!(picture(&grey, 2, true).expect("whole"), [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4]);
        assert!(picture(&Picture::Grey(2, 2, vec![1]), 2, true).is_err());
    }
}
