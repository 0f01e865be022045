//! Checkpoints: everything a run needs to go on exactly where it was, in one folder that is whole or not there.

use crate::error::{Error, Result};
use crate::files;
use crate::weights::{self, Named};
use ron_faults::{Checks, Fault};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a run is training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    Tokenizer,
    /// CLIP's picture vector from its text vector; needs no tokenizer.
    Prior,
    Denoiser,
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
    /// Seconds of training so far, over all phases.
    pub seconds: f64,
    /// Updates left out since the start of the phase because loss or gradient was not finite.
    #[serde(default)]
    pub skipped: u64,
}

impl Progress {
    /// Before the first update of a phase.
    pub fn start(phase: Phase) -> Self {
        Self { phase, step: 0, position: 0, seconds: 0.0, skipped: 0 }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tokenizer => "tokenizer",
            Self::Prior => "prior",
            Self::Denoiser => "denoiser",
        })
    }
}

/// When checkpoints are written, and which are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SaveConfig {
    /// Updates between two checkpoints.
    pub every: u64,
    /// Minutes between two checkpoints; 0: only by updates.
    pub minutes: f64,
    /// The newest so many are kept.
    pub keep: usize,
    /// So are those whose step this divides; 0: none.
    pub keep_every: u64,
}

impl Default for SaveConfig {
    fn default() -> Self {
        Self { every: 1_000, minutes: 0.0, keep: 2, keep_every: 0 }
    }
}

impl SaveConfig {
    /// Everything that is wrong though well formed.
    pub fn check(&self) -> Vec<Fault> {
        let mut found = Checks::default();
        found.count("every", self.every, 1, i64::MAX);
        found.count("keep", self.keep as u64, 1, 1 << 20);
        let fine = self.minutes >= 0.0 && self.minutes <= 1e6;
        found.unless(fine, "minutes", format!("{}", self.minutes), "0 (off) or above");
        found.faults()
    }
}

/// All that a checkpoint holds, copied: the run may go on while it is written.
pub struct Snapshot {
    pub progress: Progress,
    /// The run's config in full.
    pub config: String,
    /// Tensors on the CPU, by file.
    pub tensors: Vec<(&'static str, Named)>,
    /// Other files, by name.
    pub texts: Vec<(&'static str, String)>,
}

/// Write `ROOT/PHASE-STEP`, then remove what the policy does not keep.
///
/// The folder is filled under a hidden name, synced and renamed: a run that dies at any moment leaves the last one
/// intact.
pub fn save(root: &Path, snapshot: &Snapshot, policy: &SaveConfig) -> Result<PathBuf> {
    let name = folder_name(&snapshot.progress);
    let target = root.join(&name);
    let failed = |e: io::Error| {
        let hint = "is there room, and may this folder be written?";
        Error::checkpoint(e.to_string(), target.display().to_string(), hint)
    };
    let hidden = root.join(format!(".{name}.{}.tmp", std::process::id()));
    let _ = fs::remove_dir_all(&hidden);
    fill(&hidden, snapshot).map_err(|e| match e {
        Filling::Io(e) => failed(e),
        Filling::Weights(e) => e,
    })?;
    files::put_folder(&hidden, &target).map_err(failed)?;
    thin(root, policy);
    Ok(target)
}

enum Filling {
    Io(io::Error),
    Weights(Error),
}

fn fill(folder: &Path, snapshot: &Snapshot) -> std::result::Result<(), Filling> {
    for (name, tensors) in &snapshot.tensors {
        let path = folder.join(format!("{name}.safetensors"));
        weights::write(&path, tensors).map_err(Filling::Weights)?;
    }
    let progress = ron::ser::to_string_pretty(&snapshot.progress, ron::ser::PrettyConfig::new())
        .map_err(|e| Filling::Io(io::Error::other(e.to_string())))?;
    let own = [("config.ron", &snapshot.config), ("progress.ron", &progress)];
    let texts = snapshot.texts.iter().map(|(name, text)| (*name, text));
    for (name, text) in own.into_iter().chain(texts) {
        files::write(&folder.join(name), text.as_bytes()).map_err(Filling::Io)?;
    }
    Ok(())
}

/// Remove checkpoints that the policy does not keep. They disappear before they are taken apart.
fn thin(root: &Path, policy: &SaveConfig) {
    for (progress, folder) in all(root).iter().rev().skip(policy.keep) {
        if policy.keep_every > 0 && progress.step.is_multiple_of(policy.keep_every) {
            continue;
        }
        let hidden = root.join(format!(".{}.old.tmp", folder_name(progress)));
        if fs::rename(folder, &hidden).is_ok() {
            let _ = fs::remove_dir_all(&hidden);
        }
    }
}

/// Remove what killed runs left half written or half removed. Only while no other run uses the folder.
pub fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') && name.ends_with(".tmp") {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Writes checkpoints on a thread of its own, one at a time.
pub struct Saver {
    root: PathBuf,
    policy: SaveConfig,
    writing: Option<JoinHandle<Result<PathBuf>>>,
}

impl Saver {
    pub fn new(root: &Path, policy: &SaveConfig) -> Self {
        Self { root: root.to_path_buf(), policy: policy.clone(), writing: None }
    }

    /// Begin to write; waits for the one before.
    ///
    /// Errors: those of the one before.
    pub fn save(&mut self, snapshot: Snapshot) -> Result<()> {
        self.wait()?;
        let (root, policy) = (self.root.clone(), self.policy.clone());
        let writing = Writing::new();
        self.writing = Some(std::thread::spawn(move || {
            let _writing = writing;
            save(&root, &snapshot, &policy)
        }));
        Ok(())
    }

    /// Until the last one is on disk.
    pub fn wait(&mut self) -> Result<()> {
        let Some(thread) = self.writing.take() else { return Ok(()) };
        let broken = |_| Err(Error::checkpoint("the writer broke", "", ""));
        thread.join().unwrap_or_else(broken).map(drop)
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        let _ = self.wait();
    }
}

/// Checkpoints that are being written by this process.
static WRITERS: AtomicUsize = AtomicUsize::new(0);

struct Writing;

impl Writing {
    fn new() -> Self {
        WRITERS.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        WRITERS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Before a process is ended from aside: wait until no checkpoint is being written, but not longer than `limit`. One that
/// is cut off is no checkpoint; the one before it is whole.
pub fn settle(limit: Duration) {
    let start = Instant::now();
    while WRITERS.load(Ordering::SeqCst) > 0 && start.elapsed() < limit {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The checkpoint that got furthest, with its progress.
pub fn latest(root: &Path) -> Option<(Progress, PathBuf)> {
    all(root).pop()
}

/// One file of tensors of a checkpoint.
pub fn read(folder: &Path, name: &str) -> Result<Named> {
    weights::read(&folder.join(format!("{name}.safetensors")))
}

/// One of the other files of a checkpoint; none where it holds none of this name.
pub fn read_text(folder: &Path, name: &str) -> Option<String> {
    fs::read_to_string(folder.join(name)).ok()
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
    format!("{}-{:07}", progress.phase, progress.step)
}

/// The folder of a run cannot be written.
pub fn unwritable(path: &Path, e: &io::Error) -> Error {
    let hint = "is there room? choose a writable folder with `--out`";
    Error::checkpoint(e.to_string(), path.display().to_string(), hint)
}
