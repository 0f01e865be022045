//! Changes of training pictures and captions, drawn anew each time a picture comes up, so that fewer are learned by heart.
//!
//! Letters: B pictures, S pixels a side.

use super::dice::Dice;
use ron_faults::{Checks, Fault};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// What may happen to a picture and its caption in training. All zero: nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentConfig {
    /// Chance of a mirrored picture, 0..=1. Pictures with a word of [`SIDED`] in a caption that they may have are never
    /// mirrored.
    pub flip: f64,
    /// Most pixels by which a picture is moved, along both sides; its border is repeated. 0..S.
    pub shift: i64,
    /// Most that brightness, contrast and saturation change, each by a factor of 1 - jitter to 1 + jitter, 0..=1.
    pub jitter: f64,
    /// Chance of a caption in which one of the picture's keywords stands for its name, 0..=1: `puppy, 3d emoji`. Keywords
    /// are the `tags` of a shard's json; without them a caption stays as it is.
    pub tags: f64,
}

/// Words of captions whose pictures are not mirrored: sides, and things that show writing, hands of a clock, a flag or a phase of
/// the moon.
pub const SIDED: [&str; 53] = [
    "left",
    "right",
    "leftwards",
    "rightwards",
    "leftward",
    "rightward",
    "leftmost",
    "rightmost",
    "east",
    "west",
    "eastward",
    "westward",
    "northeast",
    "northwest",
    "southeast",
    "southwest",
    "clockwise",
    "anticlockwise",
    "counterclockwise",
    "letter",
    "letters",
    "number",
    "numbers",
    "digit",
    "digits",
    "keycap",
    "text",
    "word",
    "words",
    "writing",
    "sign",
    "button",
    "input",
    "logo",
    "arrow",
    "medal",
    "points",
    "calendar",
    "banknote",
    "newspaper",
    "book",
    "clock",
    "thirty",
    "watch",
    "o",
    "flag",
    "flags",
    "map",
    "globe",
    "moon",
    "quarter",
    "note",
    "notes",
];

/// A seed of its own, apart from the order of the pictures.
const STREAM: u64 = 0xa06_3e47;
/// The same for captions.
const WORDS: u64 = 0xa06_3e48;

impl AugmentConfig {
    pub fn is_off(&self) -> bool {
        *self == Self::default()
    }

    /// Whether pictures stay as they are; captions may change.
    pub fn keeps_pictures(&self) -> bool {
        Self { tags: 0.0, ..self.clone() }.is_off()
    }

    /// Everything that is wrong though well formed, for pictures of `size` pixels a side.
    pub fn check(&self, size: i64) -> Vec<Fault> {
        let mut found = Checks::default();
        found.share("flip", self.flip);
        found.within("shift", self.shift, 0, (size - 1).max(0));
        found.share("jitter", self.jitter);
        found.share("tags", self.tags);
        found.faults()
    }

    /// Pictures (B, 3, S, S) u8 on the CPU -> the same, changed; of each all captions that it may have, [`together`]. The first
    /// is the `first`th that the run draws; the changes follow from (seed, number) alone, so that they do not depend on the
    /// number of ranks.
    pub fn apply(
        &self,
        images: &Tensor,
        captions: impl IntoIterator<Item = impl AsRef<str>>,
        seed: u64,
        first: u64,
    ) -> Tensor {
        if self.keeps_pictures() {
            return images.shallow_clone();
        }
        let change = |(i, has_sides): (u64, bool)| {
            let mut dice = Dice::new(seed, STREAM, first + i);
            self.change(&images.get(i as i64), has_sides, &mut dice)
        };
        let captions = captions.into_iter();
        let all: Vec<Tensor> =
            (0..).zip(captions.map(|c| has_sides(c.as_ref()))).map(change).collect();
        Tensor::stack(&all, 0) // (B, 3, S, S)
    }

    /// A caption for each picture, given as (its own, the others that it may have instead). Numbers as in [`Self::apply`].
    pub fn captions<'a>(
        &self,
        pictures: impl IntoIterator<Item = (&'a String, &'a Vec<String>)>,
        seed: u64,
        first: u64,
    ) -> Vec<String> {
        let caption = |(number, (own, others)): (u64, (&String, &Vec<String>))| {
            if self.tags == 0.0 {
                return own.clone();
            }
            let mut dice = Dice::new(seed, WORDS, number);
            let other = dice.chance(self.tags).then(|| others.get(dice.below(others.len())));
            other.flatten().unwrap_or(own).clone()
        };
        (first..).zip(pictures).map(caption).collect()
    }

    /// One picture (3, S, S) u8. All draws are made, whatever is used of them.
    fn change(&self, image: &Tensor, has_sides: bool, dice: &mut Dice) -> Tensor {
        let flip = dice.chance(self.flip) && !has_sides;
        let mut step = || dice.below(2 * self.shift as usize + 1) as i64 - self.shift;
        let (right, down) = (step(), step());
        let [brightness, contrast, saturation] =
            [(); 3].map(|()| 1.0 + self.jitter * (2.0 * dice.unit() - 1.0));
        let image = if flip { image.flip([2]) } else { image.shallow_clone() };
        let image = moved(&moved(&image, 2, right), 1, down);
        if self.jitter == 0.0 {
            return image;
        }
        let xs = image.to_kind(Kind::Float) * brightness;
        let grey = grey(&xs); // (1, S, S)
        let xs = &grey + (xs - &grey) * saturation;
        let mean = grey.mean(Kind::Float);
        let xs = &mean + (xs - &mean) * contrast;
        xs.round().clamp(0.0, 255.0).to_kind(Kind::Uint8)
    }
}

/// A picture moved by `by` pixels along a dimension; what comes in is the border repeated.
fn moved(image: &Tensor, dim: i64, by: i64) -> Tensor {
    if by == 0 {
        return image.shallow_clone();
    }
    let last = image.size()[dim as usize] - 1;
    let from: Vec<i64> = (0..=last).map(|i| (i - by).clamp(0, last)).collect();
    image.index_select(dim, &Tensor::from_slice(&from))
}

/// Brightness as the eye weighs colours: (3, S, S) -> (1, S, S).
///
/// Source:  ITU-R BT.601, as torchvision's `rgb_to_grayscale`.
fn grey(xs: &Tensor) -> Tensor {
    let channel = |i: i64, weight: f64| xs.narrow(0, i, 1) * weight;
    channel(0, 0.299) + channel(1, 0.587) + channel(2, 0.114)
}

/// A caption and those that training may use instead, as one text.
pub fn together(caption: &str, others: &[String]) -> String {
    let all: Vec<&str> = [caption].into_iter().chain(others.iter().map(String::as_str)).collect();
    all.join(" ")
}

/// Whether a mirrored picture would no longer be what the caption says.
fn has_sides(caption: &str) -> bool {
    let small = caption.to_lowercase();
    small.split(|c: char| !c.is_alphanumeric()).any(|word| SIDED.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn pictures(count: i64) -> Tensor {
        Tensor::randint(256, [count, 3, 8, 8], (Kind::Uint8, Device::Cpu))
    }

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|text| text.to_string()).collect()
    }

    #[test]
    fn pictures_with_sides_are_not_mirrored() {
        let flip = AugmentConfig { flip: 1.0, ..AugmentConfig::default() };
        let images = pictures(3);
        let captions = texts(&["a fox", "Left arrow, flat emoji", "eight o'clock"]);
        let got = flip.apply(&images, &captions, 1, 0);
        assert_eq!(got.get(0), images.get(0).flip([2]));
        assert_eq!(got.narrow(0, 1, 2), images.narrow(0, 1, 2));
        assert!(!has_sides("bright leftover"), "whole words only");
    }

    #[test]
    fn a_shift_repeats_the_border() {
        let image = pictures(1).get(0);
        let right = moved(&image, 2, 3);
        assert_eq!(right.narrow(2, 3, 5), image.narrow(2, 0, 5));
        for column in 0..3 {
            assert_eq!(right.select(2, column), image.select(2, 0));
        }
        assert_eq!(moved(&image, 1, -2).narrow(1, 0, 6), image.narrow(1, 2, 6));
        let shift = AugmentConfig { shift: 2, ..AugmentConfig::default() };
        let mut seen = std::collections::BTreeSet::new();
        for i in 0..300 {
            let got = shift.apply(&image.unsqueeze(0), texts(&["x"]), 7, i).get(0);
            let all = (-2..=2).flat_map(|x| (-2..=2).map(move |y| (x, y)));
            seen.extend(all.filter(|(x, y)| moved(&moved(&image, 2, *x), 1, *y) == got));
        }
        assert_eq!(seen.len(), 25, "every move comes up, and no other: {seen:?}");
    }

    #[test]
    fn jitter_keeps_grey_grey_and_stays_within_its_factors() {
        let jitter = AugmentConfig { jitter: 0.2, ..AugmentConfig::default() };
        let grey = Tensor::full([40, 3, 4, 4], 100, (Kind::Uint8, Device::Cpu));
        let got = jitter.apply(&grey, vec![String::new(); 40], 3, 0).to_kind(Kind::Float);
        assert_eq!(got.select(1, 0), got.select(1, 2), "no colour comes in");
        let (least, most) = (got.min().double_value(&[]), got.max().double_value(&[]));
        // a flat picture has no contrast and no saturation: brightness alone
        assert!(
            (80.0..90.0).contains(&least) && (110.0..=120.0).contains(&most),
            "{least} to {most}"
        );
        let images = pictures(1);
        let changed = jitter.apply(&images, texts(&["x"]), 3, 0);
        assert_ne!(changed, images);
        assert_eq!(changed.kind(), Kind::Uint8);
    }

    #[test]
    fn changes_depend_on_the_number_alone() {
        let all = AugmentConfig { flip: 0.5, shift: 3, jitter: 0.3, tags: 0.0 };
        let (images, captions) = (pictures(6), texts(&["a", "b", "c", "d", "e", "f"]));
        let whole = all.apply(&images, &captions, 9, 100);
        let part = all.apply(&images.narrow(0, 4, 2), &captions[4..], 9, 104);
        assert_eq!(whole.narrow(0, 4, 2), part);
        assert_ne!(
            all.apply(&images, &captions, 9, 106),
            whole,
            "the next time it looks different"
        );
        assert_eq!(AugmentConfig::default().apply(&images, &captions, 9, 0), images);
        assert!(AugmentConfig::default().is_off() && !all.is_off());
        let odd = AugmentConfig { flip: 1.5, shift: 8, jitter: -0.1, tags: 0.0 };
        assert_eq!((odd.check(8).len(), all.check(8).len()), (3, 0));
    }
}
