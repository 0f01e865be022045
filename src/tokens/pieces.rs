//! Texts as CLIP's tokens: subwords from a vocabulary of 49,408 (byte pair encoding), or bytes; first the text is cleaned.
//!
//! Letters: B texts, S tokens per row.

use crate::model::clip::TextPieces;
use instant_clip_tokenizer::Tokenizer;
use std::sync::LazyLock;
use tch::{Device, Tensor};

/// Padding after the end token.
const PAD: i64 = 0;

/// texts -> tokens (B, S) i64: start token, subwords or bytes, end token, padding of 0. Texts that are too long are
/// truncated before the end token. S is at least 2.
///
/// Source:  mlfoundations/open_clip `SimpleTokenizer`, for subwords.
/// Differs: some texts that were decoded wrongly twice, or as Mac Roman, are mended otherwise than by ftfy.
pub fn batch(texts: &[String], pieces: TextPieces, s: i64, device: Device) -> Tensor {
    let row = |text: &String| {
        let mut row = read(text, pieces);
        let end = pieces.count() - 1; // the largest: the tower reads its vector where it stands
        row.truncate(s as usize - 1);
        row.push(end);
        row.resize(s as usize, PAD);
        row
    };
    let rows: Vec<i64> = texts.iter().flat_map(row).collect();
    Tensor::from_slice(&rows).view([texts.len() as i64, s]).to_device(device)
}

/// Pieces of a text that a row of S tokens has no room for.
pub fn cut(text: &str, pieces: TextPieces, s: i64) -> usize {
    read(text, pieces).len().saturating_sub(s as usize - 1)
}

/// The start token and the pieces of a text.
fn read(text: &str, pieces: TextPieces) -> Vec<i64> {
    let text = clean(text);
    match pieces {
        TextPieces::Subwords => subwords(&text),
        TextPieces::Bytes => bytes(&text),
    }
}

/// The start token and the subwords of a text. The tokenizer itself converts to lower case.
fn subwords(text: &str) -> Vec<i64> {
    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(Tokenizer::new);
    let mut pieces = vec![TOKENIZER.start_of_text()];
    TOKENIZER.encode(text, &mut pieces);
    pieces.into_iter().map(|piece| i64::from(piece.to_u16())).collect()
}

/// The start token and the bytes of a text in lower case.
fn bytes(text: &str) -> Vec<i64> {
    let start = TextPieces::Bytes.count() - 2;
    std::iter::once(start).chain(text.to_lowercase().bytes().map(i64::from)).collect()
}

/// Cleans a text: mended as ftfy does (also what was decoded with a wrong encoding: `cafÃ©`), HTML entities unescaped
/// twice, each run of white space replaced by one space.
fn clean(text: &str) -> String {
    let mended = plsfix::fix_text(&without_escapes(text), None);
    let once = htmlize::unescape(mended.as_str());
    let twice = htmlize::unescape(once.as_ref());
    twice.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text without a terminal's colours, which ftfy removes whole.
fn without_escapes(text: &str) -> String {
    const ESCAPE: &str = "\u{1b}[";
    let mut parts = text.split(ESCAPE);
    let mut plain = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let code = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        match code.strip_prefix(|c: char| c.is_ascii_alphabetic()) {
            Some(rest) => plain += rest,
            None => plain.extend([ESCAPE, part]),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cleaned() {
        assert_eq!(
            clean("  &amp;lt;b&amp;gt;\u{a0}\u{ff21}\u{fb03} \u{201c}e\u{301}\u{201d}\n"),
            "<b> Affi \"\u{e9}\""
        );
        assert_eq!(clean("\u{1b}[1;31mred\u{1b}[0m \u{1b}[ 5"), "red [ 5");
        assert_eq!(clean("\u{7}a\u{feff}b"), "ab");
        assert_eq!(clean("caf\u{c3}\u{a9} don\u{e2}\u{20ac}\u{2122}t"), "caf\u{e9} don't");
    }

    #[test]
    fn a_row_has_its_length_and_ends() {
        let rows = |texts: &[&str], pieces| {
            let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
            Vec::<Vec<i64>>::try_from(batch(&texts, pieces, 4, Device::Cpu)).expect("rows")
        };
        let subwords = rows(&["a cat", ""], TextPieces::Subwords);
        assert_eq!(subwords, [[49406, 320, 2368, 49407], [49406, 49407, 0, 0]]);
        let bytes = rows(&[" A", "abcd", ""], TextPieces::Bytes);
        assert_eq!(bytes, [[256, 97, 257, 0], [256, 97, 98, 257], [256, 257, 0, 0]]);
        let cut = |text| [TextPieces::Subwords, TextPieces::Bytes].map(|it| cut(text, it, 4));
        assert_eq!([cut("a cat"), cut("a cat is"), cut("")], [[0, 3], [1, 6], [0, 0]]);
    }
}
