//! Parses one line of input: a command, words, "quoted text" and `key=value`. Numbers are validated here.

use crate::error::{Error, Result};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The arguments of a command, split but not interpreted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// The line as the user typed it, used as the `in:` of errors.
    pub line: String,
    /// Synopsis of the command once it is known, used as the hint if an argument is missing.
    pub usage: &'static str,
    pub words: Vec<String>,
    pub pairs: Vec<(String, String)>,
}

/// Splits a line into the command's name and its arguments. None for an empty line or a comment.
pub fn parse(line: &str) -> Result<Option<(String, Args)>> {
    let line = line.trim();
    let mut args = Args { line: line.into(), ..Args::default() };
    let mut name = None;
    for part in split(line)? {
        match part {
            Part::Word(word) if name.is_none() => name = Some(word),
            Part::Word(word) => args.words.push(word),
            Part::Pair(key, value) if name.is_some() => args.pairs.push((key, value)),
            Part::Pair(key, value) => {
                let hint = format!("to change a setting: `set {key} {value}`");
                return Err(Error::command(format!("`{key}={value}` is no command"), line, hint));
            }
        }
    }
    Ok(name.map(|name| (name, args)))
}

enum Part {
    Word(String),
    Pair(String, String),
}

/// Splits a line into parts. A `#` starts a comment at the beginning of the line, and behind two blanks if a blank or nothing follows it: a prompt
/// such as `mug for the #1 dad` is never cut. A backslash keeps the next letter inside quotes.
fn split(line: &str) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    let mut letters = line.chars().peekable();
    let mut blanks = 2; // the beginning of a line is as good as two blanks
    while let Some(&first) = letters.peek() {
        if first.is_whitespace() {
            letters.next();
            blanks += if first == '\t' { 2 } else { 1 };
            continue;
        }
        if first == '#' && (parts.is_empty() || comment_follows(blanks, letters.clone())) {
            break;
        }
        blanks = 0;
        let (mut text, mut key, mut quote, mut quoted) = (String::new(), None, None, false);
        while let Some(&c) = letters.peek() {
            match (c, quote) {
                (c, Some(q)) if c == q => quote = None,
                ('\\', Some(_)) => {
                    letters.next();
                    text.extend(letters.peek());
                }
                (c, Some(_)) => text.push(c),
                ('"' | '\'', None) if text.is_empty() => (quote, quoted) = (Some(c), true),
                (c, None) if c.is_whitespace() => break,
                ('=', None) if key.is_none() && !quoted && is_key(&text) => {
                    key = Some(std::mem::take(&mut text));
                }
                (c, None) => text.push(c),
            }
            letters.next();
        }
        if let Some(q) = quote {
            let hint = format!("end the text with another {q}");
            return Err(Error::command(format!("the quote {q} is never closed"), line, hint));
        }
        parts.push(key.map_or(Part::Word(text.clone()), |key| Part::Pair(key, text)));
    }
    Ok(parts)
}

/// Whether the `#` that comes next begins a comment, behind so many blanks.
fn comment_follows(blanks: usize, mut letters: impl Iterator<Item = char>) -> bool {
    letters.next();
    blanks >= 2 && letters.next().is_none_or(char::is_whitespace)
}

fn is_key(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl Args {
    /// All words joined by blanks, so that a caption needs no quotes.
    pub fn joined(&self) -> String {
        self.words.join(" ")
    }

    /// Refuses more than `most` words. None means no limit.
    pub fn at_most(&self, most: Option<usize>) -> Result<()> {
        match most.and_then(|most| self.words.get(most)) {
            None => Ok(()),
            Some(word) => Err(self.misused(format!("`{word}` is one word too many"))),
        }
    }

    /// The first word, which is required. `what` names it in the error.
    pub fn one(&self, what: &str) -> Result<&str> {
        let missing = || self.misused(format!("{what} is missing"));
        self.words.first().map(String::as_str).filter(|w| !w.is_empty()).ok_or_else(missing)
    }

    /// Refuses unknown keys and keys given twice.
    pub fn known_keys(&self, known: &[&str]) -> Result<()> {
        for (i, (key, _)) in self.pairs.iter().enumerate() {
            if !known.contains(&key.as_str()) {
                let hint = match known {
                    [] => {
                        "this command takes no key=value; text with `=` goes in \"quotes\"".into()
                    }
                    _ => format!("known: {}", known.join(", ")),
                };
                return Err(self.fault(format!("unknown key `{key}`"), hint));
            }
            if self.pairs[..i].iter().any(|p| p.0 == *key) {
                return Err(self.fault(format!("`{key}` is given twice"), "leave one out"));
            }
        }
        Ok(())
    }

    /// The value of `key=value`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|p| p.0 == key).map(|p| p.1.as_str())
    }

    /// The word at `index` as a number within `range`. None if there is no such word.
    pub fn word<T: Number>(
        &self,
        index: usize,
        name: &str,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>> {
        self.words.get(index).map(|text| self.number(name, text, range)).transpose()
    }

    /// As `word`, but the word is required.
    pub fn need<T: Number>(&self, index: usize, name: &str, range: RangeInclusive<T>) -> Result<T> {
        let missing = || self.misused(format!("{name} is missing"));
        self.word(index, name, range)?.ok_or_else(missing)
    }

    /// The value of `key=value` as a number within `range`.
    pub fn key<T: Number>(&self, key: &str, range: RangeInclusive<T>) -> Result<Option<T>> {
        self.get(key).map(|text| self.number(key, text, range)).transpose()
    }

    /// Two numbers `a..b` or `a,b`, or one number for both.
    pub fn key_pair(&self, key: &str, range: RangeInclusive<f64>) -> Result<Option<(f64, f64)>> {
        let Some(text) = self.get(key) else { return Ok(None) };
        let (a, b) = text.split_once("..").or_else(|| text.split_once(',')).unwrap_or((text, text));
        let number = |text: &str| self.number(key, text.trim(), range.clone());
        Ok(Some((number(a)?, number(b)?)))
    }

    fn number<T: Number>(&self, name: &str, text: &str, range: RangeInclusive<T>) -> Result<T> {
        let wanted = format!("{name} is {} from {} to {}", T::KIND, range.start(), range.end());
        let number = text
            .parse::<T>()
            .map_err(|_| self.fault(format!("`{text}` is no number for {name}"), wanted.clone()))?;
        match range.contains(&number) {
            true => Ok(number),
            false => Err(self.fault(format!("{name} {text} is out of range"), wanted)),
        }
    }

    /// An error whose hint is the command's usage.
    pub fn misused(&self, what: impl Into<String>) -> Error {
        self.fault(what, format!("usage: {}", self.usage))
    }

    /// An error located at this line.
    pub fn fault(&self, what: impl Into<String>, hint: impl Into<String>) -> Error {
        Error::command(what, format!("`{}`", self.line), hint)
    }
}

/// Number types that arguments can have.
pub trait Number: FromStr + PartialOrd + Display {
    const KIND: &str;
}

impl Number for u64 {
    const KIND: &str = "a whole number";
}
impl Number for i64 {
    const KIND: &str = "a whole number";
}
impl Number for f64 {
    const KIND: &str = "a number";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args {
        parse(line).expect("a good line").expect("a command").1
    }

    #[test]
    fn splits_words_quotes_and_pairs() {
        let (name, args) = parse("sample \"a red fox\" cat steps=4 negative=\"a dog\"  # why")
            .expect("a good line")
            .expect("a command");
        assert_eq!(name, "sample");
        assert_eq!(args.words, ["a red fox", "cat"]);
        assert_eq!(args.get("steps"), Some("4"));
        assert_eq!(args.get("negative"), Some("a dog"));
    }

    #[test]
    fn a_quote_inside_a_word_is_a_letter() {
        assert_eq!(args("show cat's \"a \\\"b\\\"\" 'x=1'").words, ["cat's", "a \"b\"", "x=1"]);
    }

    #[test]
    fn a_comment_never_cuts_a_prompt() {
        let all = args("sample mug for the #1 dad steps=1 seed=3");
        assert_eq!(all.joined(), "mug for the #1 dad");
        assert_eq!(all.get("seed"), Some("3"));
        assert_eq!(args("sample C # minor").words, ["C", "#", "minor"]);
        assert_eq!(args("sample red  #tag").words, ["red", "#tag"]);
        assert_eq!(args("train 1000   # a comment").words, ["1000"]);
        assert_eq!(args("train 10\t#").words, ["10"]);
    }

    #[test]
    fn empty_lines_and_comments_are_nothing() {
        for line in ["", "   ", "# a comment", "\t#"] {
            assert_eq!(parse(line), Ok(None));
        }
    }

    #[test]
    fn refuses_open_quotes_and_leading_pairs() {
        assert!(parse("sample \"a red").is_err());
        assert!(parse("steps=4").is_err());
    }

    #[test]
    fn checks_numbers() {
        let args = args("noise 1.5 x steps=0 cfg=1..4");
        assert!(args.word(0, "T", 0.0..=1.0).is_err());
        assert!(args.word(1, "T", 0.0..=1.0).is_err());
        assert!(args.word(2, "T", 0.0..=1.0).expect("nothing there").is_none());
        assert!(args.key("steps", 1u64..=1000).is_err());
        assert_eq!(args.key_pair("cfg", 0.0..=100.0), Ok(Some((1.0, 4.0))));
        let nan = super::parse("noise NaN").expect("a good line").expect("a command").1;
        assert!(nan.word(0, "T", 0.0..=1.0).is_err());
    }

    #[test]
    fn names_the_known_keys() {
        let error = args("sample fox stesp=4").known_keys(&["steps", "cfg"]).expect_err("refused");
        assert_eq!(error.faults()[0].hint, "known: steps, cfg");
        assert!(args("a x=1 x=2").known_keys(&["x"]).is_err());
    }
}
