//! Completion and inspection: positions are characters for Jupyter and bytes for everyone else.

use crate::publish::media;
use evcxr::Completions;
use jupyter_protocol::{CompleteReply, InspectReply};
use paella_wire::Media;
use serde_json::{Map, Value, json};

/// How a front end counts positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// In letters, as the protocol says.
    Letters,
    /// In units of UTF-16, as JavaScript does where nobody converts it.
    Units,
}

impl Count {
    /// That of a front end whose cursor is here. A cursor behind the last letter cannot count letters; other positions are
    /// read as the protocol says.
    pub fn of(code: &str, cursor: usize) -> Self {
        if cursor > code.chars().count() { Self::Units } else { Self::Letters }
    }

    fn length(self, letter: char) -> usize {
        match self {
            Self::Letters => 1,
            Self::Units => letter.len_utf16(),
        }
    }

    /// Position `at` of `code`, as a byte.
    pub fn byte_of(self, code: &str, at: usize) -> usize {
        let mut position = 0;
        for (byte, letter) in code.char_indices() {
            if position >= at {
                return byte;
            }
            position += self.length(letter);
        }
        code.len()
    }

    /// The position of a byte.
    fn position_of(self, code: &str, byte: usize) -> usize {
        let letters = code.char_indices().take_while(|(at, _)| *at < byte);
        letters.map(|(_, letter)| self.length(letter)).sum()
    }
}

/// Where the line of this byte begins.
pub fn line_start(code: &str, byte: usize) -> usize {
    code[..byte].rfind('\n').map_or(0, |at| at + 1)
}

/// Nothing to offer.
pub fn nothing(at: usize) -> CompleteReply {
    CompleteReply { cursor_start: at, cursor_end: at, ..CompleteReply::default() }
}

/// What rust-analyzer has found.
pub fn rust(code: &str, cursor: usize, found: Completions) -> CompleteReply {
    let count = Count::of(code, cursor);
    let [start, end] =
        [found.start_offset, found.end_offset].map(|byte| count.position_of(code, byte));
    let (mut matches, mut kinds) = (Vec::new(), Vec::new());
    for one in &found.completions {
        let name = name(&one.code).to_string();
        if !matches.contains(&name) {
            kinds.push(json!({ "text": name, "type": one.kind, "start": start, "end": end, "signature": one.label }));
            matches.push(name);
        }
    }
    reply(matches, start, end, kinds)
}

/// The same, for a prompt: the byte where the word begins, and the words.
pub fn words(found: Completions) -> (usize, Vec<String>) {
    let mut words: Vec<String> = Vec::new();
    for one in &found.completions {
        let name = name(&one.code).to_string();
        if !words.contains(&name) {
            words.push(name);
        }
    }
    (found.start_offset, words)
}

/// What is inserted: the name without the arguments, fields or type arguments that rust-analyzer fills in. Anything but a
/// name with such brackets stays whole.
fn name(code: &str) -> &str {
    let Some(at) = code.find(['(', '{', '[', '<']) else { return code };
    let name = code[..at].trim_end().trim_end_matches("::");
    let is_letter = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '!' | '#');
    if !name.is_empty() && name.chars().all(is_letter) { name } else { code }
}

/// What the session offers for a command.
#[derive(Default)]
pub struct Offer {
    /// The byte behind the `%` where the words begin.
    pub start: usize,
    pub words: Vec<String>,
    /// File names fit too.
    pub files: bool,
}

/// The offer for the command whose line begins at byte `line`.
pub fn command(code: &str, line: usize, cursor: usize, offer: Offer) -> CompleteReply {
    let from = line + 1 + offer.start;
    let count = Count::of(code, cursor);
    let (start, mut matches) = (count.position_of(code, from), offer.words);
    if offer.files {
        matches.extend(files(code.get(from..count.byte_of(code, cursor)).unwrap_or_default()));
    }
    reply(matches, start, cursor, Vec::new())
}

/// Files and folders that begin with `typed`.
fn files(typed: &str) -> Vec<String> {
    let (folder, name) =
        typed.rsplit_once('/').map_or(("", typed), |(folder, name)| (folder, name));
    let place = match (typed.starts_with('/'), folder) {
        (true, "") => "/",
        (false, "") => ".",
        _ => folder,
    };
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
    let own = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let path = |entry: std::fs::DirEntry| {
        let end = if entry.path().is_dir() { "/" } else { "" };
        let front = &typed[..typed.len() - name.len()];
        format!("{front}{}{end}", own(&entry))
    };
    let mut found: Vec<String> = entries
        .filter(|entry| {
            own(entry).starts_with(name) && (name.starts_with('.') || !own(entry).starts_with('.'))
        })
        .map(path)
        .collect();
    found.sort();
    found
}

fn reply(matches: Vec<String>, start: usize, end: usize, kinds: Vec<Value>) -> CompleteReply {
    let mut metadata = Map::new();
    if !kinds.is_empty() {
        metadata.insert("_jupyter_types_experimental".into(), Value::Array(kinds));
    }
    CompleteReply {
        matches,
        cursor_start: start,
        cursor_end: end,
        metadata,
        ..CompleteReply::default()
    }
}

/// The byte behind the word that the cursor is in.
pub fn word_end(code: &str, at: usize) -> usize {
    let byte = Count::of(code, at).byte_of(code, at);
    let rest = code[byte..].chars().take_while(|c| c.is_alphanumeric() || *c == '_');
    byte + rest.map(char::len_utf8).sum::<usize>()
}

/// Documentation, as text and as Markdown.
pub fn documentation(found: Option<(String, String)>) -> InspectReply {
    match found {
        Some((text, markdown)) => {
            let both = [("text/plain", text), ("text/markdown", markdown)];
            let data = media(
                &both
                    .map(|(mime, text)| (mime.to_string(), text.into()))
                    .into_iter()
                    .collect::<Media>(),
            );
            InspectReply { found: true, data, ..InspectReply::default() }
        }
        None => InspectReply::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_letters() {
        let code = "é = 1\n%sho";
        let letters = Count::Letters;
        assert_eq!(
            (letters.byte_of(code, 1), letters.position_of(code, 2), letters.byte_of(code, 99)),
            (2, 1, code.len())
        );
        assert_eq!(line_start(code, code.len()), 7);
        assert_eq!(word_end("foo.bar()", 5), 7);
        let offer = Offer { start: 0, words: vec!["show ".into()], files: false };
        let reply = command(code, 7, 10, offer);
        assert_eq!((reply.cursor_start, reply.cursor_end, reply.matches.len()), (7, 10, 1));
    }

    #[test]
    fn a_cursor_in_units_of_utf16_gets_its_answer_in_them() {
        let code = "'😀';\n%sho";
        assert_eq!((Count::of(code, 9), Count::of(code, 10)), (Count::Letters, Count::Units));
        let offer = || Offer { start: 0, words: vec!["show ".into()], files: false };
        let reply = |cursor| command(code, code.len() - 4, cursor, offer()).cursor_start;
        assert_eq!((reply(9), reply(10)), (6, 7));
    }

    #[test]
    fn names_are_inserted_not_signatures() {
        for (code, inserted) in [
            ("encode()", "encode"),
            ("zeros(size, options)", "zeros"),
            ("println!(\"\")", "println!"),
            ("Vec<T>", "Vec"),
            ("Point { x: (), y: () }", "Point"),
            ("collect::<B>()", "collect"),
            ("std::", "std::"),
            ("caption", "caption"),
            ("for x in lab {}", "for x in lab {}"),
        ] {
            assert_eq!(name(code), inserted);
        }
    }
}
