//! What a run leaves on disk before its first step, so that a start that fails leaves nothing.

use crate::files;
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

/// The folders and files that were not there before a run began.
pub struct Footprint {
    files: Vec<PathBuf>,
    /// The deepest first.
    folders: Vec<PathBuf>,
}

impl Footprint {
    /// Looks at the run's folder before anything is written to it.
    pub fn before(folder: &Path) -> Self {
        let new = |path: &PathBuf| !path.exists();
        let written = ["config.ron", "log.jsonl"].map(|name| folder.join(name));
        Self {
            files: written.into_iter().filter(new).collect(),
            folders: files::missing_folders(&folder.join("checkpoints")),
        }
    }

    /// Removes the files that the start has written, and the folders that are then empty.
    pub fn erase(&self) {
        for file in &self.files {
            let _ = fs::remove_file(file); // the start may have failed before it was written
        }
        files::remove_empty(&self.folders);
    }
}

/// Erases the footprint of a start that fails, be it by an error or by a panic, when it is dropped.
pub struct Erasing<'a> {
    pub footprint: &'a Footprint,
    /// The run has trained a step, or has ended well: it keeps its folder.
    pub begun: &'a Cell<bool>,
}

impl Drop for Erasing<'_> {
    fn drop(&mut self) {
        if !self.begun.get() {
            self.footprint.erase();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_and_empty_goes() {
        let root = tempfile::tempdir().expect("a folder");
        let run = root.path().join("runs/mine");
        let footprint = Footprint::before(&run);
        fs::create_dir_all(run.join("checkpoints")).expect("made");
        fs::write(run.join("config.ron"), "()").expect("written");
        footprint.erase();
        assert!(root.path().is_dir() && !root.path().join("runs").exists());
        fs::create_dir_all(&run).expect("made");
        fs::write(run.join("config.ron"), "mine").expect("written");
        Footprint::before(&run).erase();
        assert!(run.join("config.ron").is_file());
    }
}
