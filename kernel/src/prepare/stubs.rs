//! Trick `stubs`: empty libraries in the names of libtorch's.
//!
//! rustc has every cell linked with libtorch. The cell finds what it calls in the evaluator, so the linker would read
//! 78,000 symbols for nothing.

use crate::files::take;
use crate::trouble::{Result, Trouble};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

/// Write them to `folder`, one for each library in the folders of libtorch.
///
/// Errors: there is no C compiler, or a folder cannot be read or written.
pub fn write<'a>(
    folder: &Path,
    native: impl Iterator<Item = &'a std::path::PathBuf>,
) -> Result<()> {
    let file = folder.join("empty.so");
    let linked = Command::new("cc")
        .args(["-shared", "-nostdlib", "-x", "c", "/dev/null", "-o"])
        .arg(&file)
        .stderr(Stdio::null())
        .status();
    if !linked.is_ok_and(|status| status.success()) {
        return Err(Trouble::new("the C compiler makes no library", "cc", "install gcc or clang"));
    }
    let mut names = BTreeSet::new();
    for native in native {
        let files = std::fs::read_dir(native).map_err(|e| Trouble::file(&e, native))?;
        names.extend(files.flatten().map(|file| file.file_name()));
    }
    names.retain(|name| Path::new(name).extension().is_some_and(|ending| ending == "so"));
    names.iter().try_for_each(|name| take(&file, &folder.join(name)))
}
