//! A small scanner of RON text that finds the position of every field. It knows no types and never panics.
//!
//! Paths are dotted: `train.lr`; `betas.0` for the first element of a tuple or list; `source.train` inside
//! `Shards(train: ..)`. `Some(..)` adds nothing to a path.

use std::cmp::Reverse;
use std::ops::Range;

/// Maximum nesting depth. Deeper text is refused, so that no text can overflow the stack.
const MAX_DEPTH: usize = 64;

/// One field or one element. All numbers are byte offsets into the text.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub path: String,
    /// Start of the key, or of the value if there is no key.
    pub key: usize,
    pub value: Range<usize>,
    /// Offset after the comma that follows.
    pub end: usize,
    /// Has a key, so it can be left out of the text.
    pub named: bool,
    /// The value is `(key: value, ..)`, without a variant's name.
    pub branch: bool,
    /// Every enclosing value is a branch.
    pub plain: bool,
}

/// A syntax fault.
#[derive(Clone, Debug)]
pub(super) struct Slip {
    pub at: usize,
    pub what: String,
    pub hint: String,
}

impl Slip {
    fn new<T>(at: usize, what: impl Into<String>, hint: impl Into<String>) -> Result<T, Self> {
        Err(Self { at, what: what.into(), hint: hint.into() })
    }
}

#[derive(Debug, Default)]
pub(super) struct Scan {
    /// All entries in the order of the text, a parent before its children.
    pub entries: Vec<Entry>,
    /// Missing commas: the whitespace where each one belongs.
    pub commas: Vec<(usize, Slip)>,
    /// The fault at which reading stopped. Entries completed before it are kept.
    pub fatal: Option<Slip>,
}

impl Scan {
    pub fn new(text: &str) -> Self {
        let mut scanner = Scanner {
            text,
            at: 0,
            path: String::new(),
            depth: 0,
            plain: true,
            out: Self::default(),
        };
        let outcome = scanner.document();
        let mut scan = scanner.out;
        scan.fatal = outcome.err();
        scan.entries.sort_by_key(|e| (e.key, Reverse(e.value.end)));
        scan
    }

    /// The entry at a path.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.path == path)
    }
}

pub(super) struct Scanner<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
    pub(super) path: String,
    pub(super) depth: usize,
    pub(super) plain: bool,
    pub(super) out: Scan,
}

pub(super) type Scanned<T> = Result<T, Slip>;

impl Scanner<'_> {
    fn document(&mut self) -> Scanned<()> {
        self.skip();
        while self.rest().starts_with("#!") {
            self.at += self.rest().find(']').map_or(self.rest().len(), |n| n + 1);
            self.skip();
        }
        self.value()?;
        self.skip();
        match self.peek() {
            None => Ok(()),
            Some(_) => Slip::new(
                self.at,
                format!("unexpected {} after the end", self.shown()),
                "a bracket may close too early",
            ),
        }
    }

    /// Reads one value. Returns true if it is a branch.
    fn value(&mut self) -> Scanned<bool> {
        self.skip();
        let start = self.at;
        match self.peek() {
            Some(b'(') => self.group(false),
            Some(b'[') => self.group(true),
            Some(b'{') => self.group(true),
            Some(b'\'') => self.character(),
            Some(_) if self.string_starts() => self.string(),
            _ => {
                let word = self.word();
                if word.is_empty() {
                    return Slip::new(start, format!("expected a value, got {}", self.shown()), "");
                }
                let named = word.starts_with(|c: char| c.is_alphabetic() || c == '_');
                let (some, end) = (word == "Some", self.at);
                self.skip();
                match self.peek() {
                    Some(b'(') if some => self.inside_some(),
                    Some(b'(') if named => self.group(true).map(|_| false),
                    _ => {
                        self.at = end;
                        Ok(false)
                    }
                }
            }
        }
    }

    fn inside_some(&mut self) -> Scanned<bool> {
        let open = self.enter()?;
        let branch = self.value()?;
        self.skip();
        if self.peek() == Some(b',') {
            self.at += 1;
            self.skip();
        }
        if !self.closes(open, b')')? {
            return Slip::new(self.at, format!("expected `)`, got {}", self.shown()), "");
        }
        Ok(branch)
    }

    /// Reads `( .. )`, `[ .. ]` or `{ .. }`. `opaque` is true if its fields are not those of a plain struct.
    fn group(&mut self, opaque: bool) -> Scanned<bool> {
        let (kind, plain) = (self.peek(), self.plain);
        let close = match kind {
            Some(b'(') => b')',
            Some(b'[') => b']',
            _ => b'}',
        };
        let open = self.enter()?;
        let mut branch = false;
        for index in 0.. {
            self.skip();
            if self.closes(open, close)? {
                break;
            }
            let key = self.at;
            let name = match close {
                b')' => self.key()?,
                b'}' => Some(self.map_key()?),
                _ => None,
            };
            branch |= name.is_some() && !opaque;
            self.plain = plain && name.is_some() && !opaque;
            self.field(key, name, index, close)?;
            self.plain = plain;
        }
        Ok(branch)
    }

    fn field(&mut self, key: usize, name: Option<String>, index: usize, close: u8) -> Scanned<()> {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        let named = name.is_some();
        self.path.push_str(&name.unwrap_or_else(|| index.to_string()));
        self.skip();
        let (start, plain) = (self.at, self.plain);
        let branch = self.value()?;
        let (value, path) = (start..self.at, self.path.clone());
        self.path.truncate(length);
        self.comma(close)?;
        self.out.entries.push(Entry { path, key, value, end: self.at, named, branch, plain });
        Ok(())
    }

    /// Reads the comma after a value. A missing comma is recorded and reading continues.
    fn comma(&mut self, close: u8) -> Scanned<()> {
        let end = self.at;
        self.skip();
        match self.peek() {
            Some(b',') => self.at += 1,
            None | Some(b')' | b']' | b'}') => {}
            Some(c) => {
                let what = format!("expected `,` or `{}`, got {}", close as char, self.shown());
                let slip = Slip { at: end, what, hint: "put a comma after every value".into() };
                let blank = self.text.as_bytes().get(end).is_some_and(u8::is_ascii_whitespace);
                if !blank || matches!(c, b':' | b'=' | b';') {
                    return Err(slip);
                }
                self.out.commas.push((end, slip));
            }
        }
        Ok(())
    }

    fn key(&mut self) -> Scanned<Option<String>> {
        let start = self.at;
        if self.string_starts() {
            self.string()?;
            let end = self.at;
            self.skip();
            if self.peek() == Some(b':') {
                let name = self.text.get(start..end).unwrap_or_default().trim_matches('"');
                return Slip::new(
                    start,
                    format!("field `{name}` stands in quotes"),
                    format!("write `{name}: ..`"),
                );
            }
        } else {
            let word = self.word();
            self.skip();
            match self.peek() {
                Some(b':') if !word.is_empty() => {
                    self.at += 1;
                    return Ok(Some(word.trim_start_matches("r#").into()));
                }
                Some(b'=') if !word.is_empty() => {
                    return Slip::new(
                        self.at,
                        format!("expected `:` after `{word}`, got `=`"),
                        format!("write `{word}: ..`"),
                    );
                }
                _ => {}
            }
        }
        self.at = start;
        Ok(None)
    }

    fn map_key(&mut self) -> Scanned<String> {
        let start = self.at;
        self.value()?;
        let name = self.text.get(start..self.at).unwrap_or_default().trim_matches('"').into();
        self.skip();
        if self.peek() != Some(b':') {
            return Slip::new(
                self.at,
                format!("expected `:` after the key, got {}", self.shown()),
                "",
            );
        }
        self.at += 1;
        Ok(name)
    }

    fn enter(&mut self) -> Scanned<usize> {
        let open = self.at;
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Slip::new(open, format!("brackets nest deeper than {MAX_DEPTH}"), "");
        }
        Ok(open)
    }

    /// Reads the closing bracket if it comes next. Refuses a wrong bracket and the end of the text.
    fn closes(&mut self, open: usize, close: u8) -> Scanned<bool> {
        match self.peek() {
            Some(c) if c == close => {
                self.at += 1;
                self.depth -= 1;
                Ok(true)
            }
            None | Some(b')' | b']' | b'}') => {
                let (line, column) = super::position::position(self.text, open);
                let what = format!("expected `{}`, got {}", close as char, self.shown());
                Slip::new(self.at, what, format!("it closes the bracket at {line}:{column}"))
            }
            Some(_) => Ok(false),
        }
    }
}
