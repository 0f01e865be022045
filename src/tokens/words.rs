//! What a text encoder reads a text as: bytes, or words.

use crate::data::hash::hash;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Numbers that stand for padding, the end of a text, and what is unknown.
pub const SPECIAL: i64 = 3;

/// Tokens of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TextTokens {
    /// One for each byte, as ByT5 has them: any text in any language, but long.
    #[default]
    Bytes,
    /// One for each word and each sign, in lower case, hashed to a number of the vocabulary: short, and nothing has to be
    /// learned about letters; but a word that was never in training means nothing, whatever its letters are.
    Words,
}

impl TextTokens {
    /// The bytes of a text at which each token stands.
    pub fn spans(self, text: &str) -> Vec<Range<usize>> {
        match self {
            Self::Bytes => (0..text.len()).map(|i| i..i + 1).collect(),
            Self::Words => words(text),
        }
    }

    /// Numbers of the tokens, of a vocabulary of `size` numbers, without the end token.
    pub fn ids(self, text: &str, size: i64) -> Vec<i64> {
        match self {
            Self::Bytes => text.bytes().map(|byte| i64::from(byte) + SPECIAL).collect(),
            Self::Words => {
                let room = (size - SPECIAL).max(1) as u64;
                let id = |word: String| (hash(word.bytes()) % room) as i64 + SPECIAL;
                words(text).into_iter().map(|at| id(text[at].to_lowercase())).collect()
            }
        }
    }

    /// What one token is called.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Bytes => "byte",
            Self::Words => "word",
        }
    }
}

/// Runs of letters and digits, and every other character that is not blank by itself.
fn words(text: &str) -> Vec<Range<usize>> {
    let mut all: Vec<Range<usize>> = Vec::new();
    let mut open = false;
    for (at, c) in text.char_indices() {
        let (end, letter) = (at + c.len_utf8(), c.is_alphanumeric());
        match all.last_mut() {
            Some(last) if letter && open => last.end = end,
            _ if c.is_whitespace() => {}
            _ => all.push(at..end),
        }
        open = letter;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_signs_are_tokens_and_case_does_not_count() {
        let text = "A red-hot Café, 12!";
        let spans = TextTokens::Words.spans(text);
        let parts: Vec<&str> = spans.into_iter().map(|at| &text[at]).collect();
        assert_eq!(parts, ["A", "red", "-", "hot", "Café", ",", "12", "!"]);
        let ids = |text| TextTokens::Words.ids(text, 2048);
        assert_eq!(ids("RED ring"), ids(" red\tring "));
        assert_ne!(ids("red ring"), ids("ring red"));
        assert!(ids(text).iter().all(|id| (SPECIAL..2048).contains(id)));
        assert_eq!(ids(" \n"), Vec::<i64>::new());
    }

    #[test]
    fn bytes_are_shifted() {
        assert_eq!(TextTokens::Bytes.ids("a\u{e9}", 384), [100, 198, 172]);
        assert_eq!(TextTokens::Bytes.spans("\u{e9}"), [0..1, 1..2]);
    }
}
