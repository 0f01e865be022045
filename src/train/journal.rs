//! The log of a run: a line of JSON for every step, sheets of pictures, and both for TensorBoard if requested.

use super::events::Events;
use super::gallery::ProgressSheet;
use crate::checkpoint::unwritable;
use crate::error::Result;
use crate::files;
use crate::image;
use crate::metrics::StepRecord;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The log of a run, continued when the run resumes.
pub struct Journal {
    path: PathBuf,
    lines: File,
    tensorboard: bool,
    /// Events of the current stage.
    events: Option<(String, Events)>,
}

impl Journal {
    /// Opens `FOLDER/log.jsonl`, creating it if needed.
    pub fn open(folder: &Path, tensorboard: bool) -> Result<Self> {
        let path = folder.join("log.jsonl");
        let lines = OpenOptions::new().create(true).append(true).open(&path);
        let lines = lines.map_err(|e| unwritable(&path, &e))?;
        Ok(Self { lines, path, tensorboard, events: None })
    }

    /// Writes `FOLDER/samples/STEP.png`, and the captions beside it as `.txt`.
    pub fn gallery(&mut self, gallery: &ProgressSheet, step: u64) -> Result<()> {
        let folder = self.path.with_file_name("samples");
        image::save(&gallery.sheet, &folder.join(format!("{step:07}.png")))?;
        let path = folder.join(format!("{step:07}.txt"));
        let text = gallery.captions.join("\n") + "\n";
        files::write(&path, text.as_bytes()).map_err(|e| unwritable(&path, &e))?;
        match &mut self.events {
            Some((_, events)) => events.picture("samples", step, &gallery.sheet),
            None => Ok(()),
        }
    }

    /// Writes the record of one step.
    pub fn record(&mut self, record: &StepRecord) -> Result<()> {
        let line = serde_json::to_string(record).unwrap_or_default();
        writeln!(self.lines, "{line}").map_err(|e| unwritable(&self.path, &e))?;
        if !self.tensorboard {
            return Ok(());
        }
        if self.events.as_ref().is_none_or(|(phase, _)| *phase != record.phase) {
            let folder = self.path.with_file_name("tensorboard").join(&record.phase);
            self.events = Some((record.phase.clone(), Events::open(&folder, record.step)?));
        }
        self.events.as_mut().map_or(Ok(()), |(_, events)| events.record(record))
    }
}
