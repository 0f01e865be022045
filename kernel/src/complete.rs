//! Completion and inspection: positions are characters for Jupyter and bytes for everyone else.

use crate::publish::media;
use evcxr::Completions;
use jupyter_protocol::{CompleteReply, InspectReply};
use paella_wire::Media;
use serde_json::{Map, Value, json};

/// Character `at` of `code`, as a byte.
pub fn byte_of(code: &str, at: usize) -> usize {
    code.char_indices().nth(at).map_or(code.len(), |(byte, _)| byte)
}

fn character_of(code: &str, byte: usize) -> usize {
    code.char_indices().take_while(|(at, _)| *at < byte).count()
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
pub fn rust(code: &str, found: Completions) -> CompleteReply {
    let (start, end) =
        (character_of(code, found.start_offset), character_of(code, found.end_offset));
    let kinds: Vec<Value> = found
        .completions
        .iter()
        .map(|c| json!({ "text": c.code, "type": c.kind, "start": start, "end": end, "signature": c.label }))
        .collect();
    let matches = found.completions.into_iter().map(|c| c.code).collect();
    reply(matches, start, end, kinds)
}

/// The same, for a prompt: the byte where the word begins, and the words.
pub fn words(found: Completions) -> (usize, Vec<String>) {
    (found.start_offset, found.completions.into_iter().map(|c| c.code).collect())
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
    let (start, mut matches) = (character_of(code, from), offer.words);
    if offer.files {
        matches.extend(files(code.get(from..byte_of(code, cursor)).unwrap_or_default()));
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
    let byte = byte_of(code, at);
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
        assert_eq!(
            (byte_of(code, 1), character_of(code, 2), byte_of(code, 99)),
            (2, 1, code.len())
        );
        assert_eq!(line_start(code, code.len()), 7);
        assert_eq!(word_end("foo.bar()", 5), 7);
        let offer = Offer { start: 0, words: vec!["show ".into()], files: false };
        let reply = command(code, 7, 10, offer);
        assert_eq!((reply.cursor_start, reply.cursor_end, reply.matches.len()), (7, 10, 1));
    }
}
