//! The sources of the standard library that rust-analyzer reads, to find the types of variables.

use crate::files::write;
use crate::place::{self, Prepared, Tools};
use crate::prepare::{expand, trim};
use crate::trouble::{Result, Trouble};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Parts of the standard library that types come from.
const PARTS: [&str; 3] = ["core", "alloc", "std"];

/// Names the folder `library` of Rust's sources, where rustup cannot fetch them.
const VARIABLE: &str = "PAELLA_RUST_SRC";

/// An empty standard library, for the time before the real one is read.
///
/// Errors: it cannot be written.
pub fn nothing(prepared: &Prepared) -> Result<()> {
    let none = prepared.folder.join("rust-src/none/core/src");
    std::fs::create_dir_all(&none).map_err(|e| Trouble::file(&e, &none))?;
    write(&none.join("lib.rs"), "")
}

/// Copy the standard library, trimmed or as it is.
///
/// Errors: the sources are missing, or a file cannot be read or written.
pub fn copy(tools: &Tools, prepared: &Prepared, trimmed: bool) -> Result<()> {
    let (library, to) = (library(tools)?, folder(prepared));
    let _ = std::fs::remove_dir_all(&to); // there is none at first
    for part in PARTS {
        trim::folder(&library.join(part).join("src"), &to.join(part).join("src"), trimmed)?;
    }
    Ok(())
}

/// Expand the macros of what was copied.
///
/// Errors: a file cannot be read or written.
pub fn expand(prepared: &Prepared, trim: bool) -> Result<()> {
    let source = |part: &str| folder(prepared).join(part).join("src");
    PARTS.iter().try_for_each(|part| expand::folder(&source(part), trim))
}

/// `HashMap` rests on a crate that does not come with Rust's sources. Empty types of its names are all that inference
/// needs; without them no method of a `HashMap` has a type.
///
/// Errors: the standard library has other files.
pub fn hashbrown(prepared: &Prepared) -> Result<()> {
    let std = folder(prepared).join("std/src");
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|e| Trouble::file(&e, path));
    for file in ["collections/hash/map.rs", "collections/hash/set.rs"].map(|file| std.join(file)) {
        let text = read(&file)?;
        let text = text.replace("use hashbrown::", "use crate::hashbrown::");
        write(&file, &text.replace("err: hashbrown::", "err: crate::hashbrown::"))?;
    }
    let root = std.join("lib.rs");
    write(&root, &(read(&root)? + include_str!("hashbrown.stub")))
}

fn folder(prepared: &Prepared) -> PathBuf {
    prepared.folder.join("rust-src/std")
}

/// Rust's own sources, fetched by rustup if they are missing.
fn library(tools: &Tools) -> Result<PathBuf> {
    let given = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    let own = tools.sysroot.join("lib/rustlib/src/rust/library");
    let library = given.clone().unwrap_or(own);
    if given.is_none() && !library.join("core").is_dir() {
        let toolchain = tools.sysroot.file_name().unwrap_or_default();
        let mut rustup = Command::new("rustup");
        rustup.args(["component", "add", "rust-src", "--toolchain"]).arg(toolchain);
        let _ = rustup.current_dir(place::source()).status(); // what follows says if it failed
    }
    if library.join("core").is_dir() {
        return Ok(library);
    }
    let hint = format!(
        "`rustup component add rust-src`, then `paella kernel install` again; or {VARIABLE} names the folder `library` of Rust's sources"
    );
    let place = library.display().to_string();
    Err(Trouble::new("the sources of Rust's standard library are missing", place, hint))
}
