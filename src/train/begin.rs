//! Checks before the first step of a run: where it resumes, and whether it can be completed.

use super::options::Resume;
use crate::checkpoint::{self, Phase, Progress};
use crate::config::{self, RunConfig};
use crate::dist::World;
use crate::error::{Error, Result};
use crate::files;
use crate::networks::Networks;
use std::path::{Path, PathBuf};
use tch::{Tensor, nn};

/// The checkpoint to resume from.
pub fn find(
    config: &RunConfig,
    resume: Resume,
    folder: &Path,
    checkpoints: &Path,
) -> Result<Option<(Progress, PathBuf)>> {
    let place = || folder.display().to_string();
    match (checkpoint::latest(checkpoints), resume) {
        (Some(_), Resume::No) => {
            let hint = "go on with `--resume`, or name another folder with `--out`";
            Err(Error::checkpoint("the folder holds checkpoints of a run", place(), hint))
        }
        (None, Resume::Must) => {
            let hint = "`--resume auto` begins where there is none";
            Err(Error::checkpoint("there is no checkpoint to go on from", place(), hint))
        }
        (Some((progress, path)), _) => {
            same_run(config, progress.phase, &path)?;
            Ok(Some((progress, path)))
        }
        (None, _) => Ok(None),
    }
}

/// Checks that the batches of all stages divide over the ranks.
///
/// Errors: batches that do not divide evenly over the ranks.
pub fn can_share(config: &RunConfig, ranks: usize) -> Result<()> {
    let tokenizer = config.stages.contains(&Phase::Tokenizer) && config.weights.tokenizer.is_none();
    let prior = config.to_train().contains(&Phase::Prior);
    let denoiser = config.stages.contains(&Phase::Denoiser);
    let faults = [
        tokenizer.then(|| config.tokenizer.train.share(ranks).err()).flatten(),
        config.prior.as_ref().filter(|_| prior).and_then(|prior| prior.train.split(ranks).err()),
        config.train.split(ranks).err().filter(|_| denoiser),
    ];
    let faults: Vec<_> = faults.into_iter().flatten().collect();
    if faults.is_empty() { Ok(()) } else { Err(Error::Config(faults)) }
}

/// Checks that all ranks resume from the same checkpoint.
///
/// Errors: a rank sees another checkpoint than rank 0.
pub fn agree(world: &World, saved: Option<&(Progress, PathBuf)>, checkpoints: &Path) -> Result<()> {
    let seen =
        world.gather(&saved.map_or_else(String::new, |(_, path)| path.display().to_string()))?;
    let Some(other) = seen.iter().position(|path| *path != seen[0]) else { return Ok(()) };
    let say =
        |path: &str| if path.is_empty() { "no checkpoint".into() } else { format!("`{path}`") };
    let what = format!("rank 0 sees {}, rank {other} {}", say(&seen[0]), say(&seen[other]));
    let hint = "all ranks need the run's folder on one file system";
    Err(Error::checkpoint(what, checkpoints.display().to_string(), hint))
}

/// Checks the disk space for checkpoints. A checkpoint holds the weights, their averages and two moments for each, and
/// a new one is written before an old one is removed.
///
/// Errors: the disk does not have enough space left.
pub fn room_for_checkpoints(nets: &Networks, checkpoints: &Path) -> Result<()> {
    let numel = |vars: &nn::VarStore| vars.variables().values().map(Tensor::numel).sum::<usize>();
    let denoiser: usize = nets.trained_vars().iter().map(|(_, vars)| numel(vars)).sum();
    let weights = denoiser.max(nets.prior.as_ref().map_or(0, |prior| numel(&prior.vars)));
    let bytes = 4 * 4 * weights as u64 * (nets.config.train.save.keep as u64 + 1);
    match files::free_space(checkpoints) {
        Some(free) if free < bytes => {
            let gb = |bytes: u64| bytes as f64 / 1e9;
            let what = format!(
                "checkpoints need {:.1} GB, the disk has {:.1} GB left",
                gb(bytes),
                gb(free)
            );
            let hint = "another folder with `--out`, or a smaller `train.save.keep`";
            Err(Error::checkpoint(what, checkpoints.display().to_string(), hint))
        }
        _ => Ok(()),
    }
}

/// Checks that a resumed run has the same data, seed and trained networks as the checkpoint. Lengths and rates may
/// change.
fn same_run(config: &RunConfig, phase: Phase, checkpoint: &Path) -> Result<()> {
    let before = RunConfig::read(&checkpoint.join("config.ron"))?;
    let fixed: &[&str] = match phase {
        Phase::Tokenizer => &["data.", "tokenizer.model", "seed", "weights."],
        Phase::Prior => &["data.", "seed", "weights.", "clip", "prior.model"],
        Phase::Denoiser => &[
            "data.",
            "tokenizer.model",
            "seed",
            "weights.",
            "text.",
            "clip",
            "prior.model",
            "model.",
        ],
    };
    // how the stream is read does not change its content
    let free = ["threads", "retries", "max_idle_s"].map(|name| format!("data.stream.{name}"));
    let changed: Vec<String> = config::diff(&before, config)
        .into_iter()
        .filter(|(path, _, _)| fixed.iter().any(|prefix| path.starts_with(prefix)))
        .filter(|(path, _, _)| !free.contains(path))
        .map(|(path, was, is)| format!("`{path}` was {was}, is {is}"))
        .collect();
    if changed.is_empty() {
        return Ok(());
    }
    let hint = "resume with the config in that folder, or start a new run with `--out`";
    Err(Error::checkpoint(
        format!("the config changed since the checkpoint: {}", changed.join("; ")),
        checkpoint.display().to_string(),
        hint,
    ))
}
