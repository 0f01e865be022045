//! The cells of this session, for the front end's search.

use jupyter_protocol::{HistoryEntry, HistoryReply, HistoryRequest};
use std::collections::HashSet;

/// Cells with their numbers.
#[derive(Default)]
pub struct History {
    cells: Vec<(usize, String)>,
}

impl History {
    pub fn add(&mut self, number: usize, code: &str) {
        self.cells.push((number, code.into()));
    }

    pub fn answer(&self, request: &HistoryRequest) -> HistoryReply {
        let (cells, output) = match request {
            HistoryRequest::Tail { n, output, .. } => (self.last(self.cells.clone(), *n), *output),
            HistoryRequest::Range { start, stop, output, .. } => {
                let inside = |number: i32| number >= *start && (*stop == 0 || number < *stop);
                let cells = self.cells.iter().filter(|cell| inside(cell.0 as i32));
                (cells.cloned().collect(), *output)
            }
            HistoryRequest::Search { pattern, unique, output, n, .. } => {
                (self.search(pattern, *unique, *n), *output)
            }
        };
        let entry = |(number, code): (usize, String)| match output {
            true => HistoryEntry::InputOutput(0, number, (code, String::new())),
            false => HistoryEntry::Input(0, number, code),
        };
        HistoryReply::new(cells.into_iter().map(entry).collect())
    }

    fn search(&self, pattern: &str, unique: bool, n: i32) -> Vec<(usize, String)> {
        let mut seen = HashSet::new();
        let matches = self.cells.iter().filter(|cell| glob(pattern.as_bytes(), cell.1.as_bytes()));
        let found = matches.filter(|cell| !unique || seen.insert(cell.1.clone()));
        let found = found.cloned().collect();
        if n > 0 { self.last(found, n) } else { found }
    }

    fn last(&self, mut cells: Vec<(usize, String)>, n: i32) -> Vec<(usize, String)> {
        let surplus = cells.len().saturating_sub(usize::try_from(n).unwrap_or(0));
        cells.drain(..surplus);
        cells
    }
}

/// `*` is anything, `?` one character; the last star is tried again one place further on.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    #[test]
    fn stars_match_anything() {
        let found = |pattern: &str, text: &str| super::glob(pattern.as_bytes(), text.as_bytes());
        assert!(
            found("*", "") && found("a*c", "abbc") && found("?b*", "abc") && found("*b*b", "abab")
        );
        assert!(!found("a", "ab") && !found("a*d", "abc") && !found("?", ""));
    }
}
