//! The training of a lesson, kept beside the reader's progress: coming back takes no training.

use crate::config::RunConfig;
use crate::error::{Result, counted};
use crate::files;
use crate::lab::Lab;
use crate::lab::args::quoted;
use std::path::{Path, PathBuf};

/// The folder of a lesson's training, and what was written there last.
#[derive(Default)]
pub struct KeptTraining {
    /// None if it cannot be kept.
    folder: Option<PathBuf>,
    /// Model, training steps and settings.
    last: Option<(String, u64, RunConfig)>,
}

impl KeptTraining {
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, last: None }
    }

    /// Takes up what was kept. Returns its number of training steps. None if there is nothing.
    ///
    /// Errors: as `Lab::resume_training`.
    pub fn take_up(&mut self, lab: &mut Lab) -> Result<Option<u64>> {
        let Some(folder) = self.folder.as_ref().filter(|folder| folder.is_dir()) else {
            return Ok(None);
        };
        let steps = lab.resume_training(folder)?;
        self.last = Some(now(lab));
        Ok(Some(steps))
    }

    /// Writes what has changed since the last time. Where another model is in hand, what was kept is put aside: then the
    /// text says where.
    ///
    /// Errors: as `Lab::keep_training`.
    pub fn keep(&mut self, lab: &Lab) -> Result<Option<String>> {
        let (Some(folder), now) = (&self.folder, now(lab)) else { return Ok(None) };
        if now.1 == 0 {
            return Ok(if self.last.take().is_some() { self.put_aside() } else { None });
        }
        if self.last.as_ref() != Some(&now) {
            lab.keep_training(folder)?;
            self.last = Some(now);
        }
        Ok(None)
    }

    /// Moves what was kept out of the way, to a name that is free. The text says where.
    pub fn put_aside(&mut self) -> Option<String> {
        let folder = self.folder.clone().filter(|folder| folder.is_dir())?;
        let aside = files::free(&folder.with_extension("before"));
        if files::put_folder(&folder, &aside).is_err() {
            self.folder = None; // then it is not replaced either
            return None;
        }
        Some(format!("your model of before: `load {}`", word(&aside)))
    }

    /// Where the training is. None if there is none.
    pub fn said(&self, lesson: &str) -> Option<String> {
        let (folder, (_, steps, _)) = (self.folder.as_ref()?, self.last.as_ref()?);
        Some(format!(
            "your model of {} is kept: `paella lesson {lesson}` goes on with it, `load {}` opens it",
            counted(steps, "training step"),
            word(folder)
        ))
    }
}

/// Model, training steps and settings of a session.
fn now(lab: &Lab) -> (String, u64, RunConfig) {
    let (name, steps) = lab.status();
    (name, steps, lab.settings().clone())
}

fn word(path: &Path) -> String {
    quoted(&path.display().to_string(), None)
}
