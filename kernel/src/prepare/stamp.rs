//! What a prepared kernel has to agree with, to the byte.

use crate::place::{EVCXR, Tools, source};
use crate::prepare::trick::Without;
use crate::trouble::Result;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Sources whose change invalidates a prepared kernel.
const SOURCES: [&str; 19] = [
    include_str!("../engine.rs"),
    include_str!("../place.rs"),
    include_str!("../workplace.rs"),
    include_str!("cells.rs"),
    include_str!("expand.rs"),
    include_str!("facade.rs"),
    include_str!("intact.rs"),
    include_str!("hashbrown.stub"),
    include_str!("late.rs"),
    include_str!("library.rs"),
    include_str!("mod.rs"),
    include_str!("paella-recall.rs"),
    include_str!("recall.rs"),
    include_str!("sources.rs"),
    include_str!("stamp.rs"),
    include_str!("stubs.rs"),
    include_str!("template.rs"),
    include_str!("trick.rs"),
    include_str!("trim.rs"),
];

/// The stamp of a kernel that is prepared now with these tools.
///
/// Errors: the environment leaves out an unknown trick.
pub fn of(tools: &Tools) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    SOURCES.hash(&mut hasher);
    let by = format!("paella {} {:016x}", env!("CARGO_PKG_VERSION"), hasher.finish());
    let versions = format!("{}\nevcxr {EVCXR}\n{by}", tools.version);
    let places = format!("{}\n{}", tools.sysroot.display(), source().display());
    Ok(format!("{versions}\n{places}\nwithout {}\n", Without::asked()?))
}
