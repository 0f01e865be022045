//! Weights of other programs as `.safetensors` with the names of a network, bit for bit.

use super::find;
use crate::config::RunConfig;
use crate::data::home;
use crate::error::{Error, Result};
use crate::near;
use crate::networks::Network;
use crate::weights::fit::{self, Fit, Rules};
use crate::weights::{self, Named, small};
use std::path::{Path, PathBuf};

/// What to convert to.
#[derive(Clone, Debug, Default)]
pub struct ConvertRequest {
    /// The network whose names and shapes the weights have to have. None: all tensors under their own names.
    pub network: Option<Network>,
    /// The config with the sizes of the network. None: that of the folder which is read, else the released model's.
    pub config: Option<RunConfig>,
    /// The moving averages beside the weights.
    pub averaged: bool,
    /// Replace a file that is there.
    pub replace: bool,
    /// Write matrices in 8 bits.
    pub small: bool,
}

/// What was found and written.
#[derive(Clone, Debug)]
pub struct Converted {
    /// The file that was read.
    pub from: PathBuf,
    pub network: Option<Network>,
    /// What fits the network. Without a network: all tensors are taken as they are.
    pub fit: Fit,
    /// Tensors and bytes that were written. None: the weights do not fit the network, and nothing was.
    pub written: Option<(usize, u64)>,
}

/// Reads weights and writes them as `.safetensors`, if a network can be filled from them. The numbers keep their types
/// and bits, unless they are to be small. One tensor at a time is in memory, or all of them in 8 bits.
///
/// Errors: no weights at `from`; `to` is there and is not to be replaced; no such network in the config; the disk.
pub fn convert(from: &Path, to: &Path, request: &ConvertRequest) -> Result<Converted> {
    may_write(to, request.replace)?;
    let from = &home(from);
    let file = source(from, request)?;
    let (tensors, left_out) = weights::map_with_rest(&file)?;
    if let (None, Some(first)) = (request.network, left_out.unkept.first()) {
        let what = match left_out.unkept.len() {
            1 => format!("{first} is of a type that cannot be kept"),
            n => format!("{n} tensors are of types that cannot be kept, such as {first}"),
        };
        let hint = "`--as NETWORK` takes those of a network, such as `--as denoiser`";
        return Err(Error::checkpoint(what, file.display().to_string(), hint));
    }
    let mut fit = match request.network {
        None => as_they_are(&tensors),
        Some(network) => {
            let vars = network.variables(&sizes(from, request)?)?;
            // a checkpoint of this program has them in a file of their own
            let averaged = request.averaged && !file.ends_with(find::AVERAGES_FILE);
            fit::fit(&vars, &tensors, &Rules { averaged, ..network.rules() })
        }
    };
    fit.surplus.extend(left_out.unkept);
    for name in left_out.listed {
        let group = name.split('.').next().unwrap_or_default();
        *fit.beside.entry(group.to_string()).or_default() += 1;
    }
    let mut done = Converted { from: file, network: request.network, fit, written: None };
    if done.fit.is_whole() && !done.fit.taken.is_empty() {
        let taken = done.fit.taken.iter();
        let named: Named =
            taken.map(|(name, old)| (name.clone(), tensors[old].shallow_clone())).collect();
        let named = if request.small { small::pack(named) } else { named };
        weights::write(to, &named)?;
        let bytes = named.values().map(|xs| xs.numel() * xs.kind().elt_size_in_bytes());
        done.written = Some((named.len(), bytes.sum::<usize>() as u64));
    }
    Ok(done)
}

/// The file of weights at a path: itself, or the one in a folder.
fn source(from: &Path, request: &ConvertRequest) -> Result<PathBuf> {
    if !from.is_dir() {
        return near::there(from, "paella convert FILE OUT").map(|()| from.to_path_buf());
    }
    let ConvertRequest { network, averaged, .. } = *request;
    find::in_folder(from, network, averaged).ok_or_else(|| {
        let own = from.join("denoiser.safetensors").is_file();
        let hint = match own && network.is_none() {
            true => "a model folder has several networks: name one, such as `--as denoiser`",
            false => "name a file of weights, or a folder with `model.safetensors` or `pytorch_model.bin`",
        };
        Error::checkpoint("there are no weights in this folder", from.display().to_string(), hint)
    })
}

/// The config with the sizes of the network.
fn sizes(from: &Path, request: &ConvertRequest) -> Result<RunConfig> {
    let folder = if from.is_dir() { Some(from) } else { from.parent() };
    let beside = folder.unwrap_or(Path::new("")).join("config.ron");
    match &request.config {
        Some(config) => Ok(config.clone()),
        // the data that it names may be gone
        None if beside.is_file() => RunConfig::read_with(&beside, |_| Vec::new()),
        None => Ok(super::config()),
    }
}

fn may_write(to: &Path, replace: bool) -> Result<()> {
    let place = to.display().to_string();
    if to.extension().is_none_or(|ending| !ending.eq_ignore_ascii_case("safetensors")) {
        let hint = format!("name it {}", to.with_extension("safetensors").display());
        return Err(Error::command("only `.safetensors` files are written", place, hint));
    }
    if to.is_dir() {
        return Err(Error::command("this is a folder", place, "name a file in it"));
    }
    if !replace && to.exists() {
        let hint = "the same line with `--replace` replaces it";
        return Err(Error::command("there is a file already", place, hint));
    }
    Ok(())
}

fn as_they_are(tensors: &Named) -> Fit {
    let taken = tensors.keys().map(|name| (name.clone(), name.clone())).collect();
    Fit { taken, ..Fit::default() }
}
