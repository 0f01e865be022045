//! Files of the prepared kernel. Other kernels may be reading them.

use crate::trouble::{Result, Trouble};
use std::path::Path;

/// Copy a file under another name first. A kernel that reads the old one keeps it.
pub fn take(from: &Path, to: &Path) -> Result<()> {
    let fresh = to.with_extension("new");
    let copied = std::fs::copy(from, &fresh).and_then(|_| std::fs::rename(&fresh, to));
    copied.map_err(|e| Trouble::file(&e, to))
}

pub fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|e| Trouble::file(&e, path))
}

pub fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Trouble::file(&error, path))
        }
        _ => Ok(()),
    }
}
