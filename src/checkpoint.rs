//! Checkpoints: everything a run needs to resume exactly, in one folder that is either complete or absent.

use crate::data::DataMark;
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

/// File of a checkpoint with its progress.
const PROGRESS: &str = "progress.ron";

/// The network that a run is training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    Tokenizer,
    /// Texts and pictures as vectors in a shared space. Needs no tokenizer.
    Clip,
    /// Predicts CLIP's image vector from its text vector. Needs no tokenizer.
    Prior,
    Denoiser,
}

/// The progress of a run. Random draws follow from (seed, phase, step), so no generator state is needed.
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
    /// Updates skipped since the start of the phase because the loss or gradient was not finite.
    #[serde(default)]
    pub skipped: u64,
    /// The data that the run reads. None in checkpoints of earlier versions, and where nothing tells whether they change.
    #[serde(default)]
    pub data: Option<DataMark>,
}

impl Phase {
    /// All phases, in the order of a run.
    const ALL: [Self; 4] = [Self::Tokenizer, Self::Clip, Self::Prior, Self::Denoiser];

    /// The phase that is written so in logs and names of folders.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.to_string() == name)
    }
}

impl Progress {
    /// The state before the first update of a phase.
    pub fn start(phase: Phase) -> Self {
        Self { phase, step: 0, position: 0, seconds: 0.0, skipped: 0, data: None }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tokenizer => "tokenizer",
            Self::Clip => "clip",
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
    /// Minutes between two checkpoints; 0 means only `every` counts.
    pub minutes: f64,
    /// Number of newest checkpoints to keep.
    pub keep: usize,
    /// Also keep checkpoints whose step is a multiple of this; 0 means none.
    pub keep_every: u64,
}

impl Default for SaveConfig {
    fn default() -> Self {
        Self { every: 1_000, minutes: 0.0, keep: 2, keep_every: 0 }
    }
}

impl SaveConfig {
    /// Checks the values. Returns all faults.
    pub fn check(&self) -> Vec<Fault> {
        let mut found = Checks::default();
        found.count("every", self.every, 1, i64::MAX);
        found.count("keep", self.keep as u64, 1, 1 << 20);
        let fine = self.minutes >= 0.0 && self.minutes <= 1e6;
        found.unless(fine, "minutes", format!("{:?}", self.minutes), "0 (off) or above");
        found.faults()
    }
}

/// A copy of everything a checkpoint holds. The run may continue while it is written.
pub struct Snapshot {
    pub progress: Progress,
    /// The run's full config.
    pub config: String,
    /// Tensors on the CPU, by file stem.
    pub tensors: Vec<(&'static str, Named)>,
    /// Other files, by name.
    pub texts: Vec<(&'static str, String)>,
}

/// Writes `ROOT/PHASE-STEP`, then removes the checkpoints that the policy does not keep.
///
/// The folder is filled under a hidden name, synced and renamed. A run that dies at any moment leaves the last
/// checkpoint intact.
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
    thin(root, policy, &snapshot.progress);
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
    let own = [("config.ron", &snapshot.config), (PROGRESS, &progress)];
    let texts = snapshot.texts.iter().map(|(name, text)| (*name, text));
    for (name, text) in own.into_iter().chain(texts) {
        files::write(&folder.join(name), text.as_bytes()).map_err(Filling::Io)?;
    }
    Ok(())
}

/// Removes checkpoints that the policy does not keep, of those up to the one just written. Later ones are left: a run that
/// went on from an earlier checkpoint could not read them, so they are no reason to remove what it can read. Each folder
/// is renamed to a hidden name first, then deleted.
fn thin(root: &Path, policy: &SaveConfig, written: &Progress) {
    let at = |progress: &Progress| (progress.phase, progress.step);
    let all = all(root);
    let own = all.iter().rev().filter(|(progress, _)| at(progress) <= at(written));
    for (progress, folder) in own.skip(policy.keep) {
        if policy.keep_every > 0 && progress.step.is_multiple_of(policy.keep_every) {
            continue;
        }
        let hidden = root.join(format!(".{}.old.tmp", folder_name(progress)));
        if fs::rename(folder, &hidden).is_ok() {
            let _ = fs::remove_dir_all(&hidden);
        }
    }
}

/// Removes half-written and half-removed folders that killed runs left. Call it only while no other run uses the
/// folder.
pub fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') && name.ends_with(".tmp") {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Writes checkpoints on its own thread, one at a time.
pub struct Saver {
    root: PathBuf,
    policy: SaveConfig,
    writing: Option<JoinHandle<Result<PathBuf>>>,
}

impl Saver {
    pub fn new(root: &Path, policy: &SaveConfig) -> Self {
        Self { root: root.to_path_buf(), policy: policy.clone(), writing: None }
    }

    /// Starts writing a checkpoint. Waits for the previous one first.
    ///
    /// Errors: those of the previous write.
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

    /// Waits until the last checkpoint is on disk.
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

/// Number of checkpoints this process is writing.
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

/// Waits until no checkpoint is being written, but at most `limit`. Called before another thread ends the process. A
/// write that is cut off leaves no checkpoint; the one before it stays complete.
pub fn settle(limit: Duration) {
    let start = Instant::now();
    while WRITERS.load(Ordering::SeqCst) > 0 && start.elapsed() < limit {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The readable checkpoint with the most progress.
pub fn latest(root: &Path) -> Option<(Progress, PathBuf)> {
    all(root).pop()
}

/// Reads one tensor file of a checkpoint.
pub fn read(folder: &Path, name: &str) -> Result<Named> {
    weights::read(&folder.join(format!("{name}.safetensors")))
}

/// Reads another file of a checkpoint. None if the checkpoint has no file of this name.
pub fn read_text(folder: &Path, name: &str) -> Option<String> {
    fs::read_to_string(folder.join(name)).ok()
}

/// Readable checkpoints, the one with the most progress last.
fn all(root: &Path) -> Vec<(Progress, PathBuf)> {
    let folders = folders(root).unwrap_or_default().into_iter();
    let mut found: Vec<(Progress, PathBuf)> =
        folders.filter_map(|folder| Some((progress(&folder).ok()?, folder))).collect();
    found.sort_by_key(|(progress, _)| (progress.phase, progress.step));
    found
}

/// The folders of checkpoints, readable or not, the one with the most progress last. None if `root` does not exist.
///
/// Errors: `root` cannot be listed.
pub fn folders(root: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |e: io::Error| {
        let hint = "checkpoints may be in there: mend it, or choose another folder with `--out`";
        let what = format!("the checkpoints cannot be listed: {e}");
        Error::checkpoint(what, root.display().to_string(), hint)
    };
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        // a link to a disk that is not there is no new run
        Err(e) if e.kind() == io::ErrorKind::NotFound && root.symlink_metadata().is_err() => {
            return Ok(Vec::new());
        }
        Err(e) => return Err(unreadable(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        let named = named_progress(&name);
        if !name.starts_with('.') && (named.is_some() || path.join(PROGRESS).exists()) {
            // a folder of another name that cannot be read stays in sight: nobody knows how far it was
            let read = || progress(&path).map(|progress| (progress.phase, progress.step));
            let place = named.or_else(|| read().ok()).unwrap_or((Phase::Denoiser, u64::MAX));
            found.push((place, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Phase and step in the name of a checkpoint's folder.
fn named_progress(name: &str) -> Option<(Phase, u64)> {
    let (phase, step) = name.rsplit_once('-')?;
    Some((Phase::named(phase)?, step.parse().ok()?))
}

/// Reads the progress of the checkpoint in `folder`.
///
/// Errors: the file cannot be read, or is no progress.
pub fn progress(folder: &Path) -> Result<Progress> {
    let path = folder.join(PROGRESS);
    let broken = |what: String| {
        let hint = "this checkpoint is damaged; an older one may be whole";
        Error::checkpoint(what, path.display().to_string(), hint)
    };
    let text = fs::read_to_string(&path).map_err(|e| broken(e.to_string()))?;
    if text.trim().is_empty() {
        return Err(broken("the file is empty".into()));
    }
    ron::from_str(&text).map_err(|e| broken(format!("this is no progress of a run: {e}")))
}

fn folder_name(progress: &Progress) -> String {
    format!("{}-{:07}", progress.phase, progress.step)
}

/// The error for a run folder that cannot be written.
pub fn unwritable(path: &Path, e: &io::Error) -> Error {
    let hint = "is there room? choose a writable folder with `--out`";
    Error::checkpoint(e.to_string(), path.display().to_string(), hint)
}
