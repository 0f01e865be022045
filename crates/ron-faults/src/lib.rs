//! Configs as RON: read with every fault listed, print, compare, set one field.
//!
//! | file | content |
//! | --- | --- |
//! | `fault` | one fault: what, where, what to do |
//! | `checks` | faults of values that are well formed, collected under their paths |
//! | `position` | byte offset <-> line and column |
//! | `scan`, `lex` | every field of a text and where it stands, also in a text that cannot be read |
//! | `spans` | places of fields, for messages |
//! | `explain` | a message of the `ron` crate -> what and hint |
//! | `print` | a config as text |
//! | `read` | text -> config, or all its faults |
//! | `edit` | compare two configs, look up and set one field |

mod checks;
mod edit;
mod explain;
mod fault;
mod lex;
mod position;
mod print;
#[cfg(test)]
mod properties;
mod read;
mod scan;
mod spans;
#[cfg(test)]
mod tests;

pub use checks::Checks;
pub use edit::{diff, get, minimal_ron, paths, set};
pub use fault::Fault;
pub use print::to_ron;
pub use read::{parse, read};
pub use spans::Spans;

/// All faults of a text or a file.
pub type Result<T> = std::result::Result<T, Vec<Fault>>;
