//! A reader's progress through the course, saved between sessions.

use crate::error::{Error, Result};
use crate::files;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The reader's position in one lesson.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mark {
    /// Index of the next block.
    pub at: usize,
    /// IDs of the exercises solved so far.
    pub solved: BTreeSet<String>,
    /// Whether the end has been reached.
    pub done: bool,
}

/// The marks of all lessons, by file name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CourseProgress {
    marks: BTreeMap<String, Mark>,
}

impl CourseProgress {
    /// `paella/lessons.json` in the user's state folder, such as `$XDG_STATE_HOME` or `~/.local/state`.
    pub fn file() -> Option<PathBuf> {
        Some(dirs::state_dir().or_else(dirs::data_dir)?.join("paella/lessons.json"))
    }

    /// Reads the file. Empty if there is none. One that cannot be understood is put aside, as its second value says: the
    /// next mark would replace it.
    pub fn read(file: &Path) -> (Self, Option<String>) {
        let Ok(text) = std::fs::read(file) else { return Default::default() };
        if let Ok(progress) = serde_json::from_slice(&text) {
            return (progress, None);
        }
        let aside = files::free(&file.with_extension("damaged.json"));
        let moved = std::fs::rename(file, &aside).is_ok();
        let kept = if moved { format!("; it is {} now", aside.display()) } else { String::new() };
        let said = format!("the marks of the lessons in {} cannot be read{kept}", file.display());
        (Self::default(), Some(said))
    }

    /// Writes the file.
    ///
    /// Errors: the file cannot be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        files::write(file, &text).map_err(|e| {
            let hint = "the lesson goes on, but its place is not kept";
            Error::data(format!("could not write: {e}"), file.display().to_string(), hint)
        })
    }

    /// The mark of a lesson, or the start if it was never read.
    pub fn mark(&self, lesson: &str) -> Mark {
        self.marks.get(lesson).cloned().unwrap_or_default()
    }

    /// Replaces the mark of a lesson.
    pub fn put(&mut self, lesson: &str, mark: Mark) {
        self.marks.insert(lesson.into(), mark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_survive_and_nonsense_is_put_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("paella/lessons.json");
        assert_eq!(CourseProgress::read(&file), (CourseProgress::default(), None));
        let mut progress = CourseProgress::default();
        progress.put("01-tokens", Mark { at: 3, done: true, ..Mark::default() });
        progress.write(&file).expect("written");
        assert_eq!(CourseProgress::read(&file), (progress.clone(), None));
        for (torn, name) in [("{", "lessons.damaged.json"), ("[", "lessons.damaged-2.json")] {
            std::fs::write(&file, torn).expect("written");
            let (read, said) = CourseProgress::read(&file);
            assert_eq!(read, CourseProgress::default());
            let aside = file.with_file_name(name);
            assert!(
                said.is_some_and(|said| said.ends_with(&format!("it is {} now", aside.display())))
            );
            assert_eq!(std::fs::read_to_string(aside).expect("kept"), torn);
            assert!(!file.exists());
        }
    }
}
