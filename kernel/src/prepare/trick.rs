//! What serves speed alone: its names, and the variable that leaves some of it out.

use crate::files::write;
use crate::place::Prepared;
use crate::trouble::{Result, Trouble};
use std::collections::BTreeSet;
use std::fmt;

/// Names the tricks to leave out, with commas between them; `all` for all of them.
const VARIABLE: &str = "PAELLA_KERNEL_WITHOUT";

/// In the folder of what is prepared.
const FILE: &str = "without";

/// A kernel without any of them works alike, and slower. docs/kernel.md says what each one saves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trick {
    /// rust-analyzer reads sources without function bodies: `trim.rs`.
    Trim,
    /// The standard library's macros are expanded once: `expand.rs`.
    Expand,
    /// rust-analyzer reads the standard library after the start: `late.rs`.
    Late,
    /// Types are inferred once while nothing else is to do: `late.rs`.
    Warm,
    /// Answers of cargo and rustc are kept: `recall.rs`.
    Recall,
    /// Kernels copy a compiled workspace: `template.rs`.
    Template,
    /// Cells are linked with empty libraries in place of libtorch's: `stubs.rs`.
    Stubs,
    /// The cells' library holds code that most cells need: `kernel/notebook/src/prepare/shared.rs`.
    Shared,
    /// Cells are compiled without optimisation: `cells.rs`.
    Unoptimised,
    /// Cells leave no incremental files: `cells.rs`.
    Whole,
}

impl Trick {
    pub const ALL: [Self; 10] = [
        Self::Trim,
        Self::Expand,
        Self::Late,
        Self::Warm,
        Self::Recall,
        Self::Template,
        Self::Stubs,
        Self::Shared,
        Self::Unoptimised,
        Self::Whole,
    ];

    pub fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// The tricks that are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Without(BTreeSet<Trick>);

impl Without {
    /// What the environment asks for. Nothing else reads that variable.
    ///
    /// Errors: it names an unknown trick.
    pub fn asked() -> Result<Self> {
        Self::parse(&std::env::var(VARIABLE).unwrap_or_default())
    }

    /// What was left out when this was prepared: asked for, or failed.
    pub fn kept(prepared: &Prepared) -> Self {
        let text = std::fs::read_to_string(prepared.folder.join(FILE)).unwrap_or_default();
        Self::parse(&text).unwrap_or_default() // `keep` has written it
    }

    /// Errors: the file cannot be written.
    pub fn keep(&self, prepared: &Prepared) -> Result<()> {
        write(&prepared.folder.join(FILE), &self.to_string())
    }

    pub fn all() -> Self {
        Self(Trick::ALL.into())
    }

    /// Names with commas between them.
    ///
    /// Errors: a name is unknown.
    pub fn parse(text: &str) -> Result<Self> {
        let mut without = Self::default();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match Trick::ALL.into_iter().find(|trick| trick.name() == name) {
                Some(trick) => without.add(trick),
                None if name == "all" => without = Self::all(),
                None => {
                    let known = Trick::ALL.map(Trick::name).join(", ");
                    let hint = format!("known are: all, {known}");
                    return Err(Trouble::new(format!("unknown trick `{name}`"), VARIABLE, hint));
                }
            }
        }
        Ok(without)
    }

    pub fn has(&self, trick: Trick) -> bool {
        self.0.contains(&trick)
    }

    /// `recall` keeps cargo's answers for the workspace of `template`, so it goes with it.
    pub fn add(&mut self, trick: Trick) {
        self.0.insert(trick);
        if trick == Trick::Template {
            self.0.insert(Trick::Recall);
        }
    }
}

impl fmt::Display for Without {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(|trick| trick.name()).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let some = Without::parse(" trim,recall ").ok().unwrap_or_default();
        assert!(some.has(Trick::Trim) && some.has(Trick::Recall) && !some.has(Trick::Late));
        assert_eq!(Without::parse(&some.to_string()).ok(), Some(some));
        assert_eq!(Without::parse("all").ok(), Some(Without::all()));
        assert!(Without::parse("template").is_ok_and(|without| without.has(Trick::Recall)));
        assert_eq!(Without::parse("").ok(), Some(Without::default()));
        let fault = Without::parse("trim,bogus").err().map(|e| e.to_string()).unwrap_or_default();
        assert!(fault.contains("`bogus`") && fault.contains("shared"), "{fault}");
    }
}
