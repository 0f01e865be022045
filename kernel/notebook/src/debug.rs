//! `Debug` of any value, limited in length.

use paella_wire::without_frames;
use std::borrow::Cow;
use std::fmt::{self, Debug, Write};

/// Letters of a value that are shown.
const MOST: usize = 4000;

/// A text of limited length: it refuses more.
struct Limited(String);

impl Write for Limited {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = MOST.saturating_sub(self.0.len());
        let end = (0..=room.min(part.len())).rev().find(|&i| part.is_char_boundary(i)).unwrap_or(0);
        self.0.push_str(&part[..end]);
        if end < part.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// The value as `{:?}` in one line. A long text is cut off with a remark.
pub fn text(value: &dyn Debug) -> String {
    let mut text = Limited(String::new());
    let outcome = write!(text, "{value:?}");
    if let Cow::Owned(short) = without_frames(&text.0) {
        return short;
    }
    match outcome {
        Ok(()) => text.0,
        Err(_) if text.0.len() + 4 < MOST => text.0, // its own `Debug` has failed
        Err(_) => text.0 + " …\n(cut off: `println!(\"{:?}\", value)` prints all of it)",
    }
}
