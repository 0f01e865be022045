//! Parses one line of input: a command, words, "quoted text" and `key=value`. Numbers are validated here.

use crate::data::home;
use crate::error::{Error, Result};
use ron_faults::clean;
use std::fmt::Display;
use std::iter::Peekable;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::{CharIndices, FromStr};

/// The arguments of a command, split but not interpreted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// The line as the user typed it, without a comment. The `in:` of errors.
    pub line: String,
    /// Synopsis of the command once it is known, used as the hint if an argument does not fit.
    pub usage: &'static str,
    pub words: Vec<String>,
    pub pairs: Vec<(String, String)>,
}

/// Splits a line into the command's name and its arguments. None for an empty line or a comment.
///
/// The prompt's sign at the beginning of a line that was copied, `> ` or `emoji-64> `, is left out.
///
/// A `#` begins a comment at the beginning of the line. Behind two blanks or a tab it begins one too if a blank or
/// nothing follows it. So a text such as `mug for the #1 dad` is never cut.
pub fn parse(line: &str) -> Result<Option<(String, Args)>> {
    let line = clean(line);
    let line = without_sign(&line);
    let (parts, end) = split(line)?;
    let line = line[..end].trim();
    let mut args = Args { line: line.into(), ..Args::default() };
    let mut name = None;
    for part in parts {
        match part {
            ArgPart::Word(word) if name.is_none() => name = Some(word),
            ArgPart::Word(word) => args.words.push(word),
            ArgPart::Pair(key, value) if name.is_some() => args.pairs.push((key, value)),
            ArgPart::Pair(key, value) => {
                let hint = format!("to change a setting: `set {key} {value}`");
                return Err(Error::command(format!("`{key}={value}` is no command"), line, hint));
            }
        }
    }
    Ok(name.map(|name| (name, args)))
}

/// A line without the sign of the prompt that it was copied with: a model's name, or nothing, and `>`.
fn without_sign(line: &str) -> &str {
    let is_name = |name: &str| name.chars().all(|c| c.is_alphanumeric() || "-_./@+".contains(c));
    match line.trim_start().split_once("> ") {
        Some((name, rest)) if is_name(name) && !name.ends_with('-') => rest,
        _ => line,
    }
}

/// The byte where the last word of a line begins, its quote included. The end of the line if a blank is last.
pub fn last_word(line: &str) -> usize {
    let mut letters = Letters::new(line);
    let mut start = 0;
    loop {
        letters.blanks();
        let at = letters.at();
        if at == line.len() {
            return if letters.blanks > 0 { at } else { start };
        }
        start = at;
        letters.part();
    }
}

/// A text as one word of a line: in quotes if it would not be one without.
pub fn quoted(text: &str, quote: Option<char>) -> String {
    let plain = |c: char| !c.is_whitespace() && !matches!(c, '"' | '\'' | '#' | '=');
    match quote {
        None if !text.is_empty() && text.chars().all(plain) => text.into(),
        quote => {
            let quote = quote.unwrap_or('"');
            let escaped = |c: char| if c == quote || c == '\\' { vec!['\\', c] } else { vec![c] };
            let inner: String = text.chars().flat_map(escaped).collect();
            format!("{quote}{inner}{quote}")
        }
    }
}

/// The text of a word that may be in quotes, and its quote. The closing quote may be missing.
pub fn unquoted(word: &str) -> (String, Option<char>) {
    let quote = word.chars().next().filter(|c| matches!(c, '"' | '\''));
    let (part, _) = Letters::new(word).part();
    match part {
        _ if quote.is_none() => (word.into(), None),
        ArgPart::Word(text) | ArgPart::Pair(_, text) => (text, quote),
    }
}

enum ArgPart {
    Word(String),
    Pair(String, String),
}

/// Splits a line into parts, and tells the byte where its comment begins: the end if it has none.
fn split(line: &str) -> Result<(Vec<ArgPart>, usize)> {
    let (mut parts, mut letters) = (Vec::new(), Letters::new(line));
    loop {
        letters.blanks();
        let end = letters.at();
        if end == line.len() || letters.comment_follows(parts.is_empty()) {
            return Ok((parts, end));
        }
        let (part, open) = letters.part();
        if let Some(q) = open {
            let hint = format!("end the text with another {q}");
            let what = format!("the quote {q} is never closed");
            return Err(Error::command(what, line.trim(), hint));
        }
        parts.push(part);
    }
}

/// Reads a line letter by letter.
struct Letters<'a> {
    line: &'a str,
    letters: Peekable<CharIndices<'a>>,
    /// Blanks just before the coming letter.
    blanks: usize,
}

impl<'a> Letters<'a> {
    fn new(line: &'a str) -> Self {
        Self { line, letters: line.char_indices().peekable(), blanks: 0 }
    }

    /// The byte of the coming letter.
    fn at(&mut self) -> usize {
        self.letters.peek().map_or(self.line.len(), |&(at, _)| at)
    }

    /// Reads over blanks. A tab counts as two.
    fn blanks(&mut self) {
        self.blanks = 0;
        while let Some((_, c)) = self.letters.next_if(|(_, c)| c.is_whitespace()) {
            self.blanks += if c == '\t' { 2 } else { 1 };
        }
    }

    /// Whether the coming letter is a `#` that begins a comment.
    fn comment_follows(&mut self, first: bool) -> bool {
        let at = self.at();
        let Some(rest) = self.line[at..].strip_prefix('#') else { return false };
        first || (self.blanks >= 2 && rest.chars().next().is_none_or(char::is_whitespace))
    }

    /// Reads one part, and tells the quote that is not closed. A backslash keeps the next letter inside quotes.
    fn part(&mut self) -> (ArgPart, Option<char>) {
        let (mut text, mut key, mut quote, mut quoted) = (String::new(), None, None, false);
        while let Some(&(_, c)) = self.letters.peek() {
            match (c, quote) {
                (c, Some(q)) if c == q => quote = None,
                ('\\', Some(_)) => {
                    self.letters.next();
                    text.extend(self.letters.peek().map(|&(_, c)| c));
                }
                (c, Some(_)) => text.push(c),
                ('"' | '\'', None) if text.is_empty() => (quote, quoted) = (Some(c), true),
                (c, None) if c.is_whitespace() => break,
                ('=', None) if key.is_none() && !quoted && is_key(&text) => {
                    key = Some(std::mem::take(&mut text));
                }
                (c, None) => text.push(c),
            }
            self.letters.next();
        }
        (key.map_or(ArgPart::Word(text.clone()), |key| ArgPart::Pair(key, text)), quote)
    }
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

    /// The first word as a path. A leading `~` is the home folder.
    pub fn path(&self) -> PathBuf {
        home(self.first().as_ref())
    }

    /// What follows the command's name, as it was typed.
    pub fn rest(&self) -> &str {
        self.line.split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim_start())
    }

    /// The first word. Empty if there is none: the command table says which commands need one.
    pub fn first(&self) -> &str {
        self.words.first().map_or("", String::as_str)
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

    /// The first word as a number within `range`.
    pub fn first_number<T: Number>(&self, name: &str, range: RangeInclusive<T>) -> Result<T> {
        self.number(name, self.first(), range)
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
    fn the_sign_of_a_copied_prompt_is_no_part_of_the_line() {
        assert_eq!(args("> show 0").line, "show 0");
        assert_eq!(args("emoji-64> show 0").line, "show 0");
        for line in ["Vec<u8> show 0", "=> show 0", "-> show 0", "a b> show 0"] {
            assert_eq!(args(line).line, line);
        }
        assert_eq!(args("sample a > b").joined(), "a > b");
        assert_eq!(parse("> # a comment"), Ok(None));
    }

    #[test]
    fn a_comment_is_no_part_of_the_line() {
        assert_eq!(args("set name x  # y").line, "set name x");
        assert_eq!(args("  set  name \"x  # y\"").rest(), "name \"x  # y\"");
        assert_eq!(args("undo").rest(), "");
    }

    #[test]
    fn quotes_come_and_go() {
        for text in ["a.png", "my pics/a.png", "a\"b", "a'b c", "x=1", "back\\slash d", "#1"] {
            let word = quoted(text, None);
            assert_eq!(args(&format!("show {word}")).words, [text]);
            assert_eq!(unquoted(&word).0, text);
        }
        assert_eq!(quoted("a.png", None), "a.png");
        assert_eq!(quoted("a.png", Some('\'')), "'a.png'");
        assert_eq!(unquoted("\"my pi"), ("my pi".to_string(), Some('"')));
    }

    #[test]
    fn the_last_word_begins_at_its_quote() {
        let last = |line: &str| line[last_word(line)..].to_string();
        assert_eq!((last("show my pi"), last("show \"my pi")), ("pi".into(), "\"my pi".into()));
        assert_eq!((last("show \"my pics/\""), last("show ")), ("\"my pics/\"".into(), "".into()));
        assert_eq!(
            (last(""), last("sho"), last("data x group=a")),
            ("".into(), "sho".into(), "group=a".into())
        );
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
}
