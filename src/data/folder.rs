//! A folder of pictures, each with its caption in a `.txt` file of the same name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::groups::{HIDDEN, is_hidden_picture, is_picture};
use super::hash::hash;
use super::text::{self, read_caption};
use super::{Broken, Item, Items, PICTURES, Part, Picture, Record, Refusal};
use crate::near;
use crate::{Error, Result};

const NO_FILE: &str = "no plain file";
const NO_CAPTION_FILE: &str = "the caption is no plain file";

/// Percentage of pictures used for validation.
const VAL_PERCENT: u64 = 5;

/// The files of a folder and its subfolders, sorted by path.
struct Listing {
    /// Pictures with their captions.
    captioned: Vec<(PathBuf, PathBuf)>,
    left_out: Vec<Broken>,
}

/// The pictures of a folder and its subfolders, sorted by path. Links to folders are not followed.
///
/// Errors: the folder does not exist or holds no pictures.
pub(super) fn items(folder: &Path, part: Part) -> Result<Items> {
    let place = folder.display().to_string();
    if !folder.is_dir() {
        return Err(near::no_folder(folder));
    }
    let (files, closed) = files(folder).map_err(|e| {
        let hint = "may you read it? `ls` says so";
        Error::data(format!("cannot list the folder: {e}"), place.clone(), hint)
    })?;
    if !files.iter().any(|path| is_picture(&ending(path)) && !is_hidden(path)) {
        if let Some(Broken { place, reason, detail }) = closed.into_iter().next() {
            return Err(Error::data(format!("{reason}: {detail}"), place, "may you read it?"));
        }
        let known: Vec<&str> = PICTURES.into_iter().filter(|ending| ending.len() < 5).collect();
        let hint = format!("put pictures there ({}), each with a .txt", known.join(", "));
        return Err(Error::data("no pictures are in the folder", place, hint));
    }
    let Listing { captioned, mut left_out } = Listing::new(files);
    left_out.extend(closed);
    let names = captioned.iter().map(|(path, _)| relative(path, folder)).collect::<Vec<_>>();
    let val = validation(&names);
    let chosen = captioned.into_iter().zip(names).zip(val);
    let chosen = chosen.filter(move |(_, val)| *val == (part == Part::Val)).map(|(file, _)| file);
    let items = chosen.map(move |((path, caption), name)| item(path, &caption, &name, part));
    Ok(Box::new(left_out.into_iter().map(Err).chain(items)))
}

impl Listing {
    fn new(files: Vec<PathBuf>) -> Self {
        let (texts, files): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|path| ending(path) == "txt");
        // without the ending, `a.txt` and `a.TXT` are one; whether it is used
        let mut captions: BTreeMap<PathBuf, (Vec<PathBuf>, bool)> = BTreeMap::new();
        for path in texts {
            captions.entry(path.with_extension("")).or_default().0.push(path);
        }
        let (mut captioned, mut left_out) = (Vec::new(), Vec::new());
        let mut leave = |path: &Path, reason: String, detail: &str| {
            let (place, detail) = (path.display().to_string(), detail.into());
            left_out.push(Broken { place, reason, detail });
        };
        for path in files {
            let ending = ending(&path);
            if is_hidden(&path) {
                leave(&path, HIDDEN.into(), "");
            } else if !path.is_file() {
                let is_link = path.is_symlink();
                let what = if is_link { "a link to a folder, or to nothing" } else { NO_FILE };
                leave(&path, what.into(), "");
            } else if !is_picture(&ending) {
                let dot = if ending.is_empty() { "" } else { "." };
                leave(&path, format!("no picture's ending: {dot}{ending}"), "");
            } else if let Some((texts, used)) = captions.get_mut(&path.with_extension("")) {
                *used = true;
                match texts.as_slice() {
                    // a pipe would be waited for
                    [caption] if !caption.is_file() => leave(&path, NO_CAPTION_FILE.into(), ""),
                    [caption] => captioned.push((path, caption.clone())),
                    _ => leave(
                        &path,
                        "two captions".into(),
                        "a .txt in small and in capital letters",
                    ),
                }
            } else {
                leave(&path, "no caption".into(), "no .txt beside it");
            }
        }
        for path in captions.values().filter(|(_, used)| !used).flat_map(|(texts, _)| texts) {
            leave(path, "a caption without a picture".into(), "");
        }
        Self { captioned, left_out }
    }
}

fn item(
    path: PathBuf,
    caption: &Path,
    name: &str,
    part: Part,
) -> std::result::Result<Item, Broken> {
    let place = path.display().to_string();
    let text = read_caption(caption).map_err(|e| {
        let (place, reason) = (place.clone(), "the caption cannot be read".into());
        Broken { place, reason, detail: e.to_string() }
    })?;
    let refuse = |reason: &str| Refusal::from(reason).at(place.clone());
    let text = text::caption(&text).map_err(refuse)?;
    if text.is_empty() {
        let detail = "the .txt is empty".into();
        return Err(Broken { detail, ..refuse("no caption") });
    }
    let split = if part == Part::Train { "train" } else { "val" };
    let key = name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_string();
    let record = Record { key, caption: text, split: split.into(), ..Record::default() };
    Ok(Item { place, record, picture: Picture::Path(path) })
}

fn ending(path: &Path) -> String {
    path.extension().map_or(String::new(), |ext| ext.to_string_lossy().to_ascii_lowercase())
}

/// Whether a file that would be a picture is hidden.
fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| is_hidden_picture(&name.to_string_lossy()))
}

/// All files below a folder, sorted, and the folders below it that cannot be listed. Hidden files are left out, except
/// those with a picture's ending, and hidden folders.
///
/// Errors: the folder itself cannot be listed.
fn files(root: &Path) -> std::io::Result<(Vec<PathBuf>, Vec<Broken>)> {
    let (mut found, mut closed) = (Vec::new(), Vec::new());
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Err(e) if folder != root => {
                let (place, reason) =
                    (folder.display().to_string(), "a folder that cannot be listed");
                closed.push(Broken { place, reason: reason.into(), detail: e.to_string() });
                continue;
            }
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            let is_folder = entry.file_type()?.is_dir();
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            if hidden && (is_folder || !is_hidden(&path)) {
                continue;
            } else if is_folder {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok((found, closed))
}

/// The path below `folder`, with `/` on every system.
fn relative(path: &Path, folder: &Path) -> String {
    let below = path.strip_prefix(folder).unwrap_or(path);
    let parts: Vec<_> = below.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}

/// Which names are for validation. The hash of the name decides, so adding a picture moves no other one. With two or
/// more names, at least one is for validation and at least one for training.
fn validation(names: &[String]) -> Vec<bool> {
    let hashes: Vec<u64> = names.iter().map(|name| hash(name.bytes())).collect();
    let mut val: Vec<bool> = hashes.iter().map(|hash| hash % 100 < VAL_PERCENT).collect();
    let all_alike = val.iter().all(|&v| v) || !val.iter().any(|&v| v);
    let lowest = (0..names.len()).min_by_key(|&i| hashes[i]);
    if let Some(lowest) = lowest.filter(|_| all_alike) {
        val.fill(false);
        val[lowest] = names.len() >= 2;
    }
    val
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_twenty_is_for_validation() {
        let names: Vec<String> = (0..10_000).map(|i| format!("{i:05}.jpg")).collect();
        let share = validation(&names).iter().filter(|&&v| v).count();
        assert!(share.abs_diff(500) < 110, "{share}"); // 5 sigma: sqrt(10000 * 0.05 * 0.95) * 5 = 109
    }

    #[test]
    fn tiny_folders_have_both_parts() {
        assert!(validation(&[]).is_empty());
        assert_eq!(validation(&["a.png".into()]), [false]);
        for n in 2..40 {
            let names: Vec<String> = (0..n).map(|i| format!("{i}.png")).collect();
            let val = validation(&names);
            assert!(val.contains(&true) && val.contains(&false), "{n}");
        }
    }
}
