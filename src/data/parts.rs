//! Makes one sample from the files under its key, or gives the reason why it is left out.

use std::collections::BTreeMap;

use super::Refusal;
use super::groups::{KNOWN, MemberGroup, is_picture};
use super::json::{Json, parse};
use super::text::{caption, checked, others, tidy};

/// The files of a sample by kind.
pub(super) struct Parts {
    pub key: String,
    pub content: Content,
    /// Tidied. None if there is no such file.
    pub txt: Option<String>,
    pub json: Option<BTreeMap<String, Json>>,
}

#[derive(Debug)]
pub(super) enum Content {
    /// Bytes of a picture file.
    Picture(Vec<u8>),
    /// Bytes made by `stream::pack`.
    Known(Vec<u8>),
}

/// Sorts the files of a key by kind. `tokens`: precomputed tokens are preferred to the picture.
///
/// Errors: no picture or several; a caption or json that cannot be read.
pub(super) fn parts(group: MemberGroup, tokens: bool) -> Result<Parts, Refusal> {
    if let Some(fault) = group.fault {
        return Err(fault.into());
    }
    let (mut txt, mut json, mut known) = (None, None, None);
    let (mut pictures, mut dotted) = (Vec::new(), false);
    for (ending, bytes) in group.files {
        match ending.as_str() {
            "txt" | "json" => {
                let place = if ending == "txt" { &mut txt } else { &mut json };
                if place.replace(bytes).is_some() {
                    return Err("two captions".into());
                }
            }
            KNOWN if tokens => known = Some(bytes),
            ending if is_picture(ending) => pictures.push(bytes),
            // files for other trainers, such as `.seg.png` or `.cls`
            ending => dotted |= ending.rsplit_once('.').is_some_and(|(_, last)| is_picture(last)),
        }
    }
    let content = match known {
        Some(known) => Content::Known(known),
        None => Content::Picture(one(pictures, dotted)?),
    };
    let txt = txt.map(|bytes| caption(&bytes)).transpose()?;
    let json = match json.map(|bytes| parse(&bytes)) {
        None => None,
        Some(Some(Json::Object(about))) => Some(about),
        Some(_) => return Err("the json cannot be read".into()),
    };
    Ok(Parts { key: group.key, content, txt, json })
}

/// The only picture.
fn one(mut pictures: Vec<Vec<u8>>, dotted: bool) -> Result<Vec<u8>, Refusal> {
    match pictures.pop() {
        Some(picture) if pictures.is_empty() => Ok(picture),
        Some(_) => Err("more than one picture".into()),
        None if dotted => Err("a picture whose name has a dot more than its caption's".into()),
        None => Err("no picture".into()),
    }
}

impl Parts {
    /// The `.txt`, else the json's `caption`.
    ///
    /// Errors: no caption, an empty one, or one that is too long.
    pub(super) fn caption(&self) -> Result<String, Refusal> {
        let txt = self.txt.clone().filter(|text| !text.is_empty());
        let caption = txt.unwrap_or_else(|| self.field("caption"));
        if caption.is_empty() { Err("no caption".into()) } else { Ok(checked(caption)?) }
    }

    /// The captions that the sample may have instead of `caption`: see [`others`].
    pub(super) fn others(&self, caption: &str) -> Vec<String> {
        let Some(Json::List(tags)) = self.json.as_ref().and_then(|about| about.get("tags")) else {
            return Vec::new();
        };
        let text = |tag: &Json| match tag {
            Json::Text(text) => Some(tidy(text)).filter(|tag| !tag.is_empty()),
            _ => None,
        };
        let tags: Vec<String> = tags.iter().filter_map(text).collect();
        others(caption, &self.field("name"), &tags)
    }

    /// A text of the json, tidied. Empty if there is none.
    pub(super) fn field(&self, name: &str) -> String {
        match self.json.as_ref().and_then(|about| about.get(name)) {
            Some(Json::Text(text)) => tidy(text),
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_one_picture_and_sound_words() {
        let made = |names: &[(&str, &[u8])]| {
            let files = names.iter().map(|(ext, bytes)| (ext.to_string(), bytes.to_vec()));
            let files = files.collect();
            let group = MemberGroup { key: "k".into(), files, ..MemberGroup::default() };
            parts(group, false).map_err(|refusal| refusal.reason)
        };
        let whole = made(&[("png", b"1"), ("cls", b"3"), ("txt", b"a"), ("json", b"{\"b\":1}")]);
        let whole = whole.expect("whole");
        assert!(matches!(&whole.content, Content::Picture(bytes) if bytes == b"1"));
        assert_eq!(whole.caption().expect("a caption"), "a");
        let reason = |names: &[(&str, &[u8])]| made(names).err().unwrap_or_default();
        assert_eq!(reason(&[("txt", b"a")]), "no picture");
        assert_eq!(reason(&[("png", b"1"), ("jpg", b"2")]), "more than one picture");
        assert_eq!(reason(&[("png", b"1"), ("json", b"[1]")]), "the json cannot be read");
        assert_eq!(reason(&[("png", b"1"), ("txt", b"\xff")]), "the caption is not UTF-8");
        assert_eq!(reason(&[("png", b"1"), ("txt", b"a"), ("txt", b"b")]), "two captions");
        assert_eq!(reason(&[("png", b"1"), ("json", b"{}"), ("json", b"{}")]), "two captions");
    }
}
