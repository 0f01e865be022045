//! Checkpoints: everything a run needs to go on exactly where it was, in one folder that is whole or not there.

use crate::error::{Error, Result};
use crate::files;
use crate::weights::{self, Named};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// What a run is training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    Tokenizer,
    Denoiser,
    Prior,
}

/// How far a run has come. Random draws follow from (seed, phase, step), so no generator state is needed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    pub phase: Phase,
    /// Updates done in this phase.
    pub step: u64,
    /// Pictures drawn from the data in this phase.
    pub position: u64,
    /// Seconds of training so far, over both phases.
    pub seconds: f64,
}

/// Checkpoints kept in a run's folder.
const KEEP: usize = 2;

/// Write `ROOT/PHASE-STEP` with the config, the progress and tensors by file, then remove older ones.
///
/// The folder is filled under a hidden name, synced and renamed: a run that dies leaves the last one intact.
pub fn save(
    root: &Path,
    config: &str,
    progress: &Progress,
    files: &[(&str, Named)],
) -> Result<PathBuf> {
    let target = root.join(folder_name(progress));
    let failed = |e: io::Error| {
        Error::checkpoint(
            e.to_string(),
            target.display().to_string(),
            "is there room, and may this folder be written?",
        )
    };
    let hidden = root.join(format!(".{}.{}.tmp", folder_name(progress), std::process::id()));
    let _ = fs::remove_dir_all(&hidden);
    for (name, tensors) in files {
        weights::write(&hidden.join(format!("{name}.safetensors")), tensors)?;
    }
    let text = ron::ser::to_string_pretty(progress, ron::ser::PrettyConfig::new())
        .map_err(|e| failed(io::Error::other(e.to_string())))?;
    files::write(&hidden.join("config.ron"), config.as_bytes()).map_err(failed)?;
    files::write(&hidden.join("progress.ron"), text.as_bytes()).map_err(failed)?;
    if target.exists() {
        fs::remove_dir_all(&target).map_err(failed)?;
    }
    fs::rename(&hidden, &target).and_then(|()| File::open(root)?.sync_all()).map_err(failed)?;
    for (_, old) in all(root).iter().rev().skip(KEEP) {
        let _ = fs::remove_dir_all(old);
    }
    Ok(target)
}

/// The checkpoint that got furthest, with its progress.
pub fn latest(root: &Path) -> Option<(Progress, PathBuf)> {
    all(root).pop()
}

/// One file of tensors of a checkpoint.
pub fn read(folder: &Path, name: &str) -> Result<Named> {
    weights::read(&folder.join(format!("{name}.safetensors")))
}

/// Whole checkpoints, the furthest last.
fn all(root: &Path) -> Vec<(Progress, PathBuf)> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let mut found: Vec<(Progress, PathBuf)> = entries
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.path().join("progress.ron")).ok()?;
            Some((ron::from_str(&text).ok()?, entry.path()))
        })
        .collect();
    found.sort_by_key(|(progress, _)| (progress.phase, progress.step));
    found
}

fn folder_name(progress: &Progress) -> String {
    let phase = match progress.phase {
        Phase::Tokenizer => "tokenizer",
        Phase::Denoiser => "denoiser",
        Phase::Prior => "prior",
    };
    format!("{phase}-{:07}", progress.step)
}
