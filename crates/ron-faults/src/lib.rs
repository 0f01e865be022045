//! Configs as RON: read with all faults listed, print, compare, set one field.
//!
//! | file | content |
//! | --- | --- |
//! | `fault` | one fault: what, where, what to do |
//! | `checks` | faults of well-formed values, collected under their paths |
//! | `position` | byte offset <-> line and column |
//! | `scan`, `lex` | position of every field in a text, even if the text cannot be parsed |
//! | `text` | bytes of a file -> text in UTF-8, or what they are instead |
//! | `spans` | places of fields, for messages |
//! | `explain` | an error of the `ron` crate -> what and hint |
//! | `choice` | how the values of an enum are written |
//! | `print` | a config as text |
//! | `read` | text -> config, or all its faults |
//! | `edit` | compare two configs, look up and set one field |

mod checks;
mod choice;
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
mod text;

pub use checks::Checks;
pub use edit::{Change, diff, get, minimal_ron, nearest_path, paths, set, text_with};
pub use explain::nearest;
pub use fault::Fault;
pub use print::to_ron;
pub use read::{parse, read};
pub use spans::Spans;
pub use text::{clean, is_noise, utf8};

/// A value, or all faults of a text or a file.
pub type Result<T> = std::result::Result<T, Vec<Fault>>;
