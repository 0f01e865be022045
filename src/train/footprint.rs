//! What a run leaves on disk before its first step, so that a start that fails leaves nothing.

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
        let files = ["config.ron", "log.jsonl"].map(|name| folder.join(name));
        // `take_while`: above the first folder that was there, all were there
        let below = folder.join("checkpoints");
        let above = below.ancestors().filter(|path| !path.as_os_str().is_empty());
        Self {
            files: files.into_iter().filter(new).collect(),
            folders: above.map(Path::to_path_buf).take_while(new).collect(),
        }
    }

    /// Removes the files that the start has written, and the folders that are then empty.
    pub fn erase(&self) {
        for file in &self.files {
            let _ = fs::remove_file(file); // the start may have failed before it was written
        }
        for folder in &self.folders {
            let _ = fs::remove_dir(folder); // refused where somebody else has put something in
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
