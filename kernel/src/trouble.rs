//! What went wrong, where, and what to do. It prints as `ron_faults::Fault` does; that crate brings features along
//! with which the whole compiler front end is compiled again.

use std::fmt;

pub type Result<T> = std::result::Result<T, Trouble>;

#[derive(Clone, Debug)]
pub struct Trouble {
    what: String,
    place: String,
    hint: String,
}

impl Trouble {
    pub fn new(what: impl Into<String>, place: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), place: place.into(), hint: hint.into() }
    }

    /// A file that cannot be read or written.
    pub fn file(error: &std::io::Error, path: &std::path::Path) -> Self {
        Self::new(error.to_string(), path.display().to_string(), "")
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        if !self.place.is_empty() {
            write!(f, "\n  in: {}", self.place)?;
        }
        if !self.hint.is_empty() {
            write!(f, "\n  hint: {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Trouble {}
