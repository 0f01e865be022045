//! One sample: from its files, filtered and kept encoded, to pixels and a caption.

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::known::{self, Known};
use crate::data::Refusal;
use crate::data::groups::MemberGroup;
use crate::data::laion::LaionFilter;
use crate::data::parts::{Content, parts};
use crate::image::{decode, fit, fit_at, squeeze};

/// How a picture is made square.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Crop {
    /// A square with the shorter side, at a random place along the longer side, as in the reference.
    #[default]
    Random,
    /// The square in the middle.
    Center,
    /// The whole picture, squeezed.
    Resize,
}

/// What a reader needs from each sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The picture itself.
    Pictures,
    /// Precomputed tokens if the shard has them, else the picture.
    Tokens,
}

/// A sample that passed the filter and is not decoded yet.
#[derive(Debug)]
pub struct Packed {
    key: String,
    caption: String,
    others: Vec<String>,
    content: Content,
}

/// A sample ready for a batch.
#[derive(Debug)]
pub struct ShardSample {
    pub key: String,
    pub caption: String,
    /// Captions that training may use instead.
    pub others: Vec<String>,
    pub content: Decoded,
}

/// The decoded content of a sample.
#[derive(Debug)]
pub enum Decoded {
    /// (3, S, S) bytes, one channel after the other.
    Pixels(Vec<u8>),
    Known(Known),
}

/// A short reason for leaving out a sample, the same for all samples of one kind.
pub type Reason = String;

/// Accepts or refuses the files of a key. The caption is the `.txt`, else the json's `caption`.
///
/// Errors: a file that is too large or no file; a rejection by the filter; no picture or several; a broken json; no
///         caption.
pub fn judge(
    group: MemberGroup,
    filter: Option<&LaionFilter>,
    want: Want,
) -> Result<Packed, Reason> {
    if let (Some(filter), None) = (filter, group.fault) {
        let member = |name: &str| {
            group.files.iter().rev().find(|(ending, _)| ending == name).map(|(_, bytes)| &bytes[..])
        };
        filter.check(member("json"), member("txt")).map_err(|why| why.to_string())?;
    }
    let parts = parts(group, want == Want::Tokens).map_err(|why| why.reason)?;
    let caption = parts.caption().map_err(|why| why.reason)?;
    let others = parts.others(&caption);
    Ok(Packed { key: parts.key, caption, others, content: parts.content })
}

impl Packed {
    /// Decodes, crops and resizes the picture. `place` (0 to below 1, across and down) is the position of a random
    /// square.
    ///
    /// Errors: the picture or the precomputed tensors cannot be decoded.
    pub fn unpack(self, size: u32, crop: Crop, place: (f64, f64)) -> Result<ShardSample, Reason> {
        let content = match self.content {
            Content::Known(bytes) => Decoded::Known(known::unpack(&bytes)?),
            Content::Picture(bytes) => {
                let img = decode(&bytes).map_err(|e| Refusal::undecodable(&e).reason)?;
                Decoded::Pixels(planes(&square(&img, size, crop, place)))
            }
        };
        Ok(ShardSample { key: self.key, caption: self.caption, others: self.others, content })
    }
}

fn square(img: &RgbImage, size: u32, crop: Crop, (x, y): (f64, f64)) -> RgbImage {
    let (w, h) = img.dimensions();
    let at = |room: u32, place: f64| ((f64::from(room) + 1.0) * place) as u32;
    match crop {
        Crop::Random => fit_at(img, size, (at(w - w.min(h), x), at(h - w.min(h), y))),
        Crop::Center => fit(img, size),
        Crop::Resize => squeeze(img, size),
    }
}

/// Interleaved RGB -> one channel after the other.
fn planes(img: &RgbImage) -> Vec<u8> {
    let channel = |c: usize| img.as_raw().iter().skip(c).step_by(3).copied();
    channel(0).chain(channel(1)).chain(channel(2)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (ending, bytes) of each file.
    type Files<'a> = &'a [(&'a str, &'a [u8])];

    fn group(files: Files) -> MemberGroup {
        let files = files.iter().map(|(ending, bytes)| (ending.to_string(), bytes.to_vec()));
        MemberGroup { key: "k".into(), files: files.collect(), ..MemberGroup::default() }
    }

    #[test]
    fn reasons_are_given_in_a_few_words() {
        let why = |files: Files| judge(group(files), None, Want::Pictures).err();
        assert_eq!(why(&[("png", b"1"), ("txt", b"a")]), None);
        assert_eq!(why(&[("png", b"1"), ("json", b"{\"caption\": \"a\", \"x\": NaN}")]), None);
        let refused: [(Files, &str); 6] = [
            (&[("txt", b"a")], "no picture"),
            (&[("png", b"1"), ("jpg", b"1"), ("txt", b"a")], "more than one picture"),
            (&[("png", b"1"), ("txt", b" ")], "no caption"),
            (&[("png", b"1"), ("json", b"{}")], "no caption"),
            (&[("png", b"1"), ("txt", b"a"), ("json", b"[1]")], "the json cannot be read"),
            (&[("png", b"1"), ("txt", b"\xff")], "the caption is not UTF-8"),
        ];
        for (files, reason) in refused {
            assert_eq!(why(files).as_deref(), Some(reason));
        }
        let only_tokens = group(&[("safetensors", b"1"), ("txt", b"a")]);
        assert!(judge(only_tokens, None, Want::Tokens).is_ok());
    }

    #[test]
    fn squares_lie_where_they_are_asked_to() {
        let wide = RgbImage::from_fn(30, 10, |x, _| image::Rgb([x as u8, 0, 0]));
        let left = |place| square(&wide, 10, Crop::Random, (place, 0.9)).get_pixel(0, 0).0[0];
        assert_eq!([left(0.0), left(0.5), left(0.999)], [0, 10, 20]);
        assert_eq!(square(&wide, 10, Crop::Center, (0.0, 0.0)).get_pixel(0, 0).0[0], 10);
        assert_eq!(square(&wide, 10, Crop::Resize, (0.0, 0.0)).dimensions(), (10, 10));
    }
}
