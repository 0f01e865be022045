//! The log of a run: a line of JSON for every step, sheets of pictures, and both for TensorBoard if requested.

use super::events::Events;
use super::gallery::ProgressSheet;
use crate::checkpoint::{Phase, Progress, unwritable};
use crate::error::Result;
use crate::files;
use crate::image;
use crate::metrics::StepRecord;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
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
    /// Opens `FOLDER/log.jsonl`, creating it if needed. A run that goes on from `saved` goes on behind the line of that
    /// step: lines of later steps, which will be trained again, and torn lines are cut off. A run that begins at step 0
    /// keeps an earlier log as `log.old.jsonl`.
    ///
    /// The text says what was cut off or moved; None if nothing was.
    pub fn open(
        folder: &Path,
        tensorboard: bool,
        saved: Option<&Progress>,
    ) -> Result<(Self, Option<String>)> {
        let path = folder.join("log.jsonl");
        let failed = |e: io::Error| unwritable(&path, &e);
        let note = continued(&path, saved).map_err(failed)?;
        let lines = OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
        Ok((Self { lines, path, tensorboard, events: None }, note))
    }

    /// Writes `FOLDER/samples/STEP.png`, and the captions beside it as `.txt`.
    pub fn gallery(&mut self, gallery: &ProgressSheet, step: u64) -> Result<()> {
        let folder = self.path.with_file_name("samples");
        // seven digits, so that a list by name is a list by step
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
        // in one write, so that a kill cannot come between a line and its end
        let line = serde_json::to_string(record).unwrap_or_default() + "\n";
        self.lines.write_all(line.as_bytes()).map_err(|e| unwritable(&self.path, &e))?;
        if !self.tensorboard {
            return Ok(());
        }
        // steps begin at 1 in every stage: TensorBoard needs a folder for each
        if self.events.as_ref().is_none_or(|(phase, _)| *phase != record.phase) {
            let folder = self.path.with_file_name("tensorboard").join(&record.phase);
            self.events = Some((record.phase.clone(), Events::open(&folder, record.step)?));
        }
        self.events.as_mut().map_or(Ok(()), |(_, events)| events.record(record))
    }
}

/// Prepares the log of an earlier part for a run that goes on from `saved`. Says what was cut off or moved.
fn continued(path: &Path, saved: Option<&Progress>) -> io::Result<Option<String>> {
    let log = match fs::read(path) {
        Ok(log) if log.is_empty() => return Ok(None),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    let Some(saved) = saved else {
        let old = files::free(&path.with_file_name("log.old.jsonl"));
        fs::rename(path, &old)?;
        return Ok(Some(format!("the log of an earlier start is now {}", old.display())));
    };
    let kept = kept(&log, saved);
    let bytes: usize = kept.iter().map(|line| line.len()).sum();
    if bytes == log.len() {
        return Ok(None);
    }
    // Mostly a tail is cut off, which cannot lose what stands before it. Only a log of an older version has gaps.
    match log.starts_with(&kept.concat()) {
        true => OpenOptions::new().write(true).open(path)?.set_len(bytes as u64)?,
        false => files::write(path, &kept.concat())?,
    }
    let lines = log.split_inclusive(|byte| *byte == b'\n').count() - kept.len();
    Ok(Some(format!(
        "{}: {lines} {} cut off, torn or of steps that are trained again after {} step {}",
        path.display(),
        if lines == 1 { "line" } else { "lines" },
        saved.phase,
        saved.step
    )))
}

/// The lines of a log up to a checkpoint, each step once: of a step that was trained again, its last line.
fn kept<'a>(log: &'a [u8], saved: &Progress) -> Vec<&'a [u8]> {
    let mut lines: Vec<((Phase, u64), &[u8])> = Vec::new();
    for line in log.split_inclusive(|byte| *byte == b'\n') {
        let Some(at) = place(line).filter(|at| *at <= (saved.phase, saved.step)) else { continue };
        // a step that comes again was trained again after a kill: what followed its first time is void
        while lines.last().is_some_and(|(last, _)| *last >= at) {
            lines.pop();
        }
        lines.push((at, line));
    }
    lines.into_iter().map(|(_, line)| line).collect()
}

/// Phase and step of a line. None if it is torn.
fn place(line: &[u8]) -> Option<(Phase, u64)> {
    #[derive(serde::Deserialize)]
    struct Place {
        phase: String,
        step: u64,
    }
    // a last line without its end may be valid JSON and still be cut off
    let place: Place = serde_json::from_slice(line.strip_suffix(b"\n")?).ok()?;
    Some((Phase::named(&place.phase)?, place.step))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(phase: Phase, step: u64, loss: f64) -> String {
        let phase = phase.to_string();
        let record = StepRecord { phase, step, loss, ..StepRecord::default() };
        serde_json::to_string(&record).expect("json") + "\n"
    }

    #[test]
    fn a_log_goes_on_behind_the_checkpoints_step() {
        let steps = |phase, steps: std::ops::RangeInclusive<u64>, loss| -> String {
            steps.map(|step| line(phase, step, loss)).collect()
        };
        let torn = &line(Phase::Denoiser, 9, 1.0)[..20];
        // killed twice by a version that left repeated and torn lines, then once more
        let log = steps(Phase::Tokenizer, 1..=4, 1.0)
            + &steps(Phase::Denoiser, 1..=8, 1.0)
            + torn
            + &steps(Phase::Denoiser, 6..=10, 2.0)
            + torn;
        let saved = |step| Progress { step, ..Progress::start(Phase::Denoiser) };
        let text = |step| String::from_utf8(kept(log.as_bytes(), &saved(step)).concat());
        let first = steps(Phase::Tokenizer, 1..=4, 1.0);
        assert_eq!(text(3), Ok(first.clone() + &steps(Phase::Denoiser, 1..=3, 1.0)));
        // the torn line took the first line of the second part with it: step 6 stays as it was trained first
        let second = steps(Phase::Denoiser, 1..=6, 1.0) + &steps(Phase::Denoiser, 7..=9, 2.0);
        assert_eq!(text(9), Ok(first + &second));
    }

    #[test]
    fn an_earlier_log_is_cut_or_put_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log.jsonl");
        let saved = Progress { step: 2, ..Progress::start(Phase::Tokenizer) };
        let log: String = (1..=3).map(|step| line(Phase::Tokenizer, step, 1.0)).collect();
        fs::write(&path, &log).expect("written");
        let (_, note) = Journal::open(folder.path(), false, Some(&saved)).expect("opened");
        assert!(note.is_some_and(|note| note.contains("1 line cut off")));
        let left = fs::read_to_string(&path).expect("read");
        assert_eq!(left.lines().count(), 2);
        let (_, note) = Journal::open(folder.path(), false, Some(&saved)).expect("opened");
        assert_eq!(note, None);
        let (_, note) = Journal::open(folder.path(), false, None).expect("opened");
        assert!(note.is_some_and(|note| note.contains("log.old.jsonl")));
        assert_eq!(fs::read_to_string(&path).expect("read"), "");
        assert_eq!(fs::read_to_string(folder.path().join("log.old.jsonl")).expect("read"), left);
    }
}
