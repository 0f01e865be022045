//! Checks before the first step of a run: whether its ranks agree, and whether it can be completed.

use crate::checkpoint::{Phase, Progress};
use crate::config::RunConfig;
use crate::dist::World;
use crate::error::{Error, Result};
use crate::files;
use crate::networks::Networks;
use std::path::{Path, PathBuf};
use tch::{Tensor, nn};

/// Checks that the batches of all stages divide over the ranks.
///
/// Errors: batches that do not divide evenly over the ranks.
pub fn can_share(config: &RunConfig, ranks: usize) -> Result<()> {
    let tokenizer = config.stages.contains(&Phase::Tokenizer) && config.weights.tokenizer.is_none();
    let trained = |phase: Phase| config.to_train().contains(&phase);
    let (clip, prior) = (trained(Phase::Clip), trained(Phase::Prior));
    let denoiser = config.stages.contains(&Phase::Denoiser);
    // all stages now, not each at its beginning: the last one may begin days later
    let faults = [
        tokenizer.then(|| config.tokenizer.train.share(ranks).err()).flatten(),
        config.clip.as_ref().filter(|_| clip).and_then(|clip| clip.train.share(ranks).err()),
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
    // the paths themselves: two disks may both hold a step 500, of different runs
    let Some(other) = seen.iter().position(|path| *path != seen[0]) else { return Ok(()) };
    let say =
        |path: &str| if path.is_empty() { "no checkpoint".into() } else { format!("`{path}`") };
    let what = format!("rank 0 sees {}, rank {other} {}", say(&seen[0]), say(&seen[other]));
    let hint = "all ranks need the run's folder on one file system";
    Err(Error::checkpoint(what, checkpoints.display().to_string(), hint))
}

/// Checks the disk space for the checkpoints of these networks.
///
/// Errors: the disk does not have enough space left.
pub fn room_for_checkpoints(nets: &Networks, checkpoints: &Path) -> Result<()> {
    let numel = |vars: &nn::VarStore| vars.variables().values().map(Tensor::numel).sum::<usize>();
    let denoiser: usize = nets.trained_vars().iter().map(|(_, vars)| numel(vars)).sum();
    let clip = nets.clip.as_ref().filter(|_| nets.config.to_train().contains(&Phase::Clip));
    let clip = clip.map_or(0, |clip| numel(clip.vars()));
    // Stages follow one another, and their checkpoints replace each other. Networks of earlier stages are saved along, without
    // moments; they are not counted.
    let weights = denoiser.max(clip).max(nets.prior.as_ref().map_or(0, |prior| numel(&prior.vars)));
    room(&nets.config, weights as u64, checkpoints)
}

/// Checks the disk space for checkpoints of a network. A checkpoint holds the weights, their averages and two moments
/// for each, and a new one is written before an old one is removed.
fn room(config: &RunConfig, weights: u64, checkpoints: &Path) -> Result<()> {
    let kept = config.train.save.keep as u64 + 1; // one is being written
    // 4 bytes a number; saturating: a config may ask for more than there are bytes
    let bytes = weights.saturating_mul(4 * 4).saturating_mul(kept);
    match files::free_space(checkpoints) {
        Some(free) if free < bytes => {
            let gb = |bytes: u64| bytes as f64 / 1e9;
            let what = format!(
                "checkpoints need {:.1} GB, the disk has {:.1} GB left",
                gb(bytes),
                gb(free)
            );
            let room = "another folder with `--out`, or a smaller `train.save.keep`";
            let hint = match config.sizes_left_out() {
                Some(sizes) => format!("{sizes}; or {room}"),
                None => room.to_string(),
            };
            Err(Error::checkpoint(what, checkpoints.display().to_string(), hint))
        }
        _ => Ok(()), // a file system that does not tell its free space gets the benefit of the doubt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_without_sizes_names_the_defaults_and_smaller_ones() {
        let refused = |config: &RunConfig| {
            room(config, 1 << 50, Path::new(".")).expect_err("too large").to_string()
        };
        let error = refused(&RunConfig::default());
        assert!(error.contains("default sizes, those of the published 1 B model"), "{error}");
        assert!(error.contains("configs/emoji-32.ron") && error.contains("--out"), "{error}");
        let mut own = RunConfig::default();
        own.model.c_in = 8;
        assert!(!refused(&own).contains("default sizes"));
    }
}
