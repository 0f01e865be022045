//! One run at a time writes to a folder: a second one would cut the log of the first, and remove its checkpoints.

use crate::error::{Error, Result};
use std::fs::{File, TryLockError};
use std::path::Path;

/// The right to write to a run's folder, until it is dropped or the process ends. It leaves no file.
#[derive(Debug)]
pub struct Hold(#[allow(dead_code)] Option<File>);

impl Hold {
    /// Takes a folder, which is made if it is not there.
    ///
    /// Errors: another process holds it; it cannot be made.
    pub fn take(folder: &Path) -> Result<Self> {
        let made = std::fs::create_dir_all(folder);
        made.map_err(|e| crate::checkpoint::unwritable(folder, &e))?;
        Self::lock(folder, File::try_lock)
    }

    /// Looks whether a folder that is there could be taken. Several processes may look at once.
    ///
    /// Errors: another process holds it.
    pub fn look(folder: &Path) -> Result<()> {
        Self::lock(folder, File::try_lock_shared).map(drop)
    }

    fn lock(
        folder: &Path,
        how: impl Fn(&File) -> std::result::Result<(), TryLockError>,
    ) -> Result<Self> {
        // a file system without locks gets the benefit of the doubt
        let Ok(file) = File::open(folder) else { return Ok(Self(None)) };
        match how(&file) {
            Err(TryLockError::WouldBlock) => {
                let hint = "wait for its end, or name another folder with `--out`";
                let place = folder.display().to_string();
                Err(Error::checkpoint("another process is training in this folder", place, hint))
            }
            _ => Ok(Self(Some(file))),
        }
    }
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
        assert!(Hold::look(&folder).is_err());
        drop(hold);
        assert!(Hold::look(&folder).is_ok() && Hold::take(&folder).is_ok());
        assert_eq!(std::fs::read_dir(&folder).expect("there").count(), 0, "it leaves no file");
    }
}
