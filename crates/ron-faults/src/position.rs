//! Byte offset <-> line and column.

/// Line and column of a byte offset, both from 1. A column is one character.
pub fn position(text: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = text.get(..end).unwrap_or_default();
    let line = before.rfind('\n').map_or(0, |n| n + 1);
    let column = before.get(line..).unwrap_or_default().chars().count();
    (1 + before.matches('\n').count(), 1 + column)
}

/// Byte offset of a line and a column. The inverse of `position`.
pub fn offset(text: &str, line: usize, column: usize) -> usize {
    let lines = text.split_inclusive('\n');
    let start: usize = lines.take(line.saturating_sub(1)).map(str::len).sum();
    let rest = text.get(start..).unwrap_or_default();
    start + rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(at, _)| at)
}
