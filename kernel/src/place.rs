//! Places: the sources of paella, the Rust tools, the folder of the prepared kernel.

use crate::trouble::{Result, Trouble};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version of evcxr that this kernel is built with; `Cargo.toml` holds it to exactly that.
pub const EVCXR: &str = "0.22.0";

/// The one platform that libtorch is set up for here.
pub const HOST: &str = "x86_64-unknown-linux-gnu";

/// The sources that the library of the cells is built from: `$PAELLA_SOURCE`, else where this program was built.
pub fn source() -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf);
    std::env::var_os("PAELLA_SOURCE").map(PathBuf::from).or_else(built).unwrap_or_default()
}

/// The folder of all prepared kernels, by these variables: `$PAELLA_KERNEL_CACHE`, else `paella` in the user's cache, or
/// in the folder for temporary files of a user without one. A variable that is empty is not set.
fn cache(variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let given = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || given("HOME").map(|home| home.join(".cache"));
    let user = || given("XDG_CACHE_HOME").or_else(home).unwrap_or_else(std::env::temp_dir);
    given("PAELLA_KERNEL_CACHE").unwrap_or_else(|| user().join("paella"))
}

/// The Rust tools, by their own paths. A shim of rustup would take another compiler where a notebook lies in a folder with a
/// toolchain of its own, and cells must have the one that compiled their library.
#[derive(Clone, Debug)]
pub struct Tools {
    pub rustc: PathBuf,
    pub cargo: PathBuf,
    pub sysroot: PathBuf,
    /// `rustc -V`.
    pub version: String,
}

impl Tools {
    /// Those of `$PAELLA_SYSROOT`, which the kernelspec sets; else of the `rustc` in PATH, else of the one in
    /// `~/.cargo/bin`, with the settings of the source folder.
    ///
    /// Errors: no rustc runs.
    pub fn find() -> Result<Self> {
        let asked = std::env::var_os("PAELLA_SYSROOT").and_then(|own| Self::at(own.as_ref()));
        if let Some(tools) = asked {
            return Ok(tools);
        }
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let tries = [PathBuf::from("rustc"), home.join(".cargo/bin/rustc")];
        let sysroot = tries.iter().find_map(|rustc| output(rustc, &["--print", "sysroot"]));
        let hint = "install Rust from https://rustup.rs, then `paella kernel install` again";
        let missing = || Trouble::new("rustc does not run", "PATH", hint);
        Self::at(Path::new(&sysroot.ok_or_else(missing)?)).ok_or_else(missing)
    }

    /// The tools of one toolchain.
    pub fn at(sysroot: &Path) -> Option<Self> {
        let (rustc, cargo) = (sysroot.join("bin/rustc"), sysroot.join("bin/cargo"));
        let version = output(&rustc, &["-V"])?;
        let cargo = if cargo.is_file() { cargo } else { PathBuf::from("cargo") };
        Some(Self { rustc, cargo, sysroot: sysroot.into(), version })
    }

    /// Folder of the prepared kernel that fits these tools, this evcxr and this paella.
    pub fn prepared(&self) -> Prepared {
        let rust = self.version.split_whitespace().nth(1).unwrap_or("unknown");
        let name = format!("kernel-{}-rust-{rust}-evcxr-{EVCXR}", env!("CARGO_PKG_VERSION"));
        Prepared { folder: cache(|name| std::env::var_os(name)).join(name) }
    }
}

/// The folder of one prepared kernel.
#[derive(Clone)]
pub struct Prepared {
    pub folder: PathBuf,
}

impl Prepared {
    pub fn library(&self) -> PathBuf {
        self.folder.join("libpaella_notebook.so")
    }

    pub fn template(&self) -> PathBuf {
        self.folder.join("template")
    }

    /// Metadata of the crates below the library.
    pub fn metadata(&self) -> PathBuf {
        self.folder.join("metadata")
    }

    /// What runs before the first cell.
    pub fn prelude(&self) -> PathBuf {
        self.folder.join("prelude")
    }

    /// Settings of evcxr.
    pub fn config(&self) -> PathBuf {
        self.folder.join("evcxr")
    }

    /// The tools, or programs in their place, laid out as a toolchain is.
    pub fn tools(&self) -> PathBuf {
        self.folder.join("tools")
    }

    /// Library folders for the evaluator: libtorch, its dependencies, Rust's own library. One folder a line.
    pub fn library_path(&self) -> String {
        let own = std::fs::read_to_string(self.folder.join("library-path")).unwrap_or_default();
        let inherited = std::env::var("LD_LIBRARY_PATH").unwrap_or_default();
        let all = own.lines().chain(inherited.split(':')).filter(|folder| !folder.is_empty());
        all.collect::<Vec<_>>().join(":")
    }

    pub fn stamp(&self) -> Option<String> {
        std::fs::read_to_string(self.folder.join("stamp")).ok()
    }
}

/// Output of a program; `None` if it does not run or fails.
fn output(program: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).current_dir(source_or_here()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_string();
    output.status.success().then_some(text)
}

fn source_or_here() -> PathBuf {
    Some(source()).filter(|path| path.is_dir()).unwrap_or_else(|| ".".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_found_without_a_home() {
        let of = |set: &[(&str, &str)]| {
            cache(|name| {
                set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
            })
        };
        let temporary = std::env::temp_dir().join("paella");
        assert_eq!(of(&[]), temporary);
        assert_eq!(
            of(&[("HOME", ""), ("XDG_CACHE_HOME", ""), ("PAELLA_KERNEL_CACHE", "")]),
            temporary
        );
        assert_eq!(of(&[("HOME", "/h")]), Path::new("/h/.cache/paella"));
        assert_eq!(of(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), Path::new("/x/paella"));
        assert_eq!(of(&[("HOME", "/h"), ("PAELLA_KERNEL_CACHE", "/p")]), Path::new("/p"));
    }
}
