//! A folder of pictures, each with its caption in a `.txt` file of the same name.

use std::path::{Path, PathBuf};

use super::{Broken, Item, Items, PICTURES, Part, Picture, Record, tidy};
use crate::{Error, Result};

/// Percentage of pictures used for validation.
const VAL_PERCENT: u64 = 5;

/// The pictures of a folder and its subfolders, sorted by path. Links to folders are not followed.
///
/// Errors: the folder does not exist or holds no pictures.
pub(super) fn items(folder: &Path, part: Part) -> Result<Items> {
    let place = folder.display().to_string();
    if !folder.is_dir() {
        let hint = "name a folder that holds pictures, each with a .txt; paths start at the current folder";
        return Err(Error::data("there is no such folder", place, hint));
    }
    let files = pictures(folder)
        .map_err(|e| Error::data(format!("cannot list the folder: {e}"), place.clone(), ""))?;
    if files.is_empty() {
        let hint = format!("put pictures there ({}), each with a .txt", PICTURES.join(", "));
        return Err(Error::data("no pictures are in the folder", place, hint));
    }
    let (captioned, bare): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|path| path.with_extension("txt").is_file());
    let place_of = |path: &PathBuf| path.display().to_string();
    let bare: Vec<Broken> = bare
        .iter()
        .map(|path| Broken {
            place: place_of(path),
            reason: "no caption",
            detail: "no .txt beside it".into(),
        })
        .collect();
    let folder = folder.to_path_buf();
    let names = captioned.iter().map(|path| relative(path, &folder)).collect::<Vec<_>>();
    let val = validation(&names);
    let chosen = captioned.into_iter().zip(names).zip(val);
    let chosen = chosen.filter(move |(_, val)| *val == (part == Part::Val)).map(|(file, _)| file);
    let items = chosen.map(move |(path, name)| item(path, &name, part));
    Ok(Box::new(bare.into_iter().map(Err).chain(items)))
}

fn item(path: PathBuf, name: &str, part: Part) -> std::result::Result<Item, Broken> {
    let place = path.display().to_string();
    let text = match std::fs::read_to_string(path.with_extension("txt")) {
        Ok(text) => tidy(&text),
        Err(e) => {
            return Err(Broken {
                place,
                reason: "the caption cannot be read",
                detail: e.to_string(),
            });
        }
    };
    if text.is_empty() {
        return Err(Broken { place, reason: "no caption", detail: "the .txt is empty".into() });
    }
    let split = if part == Part::Train { "train" } else { "val" };
    let key = name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_string();
    let record = Record { key, caption: text, split: split.into(), ..Record::default() };
    Ok(Item { place, record, picture: Picture::Path(path) })
}

/// All picture files below a folder, sorted. Hidden files are left out.
fn pictures(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            let ext = path.extension().map(|ext| ext.to_string_lossy().to_ascii_lowercase());
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            } else if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if ext.is_some_and(|ext| PICTURES.contains(&ext.as_str())) && path.is_file() {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
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
    let hashes: Vec<u64> = names.iter().map(|name| hash(name)).collect();
    let mut val: Vec<bool> = hashes.iter().map(|hash| hash % 100 < VAL_PERCENT).collect();
    let all_alike = val.iter().all(|&v| v) || !val.iter().any(|&v| v);
    let lowest = (0..names.len()).min_by_key(|&i| hashes[i]);
    if let Some(lowest) = lowest.filter(|_| all_alike) {
        val.fill(false);
        val[lowest] = names.len() >= 2;
    }
    val
}

/// FNV-1a, 64 bits, followed by the last step of SplitMix64, so that similar names get unrelated hashes.
fn hash(name: &str) -> u64 {
    let fnv = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, byte| {
        (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let h = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let h = (h ^ (h >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    h ^ (h >> 31)
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
