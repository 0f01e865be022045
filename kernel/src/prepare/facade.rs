//! The packages that cells depend on. To rustc they pass on what the library exports; to rust-analyzer they show its
//! sources.

use crate::place;
use crate::prepare::trim;
use crate::trouble::{Result, Trouble};
use ra_ap_syntax::ast::HasModuleItem;
use ra_ap_syntax::{AstNode, Edition, SourceFile};
use std::path::Path;

/// Write both packages below `folder`, with trimmed sources or whole ones. `tch` is the source of that crate.
///
/// Errors: a file cannot be read or written.
pub fn write(folder: &Path, tch: &Path, trimmed: bool) -> Result<()> {
    let _ = std::fs::remove_dir_all(folder); // there is none at first
    paella(&folder.join("paella"), trimmed)?;
    package(&folder.join("tch"), "tch", "")?;
    trim::folder(&tch.join("src"), &folder.join("tch/src"), trimmed)?;
    head(&folder.join("tch/src/lib.rs"), "pub use paella_notebook::tch::*;", "")
}

/// `paella` as cells see it: the crate itself, and the notebook's part at its root.
fn paella(folder: &Path, trimmed: bool) -> Result<()> {
    let tch = "tch = { path = \"../tch\" }";
    package(folder, "paella", tch)?;
    let source = place::source();
    trim::folder(&source.join("src"), &folder.join("src"), trimmed)?;
    let own = source.join("kernel/notebook/src");
    let root = read(&own.join("lib.rs"))?;
    trim::folder(&own, &folder.join("notebook"), trimmed)?;
    // The notebook's modules say `paella::` for what is `crate::` here, and lie in another folder.
    let mut extra = String::from("extern crate self as paella;\n");
    for item in root
        .lines()
        .filter(|line| line.starts_with("pub ") && !line.ends_with('{') && !line.contains('*'))
    {
        match item.strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(';')) {
            Some(name) => extra += &format!("#[path = \"../notebook/{name}.rs\"]\n{item}\n"),
            None => extra += &format!("{item}\n"),
        }
    }
    head(&folder.join("src/lib.rs"), "pub use paella_notebook::*;", &extra)
}

fn package(folder: &Path, name: &str, dependencies: &str) -> Result<()> {
    let text = format!(
        "[package]\nname = \"{name}\"\nversion = \"{}\"\nedition = \"2024\"\n\n[lib]\ndoctest = false\n\n[dependencies]\n{dependencies}\n\n[lints.rust]\nunexpected_cfgs = \"allow\"\n",
        env!("CARGO_PKG_VERSION")
    );
    let file = folder.join("Cargo.toml");
    std::fs::create_dir_all(folder).map_err(|e| Trouble::file(&e, folder))?;
    std::fs::write(&file, text).map_err(|e| Trouble::file(&e, &file))
}

/// Two faces of one file: `real` for rustc, the items of the trimmed file and `extra` for rust-analyzer.
fn head(file: &Path, real: &str, extra: &str) -> Result<()> {
    let (trimmed, extra) = (read(file)?, extra.to_string());
    let items = |text: &str| -> String {
        let tree = SourceFile::parse(text, Edition::Edition2024).tree();
        tree.items()
            .map(|item| format!("#[cfg(rust_analyzer)]\n{}\n", item.syntax().text()))
            .collect()
    };
    let text = format!("#[cfg(not(rust_analyzer))]\n{real}\n{}{}", items(&trimmed), items(&extra));
    std::fs::write(file, text).map_err(|e| Trouble::file(&e, file))
}

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).map_err(|e| Trouble::file(&e, file))
}
