//! Positions in a config file: byte offset <-> line and column, and the position of every field.

use std::collections::BTreeMap;

use super::position::position;
use super::scan::{Entry, Scan};

/// The position of each field in its config file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    file: String,
    places: BTreeMap<String, (usize, usize)>,
}

impl Spans {
    pub(super) fn new(text: &str, file: &str, scan: &Scan) -> Self {
        let place = |e: &Entry| (e.path.clone(), position(text, e.value.start));
        Self { file: file.into(), places: scan.entries.iter().map(place).collect() }
    }

    /// Line and column (from 1) of a field's value. None if the file leaves the field at its default.
    pub fn get(&self, path: &str) -> Option<(usize, usize)> {
        self.places.get(path).copied()
    }

    /// A field's place for a message: ``configs/x.ron:12:5, `train.lr` ``. Without numbers if the file does not set it.
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
