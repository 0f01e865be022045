//! How far a reader is, kept from one day to the next.

use crate::error::{Error, Result};
use crate::files;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The place in one lesson.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mark {
    /// The block that comes next.
    pub at: usize,
    /// IDs of the exercises that were solved once.
    pub solved: BTreeSet<String>,
    /// The end was reached once.
    pub done: bool,
}

/// The marks of all lessons, by the names of their files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CourseProgress {
    marks: BTreeMap<String, Mark>,
}

impl CourseProgress {
    /// `paella/lessons.json` in the folder of the user's states, such as `$XDG_STATE_HOME` or `~/.local/state`.
    pub fn file() -> Option<PathBuf> {
        Some(dirs::state_dir().or_else(dirs::data_dir)?.join("paella/lessons.json"))
    }

    /// What the file says; nothing where there is none or it makes no sense.
    pub fn read(file: &Path) -> Self {
        let text = std::fs::read(file).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Errors: the file cannot be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        files::write(file, &text).map_err(|e| {
            let hint = "the lesson goes on, but its place is not kept";
            Error::data(format!("could not write: {e}"), file.display().to_string(), hint)
        })
    }

    pub fn mark(&self, lesson: &str) -> Mark {
        self.marks.get(lesson).cloned().unwrap_or_default()
    }

    pub fn put(&mut self, lesson: &str, mark: Mark) {
        self.marks.insert(lesson.into(), mark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_survive_and_nonsense_is_no_mark() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("paella/lessons.json");
        assert_eq!(CourseProgress::read(&file), CourseProgress::default());
        let mut progress = CourseProgress::default();
        progress.put("01-tokens", Mark { at: 3, done: true, ..Mark::default() });
        progress.write(&file).expect("written");
        assert_eq!(CourseProgress::read(&file), progress);
        std::fs::write(&file, "{").expect("written");
        assert_eq!(CourseProgress::read(&file), CourseProgress::default());
    }
}
