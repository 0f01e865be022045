//! The released weights: brought from the Hugging Face hub, looked at, converted.
//!
//! | file | what it does |
//! | --- | --- |
//! | `hub` | a file of the hub, downloaded once into the cache that Python shares |
//! | `download` | the content of such a file, as far as it has come |
//! | `find` | the file of a network in a folder |
//! | `convert` | weights of any program -> safetensors with the names of a network |
//! | `examine` | which files of a folder are there, whole, and fit |

pub mod convert;
mod download;
pub mod examine;
mod find;
pub mod hub;

use crate::config::{ClipStageConfig, PriorStageConfig, RunConfig};
use crate::error::{Error, Result};
use crate::networks::Network;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::{fs, io};

/// A file of the hub that holds the released weights of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedFile {
    pub network: Network,
    pub repo: &'static str,
    pub file: &'static str,
    /// Its place in a folder of weights: that which the shipped configs name below `weights/`.
    pub place: &'static str,
    /// The licence at the time of writing. The hub's own word goes first.
    pub licence: &'static str,
}

/// The names of released models.
pub const MODELS: [&str; 1] = ["paella-v3"];

const fn file(
    network: Network,
    repo: &'static str,
    [file, place]: [&'static str; 2],
    licence: &'static str,
) -> PublishedFile {
    PublishedFile { network, repo, file, place, licence }
}

/// The five networks of `paella-v3`.
///
/// Source: dome272/Paella, whose samplers load these files.
pub const PAELLA_V3: [PublishedFile; 5] = [
    file(Network::Tokenizer, "dome272/Paella", ["vqgan_f4.pt"; 2], "mit"),
    file(Network::Denoiser, "dome272/Paella", ["paella_v3.pt"; 2], "mit"),
    file(Network::Prior, "dome272/Paella", ["prior_v1.pt"; 2], "mit"),
    file(
        Network::Clip,
        "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
        ["open_clip_pytorch_model.bin", "clip-vit-h-14/open_clip_pytorch_model.bin"],
        "mit",
    ),
    file(
        Network::Text,
        "google/byt5-xl",
        ["pytorch_model.bin", "byt5-xl/pytorch_model.bin"],
        "apache-2.0",
    ),
];

/// The config of the released model: the default sizes, with CLIP and prior.
pub fn config() -> RunConfig {
    RunConfig {
        name: MODELS[0].into(),
        clip: Some(ClipStageConfig::default()),
        prior: Some(PriorStageConfig::default()),
        ..RunConfig::default()
    }
}

/// Makes a link, in place of an older one. False: something else is there, and stays.
///
/// Errors: those of the disk.
pub fn link_to(path: &Path, link: &Path) -> Result<bool> {
    let failed = |e: io::Error| {
        let hint = "--to DIR: a folder that may be written to";
        Error::data(format!("no link can be made: {e}"), link.display().to_string(), hint)
    };
    let path = std::path::absolute(path).map_err(failed)?;
    match link.symlink_metadata() {
        Ok(about) if !about.is_symlink() => return Ok(false),
        Ok(_) => fs::remove_file(link).map_err(failed)?,
        Err(_) => fs::create_dir_all(link.parent().unwrap_or(Path::new("."))).map_err(failed)?,
    }
    symlink(path, link).map(|()| true).map_err(failed)
}
