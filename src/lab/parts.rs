//! Reads the words of `vary`: pictures and texts with weights.

use super::file::names_a_file;
use super::mix::{MixPart, MixSource};
use crate::data::home;
use crate::error::{Error, Result};
use crate::near::no_file;
use std::path::Path;

/// The word for the current picture.
const CURRENT: &str = "this";

/// Reads pictures and texts, each with `:WEIGHT` behind it or the weight 1. Words that follow each other are one text, which
/// ends behind its weight. Without a picture the current one is a part.
///
/// Errors: a file that is not there; a weight that is not above 0.
pub fn parts(words: &[String]) -> Result<Vec<MixPart>> {
    let (mut all, mut text): (Vec<MixPart>, Vec<&str>) = (Vec::new(), Vec::new());
    let end = |text: &mut Vec<&str>, weight: f64, all: &mut Vec<MixPart>| {
        let source = MixSource::Text(std::mem::take(text).join(" "));
        all.push(MixPart { source, weight });
    };
    for word in words {
        let (name, weight) = weighted(word)?;
        match picture(name)? {
            Some(source) => {
                if !text.is_empty() {
                    end(&mut text, 1.0, &mut all);
                }
                all.push(MixPart { source, weight: weight.unwrap_or(1.0) });
            }
            None => {
                text.push(name);
                if let Some(weight) = weight {
                    end(&mut text, weight, &mut all);
                }
            }
        }
    }
    if !text.is_empty() {
        end(&mut text, 1.0, &mut all);
    }
    if all.iter().all(|part| matches!(part.source, MixSource::Text(_))) {
        all.insert(0, MixPart { source: MixSource::Current, weight: 1.0 });
    }
    Ok(all)
}

/// The two pictures at the ends of a way, if both words name one. None: both are texts.
///
/// Errors: a picture and a text; a file that is not there.
pub fn ends(from: &str, to: &str) -> Result<Option<[MixSource; 2]>> {
    match (picture(from)?, picture(to)?) {
        (Some(from), Some(to)) => Ok(Some([from, to])),
        (None, None) => Ok(None),
        (one, _) => {
            let (picture, text) = if one.is_some() { (from, to) } else { (to, from) };
            let what = format!("`{picture}` is a picture, `{text}` is a text");
            Err(Error::command(what, "", "two texts, or two pictures: `morph this to=fox.png`"))
        }
    }
}

/// Whether a part may have this weight.
pub fn is_weight(weight: f64) -> bool {
    weight > 0.0 && weight <= 1e6
}

/// `fox.png:0.7` -> the name, and the weight if there is one. A number behind the last colon is a weight.
fn weighted(word: &str) -> Result<(&str, Option<f64>)> {
    let Some((name, number)) = word.rsplit_once(':').filter(|(name, _)| !name.is_empty()) else {
        return Ok((word, None));
    };
    match number.parse::<f64>() {
        Err(_) => Ok((word, None)),
        Ok(weight) if is_weight(weight) => Ok((name, Some(weight))),
        Ok(weight) => {
            let what = format!("a weight of {weight} for `{name}`");
            Err(Error::command(what, "", format!("above 0, such as `{name}:0.5`")))
        }
    }
}

/// The picture that a word names. None: it is text.
fn picture(name: &str) -> Result<Option<MixSource>> {
    let path = home(Path::new(name));
    match path.is_file() {
        _ if name == CURRENT => Ok(Some(MixSource::Current)),
        true => Ok(Some(MixSource::File(path))),
        false if names_a_file(&path) => Err(no_file(&path, "vary \"FILE\"")),
        false => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Vec<MixPart>> {
        parts(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn words_are_pictures_and_texts_with_weights() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.png");
        std::fs::write(&file, "").expect("written");
        let part = |source: MixSource, weight| MixPart { source, weight };
        let text = |words: &str| MixSource::Text(words.into());
        assert_eq!(read("").expect("read"), [part(MixSource::Current, 1.0)]);
        let line = format!("{}:0.7 this:2 red apple:0.5 keycap: x", file.display());
        let expected = [
            part(MixSource::File(file), 0.7),
            part(MixSource::Current, 2.0),
            part(text("red apple"), 0.5),
            part(text("keycap: x"), 1.0),
        ];
        assert_eq!(read(&line).expect("read"), expected);
        assert_eq!(read("red apple").expect("read")[1], part(text("red apple"), 1.0));
        for odd in ["this:0", "this:-1", "apple:inf", "apple:NaN", "nowhere.png", "nowhere.png:0.5"]
        {
            assert!(read(odd).is_err(), "{odd}");
        }
    }
}
