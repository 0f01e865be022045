//! Trick `recall`: programs in place of `cargo`, `rustc` and `rustup` that remember what these answered.
//!
//! At every start, evcxr and rust-analyzer ask them the same questions and compile the same first cells. The programs are
//! all `paella-recall`, under three names. Without the trick the same places hold links to the tools themselves.

use crate::files::{remove, take};
use crate::place::{Prepared, Tools};
use crate::trouble::{Result, Trouble};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Built beside this program.
const PROGRAM: &str = "paella-recall";
const NAMES: [&str; 3] = ["cargo", "rustc", "rustup"];

/// The programs, without any memory.
///
/// Errors: they are not there, or a folder cannot be written.
pub fn write(prepared: &Prepared) -> Result<()> {
    let own = std::env::current_exe().map_err(|e| Trouble::file(&e, Path::new("paella-kernel")))?;
    let bin = folder(prepared)?;
    NAMES.iter().try_for_each(|tool| take(&own.with_file_name(PROGRAM), &bin.join(tool)))
}

/// The tools themselves in their place.
///
/// Errors: a folder cannot be written.
pub fn link(prepared: &Prepared, tools: &Tools) -> Result<()> {
    let bin = folder(prepared)?;
    let known = [tools.cargo.clone(), tools.rustc.clone(), PathBuf::new()];
    for (name, tool) in NAMES.into_iter().zip(known) {
        let link = bin.join(name);
        remove(&link)?;
        let found = if tool.is_file() { Some(tool) } else { which(name) };
        if let Some(tool) = found {
            std::os::unix::fs::symlink(tool, &link).map_err(|e| Trouble::file(&e, &link))?;
        }
    }
    Ok(())
}

/// Where they lie; what they remembered is gone.
fn folder(prepared: &Prepared) -> Result<PathBuf> {
    let bin = prepared.tools().join("bin");
    std::fs::create_dir_all(&bin).map_err(|e| Trouble::file(&e, &bin))?;
    let _ = std::fs::remove_dir_all(prepared.folder.join("answers")); // there are none at first
    Ok(bin)
}

fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// What a process needs to find the programs first, in whatever way it looks for the tools.
pub fn environment(prepared: &Prepared, tools: &Tools) -> Vec<(&'static str, PathBuf)> {
    let bin = prepared.tools().join("bin");
    vec![
        ("PAELLA_RECALL", prepared.folder.clone()),
        ("PAELLA_SYSROOT", tools.sysroot.clone()),
        ("RUSTC", bin.join("rustc")),
        ("CARGO", bin.join("cargo")),
        ("RUSTUP_TOOLCHAIN", prepared.tools()), // rustup's own way
    ]
}

/// The process that `command` starts meets the tools themselves.
pub fn hide(command: &mut Command, prepared: &Prepared) {
    let own = prepared.tools().join("bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Ok(others) =
        std::env::join_paths(std::env::split_paths(&path).filter(|part| *part != own))
    {
        command.env("PATH", others);
    }
    for name in ["PAELLA_RECALL", "RUSTC", "CARGO", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(name);
    }
}
