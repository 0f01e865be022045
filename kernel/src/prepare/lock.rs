//! One preparation at a time: a second one waits, and then finds all of it done.

use crate::trouble::{Result, Trouble};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Held until it is dropped, or until this process ends.
///
/// Errors: the folder cannot be written.
pub fn take(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let file = File::create(&path).map_err(|e| Trouble::file(&e, &path))?;
    // SAFETY: a plain call on an open descriptor.
    match unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } {
        0 => Ok(file),
        _ => Err(Trouble::file(&std::io::Error::last_os_error(), &path)),
    }
}
