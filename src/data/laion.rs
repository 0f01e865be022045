//! Filter for LAION records: size, watermark, aesthetic score, safety, caption.

use super::json::{Json, parse};
use super::text::decode;
use ron_faults::clean;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Thresholds of the filter, each inclusive. The defaults are the reference's.
///
/// Source:  dome272/Paella src_distributed/utils.py `WebdatasetFilter`, reproduced exactly.
///
/// The reference has a quirk: a value that is missing, null, zero, false or empty becomes the worst value (0 for the
/// width and the aesthetic scores, 1 for the two probabilities). So a watermark or unsafe probability of exactly 0.0,
/// the best possible, rejects the record. For the height only a missing value becomes 0; null counts as a wrong type.
///
/// Numbers may be NaN (fails every comparison), infinite or of any length. True counts as 1 and false as 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LaionFilter {
    /// Minimum width and height of the original picture, in pixels.
    pub min_size: i64,
    /// Maximum probability of a watermark.
    pub max_pwatermark: f64,
    /// Minimum of the better of `aesthetic` and `AESTHETIC_SCORE`.
    pub min_aesthetic: f64,
    /// Maximum probability of an unsafe picture.
    pub max_punsafe: f64,
    /// None: the caption is not checked and may be missing.
    pub caption: Option<CaptionRules>,
}

impl Default for LaionFilter {
    fn default() -> Self {
        Self {
            min_size: 512,
            max_pwatermark: 0.5,
            min_aesthetic: 5.0,
            max_punsafe: 0.99,
            caption: None,
        }
    }
}

/// Requirements on a caption, besides being ASCII.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CaptionRules {
    /// Minimum number of pieces between single spaces. A trailing space adds an empty piece.
    pub min_words: usize,
    /// Words that must not occur anywhere in the lower-cased caption. Write them in lower case.
    pub forbidden_words: Vec<String>,
}

/// Why a record is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reject {
    /// The sample has no json.
    NoJson,
    /// The json is cut off, not JSON, or not an object.
    BrokenJson,
    /// The value's type cannot be compared with a number.
    WrongType(&'static str),
    Small,
    Watermark,
    Ugly,
    Unsafe,
    /// The caption is missing or not UTF-8.
    NoCaption,
    FewWords,
    NotAscii,
    Forbidden,
}

/// A short reason, the same for all rejects of one kind, so that they can be counted.
impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoJson => "no json",
            Self::BrokenJson => "the json cannot be read",
            Self::WrongType(field) => return write!(f, "`{field}` is not a number"),
            Self::Small => "too small",
            Self::Watermark => "perhaps with a watermark",
            Self::Ugly => "low aesthetic scores",
            Self::Unsafe => "perhaps unsafe",
            Self::NoCaption => "no caption",
            Self::FewWords => "the caption is short",
            Self::NotAscii => "the caption is not ASCII",
            Self::Forbidden => "a forbidden word in the caption",
        })
    }
}

/// Whether a reason is one that the filter gives for a sample that could be read.
pub fn is_filters(reason: &str) -> bool {
    use Reject as R;
    let refused =
        [R::Small, R::Watermark, R::Ugly, R::Unsafe, R::FewWords, R::NotAscii, R::Forbidden];
    refused.iter().any(|why| why.to_string() == reason) || reason.ends_with("` is not a number")
}

impl LaionFilter {
    /// Judges a sample by the bytes of its `json` and `txt` members. None stands for a missing member.
    ///
    /// Errors: the first reason to reject the sample.
    pub fn check(&self, json: Option<&[u8]>, caption: Option<&[u8]>) -> Result<(), Reject> {
        let Some(Json::Object(record)) = parse(json.ok_or(Reject::NoJson)?) else {
            return Err(Reject::BrokenJson);
        };
        self.check_numbers(&record)?;
        self.caption.as_ref().map_or(Ok(()), |rules| rules.check(caption))
    }

    /// Checks the numbers. All values are read before any is judged, so a wrong type always rejects the record.
    fn check_numbers(&self, record: &BTreeMap<String, Json>) -> Result<(), Reject> {
        let number = |field, worst| match record.get(field) {
            Some(value) if holds_something(value) => as_number(value, field),
            _ => Ok(worst),
        };
        let width = number("original_width", 0.0)?;
        let height = record
            .get("original_height")
            .map_or(Ok(0.0), |value| as_number(value, "original_height"))?;
        let pwatermark = number("pwatermark", 1.0)?;
        let scores = [number("aesthetic", 0.0)?, number("AESTHETIC_SCORE", 0.0)?];
        let punsafe = number("punsafe", 1.0)?;
        let min_size = self.min_size as f64;
        first_failure([
            (width >= min_size && height >= min_size, Reject::Small),
            (pwatermark <= self.max_pwatermark, Reject::Watermark),
            (scores.iter().any(|score| *score >= self.min_aesthetic), Reject::Ugly),
            (punsafe <= self.max_punsafe, Reject::Unsafe),
        ])
    }
}

impl CaptionRules {
    fn check(&self, caption: Option<&[u8]>) -> Result<(), Reject> {
        // not tidied: the reference counts blanks
        let caption = caption.and_then(decode).map(|text| clean(&text));
        let caption = caption.ok_or(Reject::NoCaption)?;
        let lower = caption.to_lowercase();
        let forbidden = self.forbidden_words.iter().any(|word| lower.contains(word.as_str()));
        first_failure([
            (caption.split(' ').count() >= self.min_words, Reject::FewWords),
            (caption.is_ascii(), Reject::NotAscii),
            (!forbidden, Reject::Forbidden),
        ])
    }
}

fn first_failure<const N: usize>(tests: [(bool, Reject); N]) -> Result<(), Reject> {
    tests.into_iter().find(|(passed, _)| !passed).map_or(Ok(()), |(_, why)| Err(why))
}

/// Whether Python treats the value as true.
fn holds_something(value: &Json) -> bool {
    match value {
        Json::Null => false,
        Json::Bool(value) => *value,
        Json::Number(value) => *value != 0.0, // NaN is true
        Json::Text(text) => !text.is_empty(),
        Json::List(values) => !values.is_empty(),
        Json::Object(values) => !values.is_empty(),
    }
}

/// A number, with true as 1 and false as 0.
fn as_number(value: &Json, field: &'static str) -> Result<f64, Reject> {
    match value {
        Json::Number(value) => Ok(*value),
        Json::Bool(value) => Ok(f64::from(*value)),
        _ => Err(Reject::WrongType(field)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"original_width": 600, "original_height": 512, "pwatermark": 0.1,
        "aesthetic": 5.5, "punsafe": 0.2}"#;

    fn check(json: &str) -> Result<(), Reject> {
        LaionFilter::default().check(Some(json.as_bytes()), None)
    }

    #[test]
    fn the_first_reason_is_given() {
        assert_eq!(check(GOOD), Ok(()));
        assert_eq!(check(&GOOD.replace("600", "511")), Err(Reject::Small));
        assert_eq!(check(&GOOD.replace("0.1", "0.0")), Err(Reject::Watermark));
        assert_eq!(check(&GOOD.replace("5.5", "NaN")), Err(Reject::Ugly));
        assert_eq!(check(&GOOD.replace("512", "null")), Err(Reject::WrongType("original_height")));
        assert_eq!(check("[]"), Err(Reject::BrokenJson));
        assert_eq!(Reject::WrongType("punsafe").to_string(), "`punsafe` is not a number");
    }

    #[test]
    fn captions_are_held_to_the_rules() {
        let rules = CaptionRules { min_words: 2, forbidden_words: vec!["www.".into()] };
        let filter = LaionFilter { caption: Some(rules), ..LaionFilter::default() };
        let check = |text: &[u8]| filter.check(Some(GOOD.as_bytes()), Some(text));
        assert_eq!(check(b"a cat"), Ok(()));
        assert_eq!(check(b"cat"), Err(Reject::FewWords));
        assert_eq!(check("a caf\u{e9}".as_bytes()), Err(Reject::NotAscii));
        assert_eq!(check(b"see WWW.example"), Err(Reject::Forbidden));
        assert_eq!(check(b"a \xff"), Err(Reject::NoCaption));
        assert_eq!(filter.check(Some(GOOD.as_bytes()), None), Err(Reject::NoCaption));
    }
}
