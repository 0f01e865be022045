//! A JSON parser that accepts the bytes Python's `json.loads` accepts, which is more than the standard allows.
//!
//! Also accepted: NaN, Infinity and -Infinity; numbers of any size, which become infinite; half of a surrogate pair as
//! an escape; UTF-16 and UTF-32; a byte order mark. Refused as in Python: integers of more than 4300 digits, and
//! nesting deeper than 1000.
//!
//! Differs: half of a surrogate pair written out in UTF-8 is refused; Python accepts it.

use super::text::{utf8, utf16, utf32};
use std::collections::BTreeMap;

/// Digits of the longest integer that Python reads.
const LONGEST_INTEGER: usize = 4300;
const DEEPEST: usize = 1000;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    /// If a key occurs twice, the last value counts.
    Object(BTreeMap<String, Json>),
}

/// Parses bytes. None for input that Python refuses.
pub fn parse(bytes: &[u8]) -> Option<Json> {
    let text = decode(bytes)?;
    let mut reader = Reader { rest: &text, depth: 0 };
    let value = reader.value()?;
    reader.skip_blanks();
    reader.rest.is_empty().then_some(value)
}

/// Decodes the text in the encoding shown by its byte order mark or its first zero bytes. The mark is removed.
///
/// Source:  CPython Lib/json/__init__.py `detect_encoding`.
fn decode(bytes: &[u8]) -> Option<String> {
    let (le, be) = (u16::from_le_bytes as fn([u8; 2]) -> u16, u16::from_be_bytes as fn(_) -> _);
    let (wide_le, wide_be) =
        (u32::from_le_bytes as fn([u8; 4]) -> u32, u32::from_be_bytes as fn(_) -> _);
    match *bytes {
        [0xff, 0xfe, 0, 0, ..] => utf32(&bytes[4..], wide_le),
        [0, 0, 0xfe, 0xff, ..] => utf32(&bytes[4..], wide_be),
        [0xff, 0xfe, ..] => utf16(&bytes[2..], le),
        [0xfe, 0xff, ..] => utf16(&bytes[2..], be),
        [0xef, 0xbb, 0xbf, ..] => utf8(&bytes[3..]),
        [0, 0, _, _, ..] => utf32(bytes, wide_be),
        [0, _, _, _, ..] => utf16(bytes, be),
        [_, 0, 0, 0, ..] => utf32(bytes, wide_le),
        [_, 0, _, _, ..] => utf16(bytes, le),
        _ => utf8(bytes),
    }
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl Reader<'_> {
    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    /// Skips `token` if it comes next. Returns whether it did.
    fn takes(&mut self, token: &str) -> bool {
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn value(&mut self) -> Option<Json> {
        const WORDS: [(&str, Json); 6] = [
            ("null", Json::Null),
            ("true", Json::Bool(true)),
            ("false", Json::Bool(false)),
            ("NaN", Json::Number(f64::NAN)),
            ("Infinity", Json::Number(f64::INFINITY)),
            ("-Infinity", Json::Number(f64::NEG_INFINITY)),
        ];
        self.skip_blanks();
        if let Some((_, value)) = WORDS.into_iter().find(|(word, _)| self.takes(word)) {
            return Some(value);
        }
        match self.rest.bytes().next()? {
            b'"' => self.text().map(Json::Text),
            b'[' | b'{' if self.depth == DEEPEST => None,
            b'[' => self.list(),
            b'{' => self.object(),
            _ => self.number(),
        }
    }

    fn list(&mut self) -> Option<Json> {
        let mut values = Vec::new();
        self.items("[", "]", |reader| {
            values.push(reader.value()?);
            Some(())
        })?;
        Some(Json::List(values))
    }

    fn object(&mut self) -> Option<Json> {
        let mut values = BTreeMap::new();
        self.items("{", "}", |reader| {
            let key = reader.text()?;
            reader.skip_blanks();
            if !reader.takes(":") {
                return None;
            }
            values.insert(key, reader.value()?);
            Some(())
        })?;
        Some(Json::Object(values))
    }

    /// Parses a list of `item`s separated by commas, from `open` to `close`.
    fn items(
        &mut self,
        open: &str,
        close: &str,
        mut item: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.takes(open);
        self.skip_blanks();
        if self.takes(close) {
            return Some(());
        }
        self.depth += 1;
        loop {
            self.skip_blanks();
            item(self)?;
            self.skip_blanks();
            if self.takes(close) {
                self.depth -= 1;
                return Some(());
            }
            if !self.takes(",") {
                return None;
            }
        }
    }

    fn text(&mut self) -> Option<String> {
        if !self.takes("\"") {
            return None;
        }
        let mut text = String::new();
        loop {
            match self.next()? {
                '"' => return Some(text),
                '\\' => text.push(self.escape()?),
                c if c < ' ' => return None,
                c => text.push(c),
            }
        }
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    /// The character after a backslash.
    fn escape(&mut self) -> Option<char> {
        match self.next()? {
            c @ ('"' | '\\' | '/') => Some(c),
            'b' => Some('\u{8}'),
            'f' => Some('\u{c}'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'u' => self.unicode(),
            _ => None,
        }
    }

    /// A `\u` escape of one or two UTF-16 units. Half of a surrogate pair becomes the replacement character.
    fn unicode(&mut self) -> Option<char> {
        let high = self.unit()?;
        if let Some(c) = char::from_u32(high) {
            return Some(c);
        }
        let behind = self.rest;
        if high < 0xdc00 && self.takes("\\u") {
            if let Some(low @ 0xdc00..=0xdfff) = self.unit() {
                return char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00));
            }
            self.rest = behind;
        }
        Some(char::REPLACEMENT_CHARACTER)
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Option<u32> {
        let digits = self.rest.get(..4)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        self.rest = &self.rest[4..];
        u32::from_str_radix(digits, 16).ok()
    }

    /// Parses a number: minus, digits without a leading zero, then an optional fraction and exponent.
    fn number(&mut self) -> Option<Json> {
        let text = self.rest;
        self.takes("-");
        let whole = self.digits();
        if whole == 0 {
            return None;
        }
        let integer = text.len() - self.rest.len();
        if whole > 1 && text[integer - whole..].starts_with('0') {
            return None;
        }
        self.part(".", false);
        self.part("e", true);
        let length = text.len() - self.rest.len();
        if length == integer && whole > LONGEST_INTEGER {
            return None;
        }
        text[..length].parse().ok().map(Json::Number)
    }

    /// Parses a fraction or an exponent, or consumes nothing.
    fn part(&mut self, mark: &str, signed: bool) {
        let before = self.rest;
        if self.takes(mark) || (signed && self.takes("E")) {
            if signed && !self.takes("-") {
                self.takes("+");
            }
            if self.digits() > 0 {
                return;
            }
        }
        self.rest = before;
    }

    /// Skips digits and returns their number.
    fn digits(&mut self) -> usize {
        let rest = self.rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let count = self.rest.len() - rest.len();
        self.rest = rest;
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_python_reads() {
        let number = |text: &str| match parse(text.as_bytes()) {
            Some(Json::Number(value)) => value,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(number(" -1.5e2\n"), -150.0);
        assert_eq!(number("1e999"), f64::INFINITY);
        assert_eq!(number(&"9".repeat(4300)), f64::INFINITY);
        assert_eq!(parse("9".repeat(4301).as_bytes()), None);
        assert_eq!(parse(b"\"\\ud83d\\ude00 \\ud83d\""), Some(Json::Text("😀 \u{fffd}".into())));
        let wide: Vec<u8> = "[\"é\"]".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(parse(&wide), parse("[\"é\"]".as_bytes()));
    }

    #[test]
    fn refuses_what_python_refuses() {
        let words = "01 1. .5 +1 - -NaN 1e 1e+ nul nulll [1,] {\"a\"} {\"a\":1,} {a:1} \"a \"\\x\" \"\\u12g4\" \"\\u+123\"";
        let refused = words.split(' ').chain(["", " ", "1 1", "[1 2]", "\"\n\"", "\u{a0}1"]);
        for text in refused {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse("[".repeat(100_000).as_bytes()), None);
    }
}
