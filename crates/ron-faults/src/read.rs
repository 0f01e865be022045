//! Reads a config and lists all its faults at once, each with line, column, field and hint.
//!
//! The `ron` crate stops at the first fault. So the field at fault is recorded and replaced by blanks, which keeps all
//! other positions, and the text is read again. This repeats until the text parses or a syntax fault hides the rest.
//!
//! RON's `implicit_some` is always on: `limit: 100` sets an optional field, `limit: None` clears it.

use std::io::Read;
use std::path::Path;

use ron::error::Error as RonError;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::choice;
use super::explain::{self, Site};
use super::position::{offset, position};
use super::print::{options, to_ron};
use super::scan::{Entry, Scan};
use super::spans::{Spans, located};
use super::text::{clean, utf8};
use crate::{Fault, Result};

/// Reads a config from RON text. `file` is the name used in messages.
///
/// Errors: all faults of syntax and type, in the order of the text.
pub fn parse<T: DeserializeOwned + Serialize + Default>(
    text: &str,
    file: &str,
) -> Result<(T, Spans)> {
    let text = clean(text);
    let attempt = Attempt::<T>::new(&text);
    let spans = Spans::new(attempt.text, file, &attempt.scan);
    match attempt.value {
        Some(value) if attempt.found.is_empty() => Ok((value, spans)),
        _ => Err(faults(attempt.text, file, &attempt.found)),
    }
}

/// Reads a config file. `check` validates the values and returns one fault for each field that makes no sense, with the
/// field's path as its place. These are listed together with the type faults, except for fields that could not be read.
///
/// Errors: all faults; one fault if the file cannot be read.
pub fn read<T: DeserializeOwned + Serialize + Default>(
    path: &Path,
    check: impl Fn(&T) -> Vec<Fault>,
) -> Result<T> {
    let file = path.display().to_string();
    let bytes = bounded(path).map_err(|e| unreadable(&file, &e))?;
    let text = utf8(bytes, &file).map_err(|fault| vec![fault])?;
    let attempt = Attempt::<T>::new(&text);
    let spans = Spans::new(attempt.text, &file, &attempt.scan);
    let mut all = faults(attempt.text, &file, &attempt.found);
    let found = attempt.value.as_ref().map(check).unwrap_or_default();
    let readable =
        found.into_iter().filter(|fault| !attempt.lost.iter().any(|l| related(l, &fault.place)));
    all.extend(readable.map(|fault| Fault { place: spans.place(&fault.place), ..fault }));
    match attempt.value {
        Some(value) if all.is_empty() => Ok(value),
        _ => Err(all),
    }
}

/// The longest config, in bytes.
const LONGEST: u64 = 1 << 24;

/// The bytes of a file, which may be a pipe.
///
/// Errors: it cannot be read; it is longer than any config, such as a device without an end.
fn bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(std::io::Error::other(format!("it is longer than {LONGEST} bytes")));
    }
    Ok(bytes)
}

fn unreadable(file: &str, error: &std::io::Error) -> Vec<Fault> {
    let hint = match error.kind() {
        std::io::ErrorKind::NotFound => "check the path",
        _ => "check that it is a readable file",
    };
    vec![Fault::new(format!("cannot read the config: {error}"), file, hint)]
}

/// Whether the paths are equal or one contains the other.
fn related(a: &str, b: &str) -> bool {
    let inside = |outer: &str, inner: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    inside(a, b) || inside(b, a)
}

/// A fault that does not carry its file name yet.
pub(super) struct PlacedFault {
    /// Byte offset.
    pub at: usize,
    pub path: String,
    pub what: String,
    pub hint: String,
}

fn faults(text: &str, file: &str, found: &[PlacedFault]) -> Vec<Fault> {
    let fault = |f: &PlacedFault| {
        let (line, column) = position(text, f.at);
        Fault::new(&f.what, located(file, line, column, &f.path), &f.hint)
    };
    found.iter().map(fault).collect()
}

/// The result of reading one text.
pub(super) struct Attempt<'a, T> {
    /// The text without a byte order mark.
    text: &'a str,
    scan: Scan,
    /// The config that could be read, with the default in each field at fault. None if the syntax is broken.
    pub value: Option<T>,
    pub found: Vec<PlacedFault>,
    /// Paths of the fields that were replaced by blanks.
    lost: Vec<String>,
}

impl<'a, T: DeserializeOwned + Serialize + Default> Attempt<'a, T> {
    pub fn new(text: &'a str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let value = options().from_str::<T>(text).ok();
        let broken = value.is_none();
        let mut attempt = Self { text, scan: Scan::new(text), value, found: vec![], lost: vec![] };
        if broken {
            attempt.recover();
            attempt.found.sort_by_key(|f| f.at);
        }
        attempt
    }

    fn recover(&mut self) {
        let mut work = self.text.as_bytes().to_vec();
        for (at, slip) in &self.scan.commas {
            work[*at] = b',';
            self.found.push(PlacedFault {
                at: slip.at,
                path: String::new(),
                what: slip.what.clone(),
                hint: slip.hint.clone(),
            });
        }
        let defaults = to_ron(&T::default());
        let known = Scan::new(&defaults);
        let mut blanked = vec![false; self.scan.entries.len()];
        // Each iteration blanks one more field or ends the loop.
        loop {
            let text = String::from_utf8_lossy(&work).into_owned();
            let error = match options().from_str::<T>(&text) {
                Ok(value) => return self.value = Some(value),
                Err(error) => error,
            };
            let at = offset(&text, error.span.end.line, error.span.end.col);
            let Some(index) = self.culprit(&error.code, at, &blanked) else {
                return self.give_up(&error.code, at);
            };
            self.note(&error.code, at, index, &blanked, &text, (&defaults, &known));
            let entry = &self.scan.entries[index];
            blanked[index] = true;
            self.lost.push(entry.path.clone());
            let blank = |b: &mut u8| *b = if matches!(*b, b'\n' | b'\r') { *b } else { b' ' };
            work[entry.key..entry.end].iter_mut().for_each(blank);
        }
    }

    /// The innermost named field at fault that is not blanked yet.
    fn culprit(&self, code: &RonError, at: usize, blanked: &[bool]) -> Option<usize> {
        if self.scan.fatal.as_ref().is_some_and(|slip| at >= slip.at) {
            return None;
        }
        let missing = matches!(code, RonError::MissingStructField { .. });
        let holds = |e: &Entry| match missing {
            true => e.value.start < at && at < e.value.end,
            false => e.key <= at && at <= e.value.end,
        };
        let entries = self.scan.entries.iter().enumerate();
        entries.filter(|(i, e)| e.named && !blanked[*i] && holds(e)).map(|(i, _)| i).next_back()
    }

    fn note(
        &mut self,
        code: &RonError,
        at: usize,
        index: usize,
        blanked: &[bool],
        work: &str,
        (defaults, known): (&str, &Scan),
    ) {
        let entries = &self.scan.entries;
        let target = &entries[index];
        if let RonError::MissingStructField { field, .. } = code {
            let path = format!("{}.{field}", target.path);
            if entries.iter().zip(blanked).any(|(e, blank)| *blank && e.path == path) {
                return; // it is missing because it was blanked
            }
        }
        let inner =
            entries.iter().rfind(|e| e.key >= target.key && e.key <= at && at <= e.value.end);
        let mut entry =
            if explain::concerns_whole(code) { target } else { inner.unwrap_or(target) };
        let slice =
            |text: &str, e: &Entry| text.get(e.value.clone()).unwrap_or_default().to_string();
        let mut own = [entry, target].into_iter().filter(|_| choice::concerns_form(code));
        let form = own.find_map(|e| {
            let (what, hint) = choice::explain::<T>(work, &e.value, &slice(self.text, e))?;
            Some((e, what, hint))
        });
        let first = entries.iter().find(|e| e.path == entry.path && e.key < entry.key);
        let context = Site {
            value: &slice(self.text, entry),
            default: known.get(&entry.path).map(|e| slice(defaults, e)),
            known,
            first: first.map(|e| position(self.text, e.key)),
        };
        let (mut what, mut hint) = explain::explain(code, &context);
        if let Some((own, said, how)) = form {
            (entry, what, hint) = (own, said, how);
        }
        let start = if explain::concerns_key(code) { entry.key } else { entry.value.start };
        self.found.push(PlacedFault { at: start, path: entry.path.clone(), what, hint });
    }

    /// Records a fault that belongs to no field: broken syntax, or a whole value of the wrong shape.
    fn give_up(&mut self, code: &RonError, at: usize) {
        let found = match &self.scan.fatal {
            Some(slip) => PlacedFault {
                at: slip.at,
                path: String::new(),
                what: slip.what.clone(),
                hint: slip.hint.clone(),
            },
            None => {
                let what = explain::plain(code);
                PlacedFault {
                    at,
                    path: String::new(),
                    what,
                    hint: "a config is `(field: value, ..)`".into(),
                }
            }
        };
        self.found.push(found);
    }
}
