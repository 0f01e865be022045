//! The checkpoint that a run goes on from: which ones are whole, and whether they belong to this run.

use super::options::{Resume, RunOptions};
use crate::checkpoint::{self, Phase, Progress};
use crate::config::{self, RunConfig, full_place, moved};
use crate::data::is_there;
use crate::error::{Error, Result, shell_quoted};
use crate::weights;
use std::path::{Path, PathBuf};

/// What is in a run's folder of checkpoints.
struct Saved {
    /// The newest checkpoint that is whole.
    whole: Option<(Progress, PathBuf)>,
    /// What is wrong with each newer one, the newest first.
    damaged: Vec<Error>,
}

impl Saved {
    fn look(checkpoints: &Path) -> Result<Self> {
        let (mut folders, mut damaged) = (checkpoint::folders(checkpoints)?, Vec::new());
        // the newest is the last; those before the first whole one do not matter
        while let Some(folder) = folders.pop() {
            match whole(&folder) {
                Ok(progress) => return Ok(Self { whole: Some((progress, folder)), damaged }),
                Err(error) => damaged.push(error),
            }
        }
        Ok(Self { whole: None, damaged })
    }
}

/// The progress of a checkpoint that is whole, as far as its texts and the lengths of its files tell.
///
/// Errors: the file that is missing, cut off or not understood.
fn whole(folder: &Path) -> Result<Progress> {
    let progress = checkpoint::progress(folder)?;
    let config = config_of(folder)?;
    // as the trainers' shells: the tokenizer has no averages
    let state: &[&str] =
        if progress.phase == Phase::Tokenizer { &["optim"] } else { &["optim", "ema"] };
    for name in networks(&config, progress.phase).iter().chain(state) {
        // the header and the length of the file: a few kilobytes of many gigabytes
        weights::look(&folder.join(format!("{name}.safetensors")))?;
    }
    Ok(progress)
}

/// The config of a checkpoint. Its values are not checked again: the places that it names may be gone.
fn config_of(folder: &Path) -> Result<RunConfig> {
    RunConfig::read_with(&folder.join("config.ron"), |_| Vec::new()) // read, not checked
}

/// File stems of the networks that a checkpoint of this stage holds: those the run has trained, not those that were
/// given or follow from the seed.
pub fn networks(config: &RunConfig, phase: Phase) -> Vec<&'static str> {
    let denoiser = phase == Phase::Denoiser;
    let trained = |own: Phase| phase >= own && config.to_train().contains(&own);
    let all = [
        ("tokenizer", config.weights.tokenizer.is_none()),
        ("text", denoiser && config.train.train_text),
        ("denoiser", denoiser),
        ("clip", trained(Phase::Clip) && config.clip.is_some()),
        ("prior", trained(Phase::Prior) && config.prior.is_some()),
    ];
    all.into_iter().filter(|(_, kept)| *kept).map(|(name, _)| name).collect()
}

/// The checkpoint to resume from. `config` names data and weights as its file does; `options.moved` is not applied yet.
///
/// Errors: a folder that `options.resume` refuses; checkpoints of another run; checkpoints that are damaged. A run whose
///         checkpoints cannot be understood is never begun again.
pub fn find(
    config: &RunConfig,
    options: &RunOptions,
    folder: &Path,
) -> Result<Option<(Progress, PathBuf)>> {
    let checkpoints = folder.join("checkpoints");
    let Saved { whole, damaged } = Saved::look(&checkpoints)?;
    let place = || folder.display().to_string();
    let hinted = |error: &Error, hint: String| {
        error.clone().map(|fault| ron_faults::Fault { hint: hint.clone(), ..fault })
    };
    match (&whole, damaged.first(), options.resume) {
        (None, None, Resume::Must) => {
            let hint = "`--resume auto` begins where there is none";
            return Err(Error::checkpoint("there is no checkpoint to go on from", place(), hint));
        }
        (None, None, Resume::Auto | Resume::No) => {}
        (_, _, Resume::No) => {
            let hint = "go on with `--resume`, or name another folder with `--out`";
            return Err(Error::checkpoint("the folder holds checkpoints of a run", place(), hint));
        }
        // not begun again, also with `auto`: what was trained may still be rescued by hand
        (None, Some(error), _) => {
            let hint = format!(
                "no checkpoint here is whole; to begin again, move {} away or name another folder with `--out`",
                checkpoints.display()
            );
            return Err(hinted(error, hint));
        }
        (Some((_, newest)), Some(error), Resume::Must) => {
            let hint =
                format!("`--resume auto` goes on from {}, the newest whole one", name(newest));
            return Err(hinted(error, hint));
        }
        (Some((_, newest)), _, Resume::Auto) => {
            for fault in damaged.iter().flat_map(Error::faults) {
                let from = name(newest);
                options.say(&format!(
                    "damaged: {}: {}; going on from {from}",
                    fault.place, fault.what
                ));
            }
        }
        (Some(_), None, Resume::Must) => {}
    }
    let before = whole.as_ref().map(|(_, path)| config_of(path)).transpose()?;
    // a slip in `--moved` would else be found as a missing file, or not at all
    has_moved(&options.moved, config, before.as_ref())?;
    if let (Some(before), Some((progress, path))) = (&before, &whole) {
        same_run(before, config, &options.moved, progress.phase, path)?;
    }
    Ok(whole)
}

/// The error of weights in a checkpoint that cannot be read. Of a training that has diverged it names the line after which
/// the run goes on from the checkpoint before.
pub fn unreadable(error: Error, checkpoint: &Path) -> Error {
    if !error.faults().iter().any(|fault| fault.what.ends_with("are not finite")) {
        return error;
    }
    let root = checkpoint.parent().unwrap_or(Path::new("."));
    let all = checkpoint::folders(root).unwrap_or_default();
    // sorted by step: the last one before the broken one
    let before = all.iter().take_while(|folder| *folder != checkpoint).last();
    let away = root.with_file_name(format!("diverged-{}", name(checkpoint)));
    let [from, to] = [checkpoint, &away].map(|path| shell_quoted(&path.display().to_string()));
    let how = match before {
        Some(before) => format!("`mv {from} {to}`, then `--resume` goes on from {}", name(before)),
        None => "no checkpoint is before it: begin again in another folder, `--out`".to_string(),
    };
    let hint = format!("the training had diverged; {how}, with a lower `lr` or a longer `warmup`");
    error.map(|fault| ron_faults::Fault { hint: hint.clone(), ..fault })
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Checks that each move concerns some place of the run.
///
/// Errors: a move that does nothing.
fn has_moved(
    moves: &[(String, String)],
    config: &RunConfig,
    before: Option<&RunConfig>,
) -> Result<()> {
    let places: Vec<String> =
        before.into_iter().chain([config]).flat_map(RunConfig::places).collect();
    let idle = |pair: &&(String, String)| {
        places.iter().all(|place| moved(place, std::slice::from_ref(*pair)).is_none())
    };
    let Some((from, _)) = moves.iter().find(idle) else { return Ok(()) };
    let hint = match places.is_empty() {
        true => "its data are shipped or made up: there is nothing to move".to_string(),
        false => format!("it reads {}", places.join(", ")),
    };
    Err(Error::command(format!("the run reads nothing at or below `{from}`"), "`--moved`", hint))
}

/// Checks that a resumed run has the same data, seed and trained networks as the checkpoint. Lengths and rates may
/// change, and so may the spelling of a path.
fn same_run(
    before: &RunConfig,
    config: &RunConfig,
    moves: &[(String, String)],
    phase: Phase,
    checkpoint: &Path,
) -> Result<()> {
    // A stage that is over does not read its settings again; one that is to come may still change.
    let fixed: &[&str] = match phase {
        Phase::Tokenizer => &["data.", "tokenizer.model", "seed", "weights."],
        Phase::Clip => &["data.", "seed", "weights.", "clip.model"],
        Phase::Prior => &["data.", "seed", "weights.", "clip.model", "prior.model"],
        Phase::Denoiser => &[
            "data.",
            "tokenizer.model",
            "seed",
            "weights.",
            "text.",
            "clip.model",
            "prior.model",
            "model.",
        ],
    };
    // how the stream is read does not change its content
    let free = ["threads", "retries", "max_idle_s"].map(|name| format!("data.stream.{name}"));
    // they judge the tokenizer's pictures; nothing is begun from them
    let free = free.into_iter().chain(["vgg", "lpips"].map(|name| format!("weights.{name}")));
    let free: Vec<String> = free.collect();
    // `./x`, `x` and `/here/x` are one place
    let spelled = |config: &RunConfig| config.moved(moves).with_places(full_place);
    let (before, config) = (spelled(before), spelled(config));
    let changed: Vec<String> = config::diff(&before, &config)
        .into_iter()
        .filter(|change| fixed.iter().any(|prefix| change.path.starts_with(prefix)))
        .filter(|change| !free.contains(&change.path))
        .map(|change| format!("`{}` was {}, is {}", change.path, change.from, change.to))
        .collect();
    if changed.is_empty() {
        return Ok(());
    }
    let (was, is) = (before.places(), config.places());
    let pairs = was.iter().zip(&is).filter(|(was, is)| was != is);
    // places pair up one by one only where none came or went
    let flags: Vec<String> = match was.len() == is.len() {
        true => pairs
            .map(|(was, is)| {
                // a run that has moved goes on under the config of before: the same way again
                let back = !is_there(is) && is_there(was);
                let (from, to) = if back { (is, was) } else { (was, is) };
                format!("--moved {}", shell_quoted(&format!("{from}={to}")))
            })
            .collect(),
        false => Vec::new(),
    };
    let hint = "resume with the config in that folder, or start a new run with `--out`";
    let hint = match flags.is_empty() {
        true => hint.to_string(),
        false => format!(
            "if the same data lie elsewhere now: add `{}` to the line; else {hint}",
            flags.join(" ")
        ),
    };
    Err(Error::checkpoint(
        format!("the config changed since the checkpoint: {}", changed.join("; ")),
        checkpoint.display().to_string(),
        hint,
    ))
}
