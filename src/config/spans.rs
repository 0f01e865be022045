//! Places in a config file: byte offset <-> line and column, and where every field stands.

use std::collections::BTreeMap;

use super::scan::Scan;

/// Line and column of a byte offset, both from 1; a column is one character.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = text.get(..end).unwrap_or_default();
    let line = before.rfind('\n').map_or(0, |n| n + 1);
    let column = before.get(line..).unwrap_or_default().chars().count();
    (1 + before.matches('\n').count(), 1 + column)
}

/// The byte offset of a line and a column, the inverse of `position`.
pub(super) fn offset(text: &str, line: usize, column: usize) -> usize {
    let lines = text.split_inclusive('\n');
    let start: usize = lines.take(line.saturating_sub(1)).map(str::len).sum();
    let rest = text.get(start..).unwrap_or_default();
    start + rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(at, _)| at)
}

/// Where each field of a config stands in its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    file: String,
    places: BTreeMap<String, (usize, usize)>,
}

impl Spans {
    pub(super) fn new(text: &str, file: &str, scan: &Scan) -> Self {
        let place = |e: &super::scan::Entry| (e.path.clone(), position(text, e.value.start));
        Self { file: file.into(), places: scan.entries.iter().map(place).collect() }
    }

    /// Line and column (from 1) of a field's value; None where the file leaves it at its default.
    pub fn get(&self, path: &str) -> Option<(usize, usize)> {
        self.places.get(path).copied()
    }

    /// A field's place for a message: ``configs/x.ron:12:5, `train.lr` ``; without numbers if the file does not set it.
    pub fn place(&self, path: &str) -> String {
        match self.get(path) {
            Some((line, column)) => located(&self.file, line, column, path),
            None if path.is_empty() => self.file.clone(),
            None if self.file.is_empty() => format!("`{path}`"),
            None => format!("{}, `{path}` (its default)", self.file),
        }
    }
}

pub(super) fn located(file: &str, line: usize, column: usize, path: &str) -> String {
    let field = if path.is_empty() { String::new() } else { format!(", `{path}`") };
    format!("{file}:{line}:{column}{field}")
}
