//! The scanner's tokens: blanks and comments, words, strings and characters.

use super::scan::{Scanned, Scanner, Slip};

impl Scanner<'_> {
    pub(super) fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next character, for a message.
    pub(super) fn shown(&self) -> String {
        self.rest().chars().next().map_or("the end of the text".into(), |c| format!("`{c}`"))
    }

    /// Skips blanks, `// ..` and `/* .. */` (which may be nested).
    pub(super) fn skip(&mut self) {
        loop {
            let rest = self.rest();
            let blanks = rest.len() - rest.trim_start().len();
            let rest = rest.trim_start();
            let comment = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                block_comment(rest)
            } else {
                0
            };
            self.at += blanks + comment;
            if comment == 0 {
                return;
            }
        }
    }

    /// Reads a number or an identifier. Empty if there is none here.
    pub(super) fn word(&mut self) -> String {
        let part = |c: char| c.is_alphanumeric() || "_+-.#".contains(c);
        let rest = self.rest();
        let word = rest
            .get(..rest.find(|c| !part(c)).unwrap_or(rest.len()))
            .unwrap_or_default()
            .to_string();
        self.at += word.len();
        word
    }

    /// Whether a string starts here: `"`, `b"`, `r"`, `r#"`, `br#"` or `b'`.
    pub(super) fn string_starts(&self) -> bool {
        let rest = self.rest();
        let rest = rest.strip_prefix('b').unwrap_or(rest);
        let raw = rest.strip_prefix('r').unwrap_or("").trim_start_matches('#');
        rest.starts_with('"') || raw.starts_with('"') || self.rest().starts_with("b'")
    }

    pub(super) fn string(&mut self) -> Scanned<bool> {
        let start = self.at;
        if self.peek() == Some(b'b') {
            self.at += 1;
        }
        if self.peek() == Some(b'\'') {
            return self.character();
        }
        let length = match self.peek() {
            Some(b'r') => raw_string(self.rest()),
            _ => quoted(self.rest(), '"'),
        };
        match length {
            Some(length) => self.at += length,
            None => {
                return Err(Slip {
                    at: start,
                    what: "a string is never closed".into(),
                    hint: "end it with `\"`".into(),
                });
            }
        }
        Ok(false)
    }

    pub(super) fn character(&mut self) -> Scanned<bool> {
        match quoted(self.rest(), '\'') {
            Some(length) => self.at += length,
            None => {
                return Err(Slip {
                    at: self.at,
                    what: "a character is never closed".into(),
                    hint: "text stands in `\"`".into(),
                });
            }
        }
        Ok(false)
    }
}

/// Length in bytes of a quoted text at the start of `rest`, including both quotes.
fn quoted(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = true; // skips the opening quote
    for (at, c) in rest.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Length in bytes of `r##".."##` at the start of `rest`.
fn raw_string(rest: &str) -> Option<usize> {
    let hashes = rest.len() - 1 - rest.get(1..)?.trim_start_matches('#').len();
    let end = format!("\"{}", "#".repeat(hashes));
    let body = hashes + 2;
    Some(body + rest.get(body..)?.find(&end)? + end.len())
}

/// Length in bytes of a block comment at the start of `rest`. An unclosed comment takes all of it.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(tail) = rest.as_bytes().get(at..).filter(|t| !t.is_empty()) {
        match tail {
            [b'/', b'*', ..] => depth += 1,
            [b'*', b'/', ..] => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}
