//! Sorts the evaluator's output: lines for evcxr, messages for the kernel, text of the cell.

/// Begins a message for the kernel; the library of the cells writes it.
const MARK: &[u8] = paella_wire::MARK.as_bytes();
/// Begins a line for evcxr.
const EVCXR: &[u8] = b"EVCXR_";
/// Lines for evcxr up to its end.
const BEGIN: &[u8] = b"EVCXR_BEGIN_CONTENT";
const END: &[u8] = b"EVCXR_END_CONTENT";

#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Printed by the cell.
    Text(String),
    /// JSON for the kernel.
    Message(String),
    /// A line for evcxr, with its end.
    Line(Vec<u8>),
}

/// Takes bytes, gives pieces in order. A line that may still become special waits for its end.
#[derive(Default)]
pub struct Splitter {
    buffer: Vec<u8>,
    content: bool,
}

impl Splitter {
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Piece> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.extend_from_slice(bytes);
        let (mut pieces, mut text, mut at) = (Vec::new(), Vec::new(), 0);
        for line in buffer.split_inclusive(|&b| b == b'\n').filter(|line| line.ends_with(b"\n")) {
            self.line(line, &mut text, &mut pieces);
            at += line.len();
        }
        if !self.content {
            let plain = plain_length(&buffer[at..]);
            text.extend_from_slice(&buffer[at..at + plain]);
            at += plain;
        }
        self.buffer = buffer.split_off(at);
        flush(&mut text, &mut pieces);
        pieces
    }

    /// The rest, after the last byte.
    pub fn finish(&mut self) -> Option<Piece> {
        let rest = std::mem::take(&mut self.buffer);
        (!rest.is_empty()).then(|| Piece::Text(String::from_utf8_lossy(&rest).into_owned()))
    }

    fn line(&mut self, line: &[u8], text: &mut Vec<u8>, pieces: &mut Vec<Piece>) {
        if self.content {
            self.content = !line.starts_with(END);
            return pieces.push(Piece::Line(line.into()));
        }
        let Some(at) = special(line) else { return text.extend_from_slice(line) };
        text.extend_from_slice(&line[..at]);
        flush(text, pieces);
        match line[at..].strip_prefix(MARK) {
            Some(json) => {
                pieces.push(Piece::Message(String::from_utf8_lossy(json).trim_end().into()))
            }
            None => {
                self.content = line[at..].starts_with(BEGIN);
                pieces.push(Piece::Line(line[at..].to_vec()));
            }
        }
    }
}

/// Where a message or a line for evcxr begins.
fn special(line: &[u8]) -> Option<usize> {
    (0..line.len()).find(|&i| line[i..].starts_with(MARK) || line[i..].starts_with(EVCXR))
}

/// Length of the unfinished line that is certainly plain text: whole letters, up to a possible mark.
fn plain_length(rest: &[u8]) -> usize {
    let may = |mark: &[u8], tail: &[u8]| tail.starts_with(mark) || mark.starts_with(tail);
    let end = (0..rest.len()).find(|&i| may(MARK, &rest[i..]) || may(EVCXR, &rest[i..]));
    whole_letters(&rest[..end.unwrap_or(rest.len())])
}

/// Length without a letter that is cut off at the end.
pub fn whole_letters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    }
}

fn flush(text: &mut Vec<u8>, pieces: &mut Vec<Piece>) {
    if !text.is_empty() {
        pieces.push(Piece::Text(String::from_utf8_lossy(text).into_owned()));
        text.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Piece {
        Piece::Text(text.into())
    }

    #[test]
    fn tells_the_three_apart() {
        let parts = Splitter::default().feed(b"a\nb\x01paella\x02{}\ncEVCXR_EXECUTION_COMPLETE\n");
        let line = Piece::Line(b"EVCXR_EXECUTION_COMPLETE\n".to_vec());
        assert_eq!(parts, [text("a\nb"), Piece::Message("{}".into()), text("c"), line]);
    }

    #[test]
    fn unfinished_lines_go_on_at_once_unless_they_may_be_special() {
        let mut splitter = Splitter::default();
        assert_eq!(splitter.feed(b"12 EVC"), [text("12 ")]);
        assert_eq!(splitter.feed(b"E\n"), [text("EVCE\n")]);
        assert_eq!(splitter.feed(b"\xc3"), []);
        assert_eq!(splitter.feed(b"\xa9"), [text("é")]);
        assert_eq!(splitter.feed(b"\x01pa"), []);
        assert_eq!(splitter.finish(), Some(text("\u{1}pa")));
    }

    #[test]
    fn content_for_evcxr_stays_whole() {
        let input = b"xEVCXR_BEGIN_CONTENT text/plain\n\x01paella\x02 1\nEVCXR_END_CONTENT\ny\n";
        let parts = Splitter::default().feed(input);
        assert_eq!(parts.len(), 5);
        assert_eq!((&parts[0], &parts[4]), (&text("x"), &text("y\n")));
    }
}
