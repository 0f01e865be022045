//! One run at a time writes to a folder: a second one would cut the log of the first, and remove its checkpoints.

use crate::checkpoint::unwritable;
use crate::error::{Error, Result};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// The right to write to a run's folder, until it is dropped or the process ends. It leaves no file.
#[derive(Debug)]
pub struct Hold {
    _file: Option<File>, // open as long as the lock lasts
}

impl Hold {
    /// Takes a folder, which is made if it is not there.
    ///
    /// Errors: another process holds it; it cannot be made.
    pub fn take(folder: &Path) -> Result<Self> {
        let made = std::fs::create_dir_all(folder);
        made.map_err(|e| unwritable(folder, &e))?;
        // a file system without locks gets the benefit of the doubt
        let Ok(file) = File::open(folder) else { return Ok(Self { _file: None }) };
        // SAFETY: an open file; the lock ends with it.
        let code = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
        if code != 0 && io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock {
            return Err(taken(folder));
        }
        Ok(Self { _file: Some(file) })
    }

    /// As [`Hold::take`], for a folder that was not there when this run began.
    ///
    /// Errors: another run has begun in it since.
    pub fn take_new(folder: &Path) -> Result<Self> {
        let hold = Self::take(folder)?;
        if folder.join("log.jsonl").exists() {
            return Err(taken(folder));
        }
        Ok(hold)
    }
}

fn taken(folder: &Path) -> Error {
    let hint = "wait for its end, or name another folder with `--out`";
    let place = folder.display().to_string();
    Error::checkpoint("another process is training in this folder", place, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_by_one() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("runs/mine");
        let hold = Hold::take(&folder).expect("free");
        let refused = Hold::take(&folder).expect_err("held").to_string();
        assert!(refused.contains("another process is training") && refused.contains("--out"));
        drop(hold);
        assert!(Hold::take_new(&folder).is_ok());
        std::fs::write(folder.join("log.jsonl"), "").expect("written");
        assert!(Hold::take_new(&folder).is_err() && Hold::take(&folder).is_ok());
        std::fs::remove_file(folder.join("log.jsonl")).expect("removed");
        assert_eq!(std::fs::read_dir(&folder).expect("there").count(), 0, "it leaves no file");
    }
}
