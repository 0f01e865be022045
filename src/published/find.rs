//! The file of a network in a folder: by the names of this program, of the released files, and of Python's libraries.

use super::PAELLA_V3;
use crate::networks::Network;
use std::path::{Path, PathBuf};

/// Names that Python's libraries give to the weights of a folder with one network. An index names several files.
const GENERAL: [&str; 6] = [
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
];

/// The file of a checkpoint with the moving averages of what is trained.
pub const AVERAGES_FILE: &str = "ema.safetensors";

/// The file that a folder holds of a network alone: of a model folder, of a checkpoint, whose averages lie in a file of
/// their own, of a folder that a library wrote. None if there is none.
pub fn in_folder(folder: &Path, network: Option<Network>, averaged: bool) -> Option<PathBuf> {
    let own = network.map(|network| format!("{network}.safetensors"));
    let ema = averaged.then(|| AVERAGES_FILE.to_string());
    let general = GENERAL.into_iter().map(String::from);
    first(folder, ema.into_iter().chain(own).chain(general))
}

/// The file of a network in a folder of all of them, laid out as the shipped configs name it, or a model folder.
pub fn in_weights(folder: &Path, network: Network) -> Option<PathBuf> {
    let place = Path::new(place(network));
    let inside = place.parent().filter(|inside| !inside.as_os_str().is_empty());
    let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
    first(folder, [place.to_string_lossy().into_owned(), format!("{network}.safetensors"), name])
        .or_else(|| in_folder(&folder.join(inside?), Some(network), false))
}

/// The place of a released file in a folder of weights.
pub fn place(network: Network) -> &'static str {
    PAELLA_V3.iter().find(|file| file.network == network).map_or("", |file| file.place)
}

/// The first of the names that is there; a link to nothing is there too.
fn first(folder: &Path, names: impl IntoIterator<Item = String>) -> Option<PathBuf> {
    let paths = names.into_iter().map(|name| folder.join(name));
    paths.into_iter().find(|path| path.symlink_metadata().is_ok_and(|about| !about.is_dir()))
}
