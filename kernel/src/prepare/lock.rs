//! One preparation at a time: a second one waits, and then finds all of it done.

use crate::prepare::Listener;
use crate::trouble::{Result, Trouble};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Held until it is dropped, or until this process ends. If it has to wait, it says so.
///
/// Errors: the folder cannot be written.
pub fn take(folder: &Path, progress: Listener<'_>) -> Result<File> {
    let path = folder.join("lock");
    let file = File::create(&path).map_err(|e| Trouble::file(&e, &path))?;
    // SAFETY: a plain call on an open descriptor.
    let lock = |more: i32| unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | more) } == 0;
    if lock(libc::LOCK_NB) {
        return Ok(file);
    }
    progress("another process prepares the kernel: this one waits for it");
    if lock(0) { Ok(file) } else { Err(Trouble::file(&std::io::Error::last_os_error(), &path)) }
}
