//! The type of one fault.

use std::fmt;

/// One fault. Prints as `error: what`, `in: place`, `hint: remedy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What happened, with the values: expected before got.
    pub what: String,
    /// A file with line and column, a field, a tensor, a command. May be empty.
    pub place: String,
    /// What to do. May be empty.
    pub hint: String,
}

impl Fault {
    pub fn new(what: impl Into<String>, place: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), place: place.into(), hint: hint.into() }
    }
}

impl fmt::Display for Fault {
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
