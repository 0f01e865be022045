//! Lists the C functions of libtch, so that the shared library exports them to the cells that inline their callers.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(unshared)"); // set by the kernel's preparation, see `prepare/shared.rs`
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let library = library(&out).expect("torch-sys has built libtch.a beside this package");
    let flags = ["--defined-only", "--extern-only", "--format=posix"];
    let listing = Command::new("nm").args(flags).arg(&library).output().expect("`nm` runs");
    let mut names: Vec<String> = String::from_utf8_lossy(&listing.stdout)
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(name, kind)| kind.starts_with('T') && !name.starts_with("_Z"))
        .map(|(name, _)| name.to_string())
        .collect();
    names.sort();
    names.dedup();
    let lines: String = names.iter().map(|name| format!("    pub fn {name}();\n")).collect();
    let text = format!(
        "#[link(name = \"tch\", kind = \"static\", modifiers = \"-bundle\")]\nunsafe extern \"C\" {{\n{lines}}}\n"
    );
    std::fs::write(out.join("symbols.rs"), text).expect("OUT_DIR can be written");
}

/// The newest libtch.a under `target/*/build/torch-sys-*/out`; its names are the same in all of them.
fn library(out: &Path) -> Option<PathBuf> {
    let build = out.ancestors().nth(2)?;
    let age = |path: &PathBuf| std::fs::metadata(path).and_then(|data| data.modified()).ok();
    std::fs::read_dir(build)
        .ok()?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("torch-sys-"))
        .map(|entry| entry.path().join("out/libtch.a"))
        .filter(|path| path.is_file())
        .max_by_key(age)
}
