//! Which files of weights are there, whole, and fit their networks. Reads names and shapes, no weights.

use super::find;
use crate::config::RunConfig;
use crate::data::home;
use crate::error::Result;
use crate::networks::Network;
use crate::weights;
use crate::weights::fit;
use std::path::{Path, PathBuf};

/// What is known of the file of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    pub network: Network,
    /// Where it is, or where it was looked for.
    pub file: PathBuf,
    pub state: WeightsState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WeightsState {
    /// There, complete, and all names and shapes fit.
    Fits { bytes: u64, tensors: usize },
    /// Not there.
    Missing,
    /// It cannot be read: cut off, or another kind of file. Why, and what to do.
    Broken { what: String, hint: String },
    /// It is whole, and of another network: a text for each tensor.
    Other { bytes: u64, faults: Vec<String> },
}

/// Looks at the weights of all networks of a config: in `folder`, or else where the config's `weights` name them. A
/// network whose weights are not named is left out then.
pub fn examine(folder: Option<&Path>, config: &RunConfig) -> Result<Vec<Examined>> {
    let mut all = Vec::new();
    for network in Network::of(config) {
        let file = match folder {
            Some(folder) => {
                let folder = home(folder);
                find::in_weights(&folder, network)
                    .unwrap_or_else(|| folder.join(find::place(network)))
            }
            None => match network.given(config) {
                Some(path) => home(path),
                None => continue,
            },
        };
        let state = state(network, config, &file)?;
        all.push(Examined { network, file, state });
    }
    Ok(all)
}

fn state(network: Network, config: &RunConfig, file: &Path) -> Result<WeightsState> {
    if !file.exists() {
        return Ok(WeightsState::Missing);
    }
    let tensors = match weights::map(file) {
        Ok(tensors) => tensors,
        Err(error) => {
            let fault = &error.faults()[0];
            return Ok(WeightsState::Broken { what: fault.what.clone(), hint: fault.hint.clone() });
        }
    };
    let fit = fit::fit(&network.variables(config)?, &tensors, &network.rules());
    let bytes = tensors.values().map(|xs| (xs.numel() * xs.kind().elt_size_in_bytes()) as u64);
    let bytes = bytes.sum();
    Ok(match fit.is_exact() {
        true => WeightsState::Fits { bytes, tensors: fit.taken.len() },
        false => WeightsState::Other { bytes, faults: fit.faults() },
    })
}
