//! Near misses: the hint for a name, a word or a file that does not exist.

use crate::error::{Error, Result};
use std::path::Path;

/// Bytes of a word up to which it may be a slip: edits of long texts take long to count.
const LONGEST: usize = 100;

/// The known name nearest to `word`: one that it begins or, else, the one with the fewest edits. Ignores case, and `-`
/// and `_` in names. None if nothing is near.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let known: Vec<&str> = known.into_iter().collect();
    let plain = |text: &str| text.to_lowercase().replace(['-', '_'], "");
    let wanted = plain(word);
    if let Some(same) = known.iter().find(|name| plain(name) == wanted) {
        return Some(same);
    }
    if word.chars().count() < 2 {
        return None; // one edit makes any letter of another
    }
    let begun = || known.iter().copied().find(|name| plain(name).starts_with(&wanted));
    ron_faults::nearest(word, known.iter().copied())
        .map(|(name, _)| name)
        .or_else(|| begun().filter(|_| wanted.chars().count() >= 2))
}

/// The hint for an unknown `word`: the nearest known name, else `otherwise`.
pub fn did_you_mean<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
    otherwise: impl Into<String>,
) -> String {
    nearest(word, known).map_or_else(|| otherwise.into(), |name| format!("did you mean `{name}`?"))
}

/// Checks that there is a file at `path`, or something else that can be read, such as a pipe.
///
/// Errors: as [`no_file`].
pub fn there(path: &Path, line: &str) -> Result<()> {
    if path.exists() && !path.is_dir() { Ok(()) } else { Err(no_file(path, line)) }
}

/// Why `path` is no file that can be read: it is a folder, or it is not there. `line` is the command that would work
/// with `FILE` in place of the file's name.
pub fn no_file(path: &Path, line: &str) -> Error {
    let place = path.display().to_string();
    if path.is_dir() {
        let config = Some("config.ron").filter(|name| path.join(name).is_file());
        let inside = path.join(config.unwrap_or("FILE")).display().to_string();
        let hint = format!("name a file in it: `{}`", line.replace("FILE", &inside));
        return Error::command(format!("`{place}` is a folder, not a file"), "", hint);
    }
    match path.metadata() {
        Ok(there) if !there.is_file() => {
            let hint = "write what comes out of it to a file first";
            Error::command(format!("`{place}` is a pipe or a device, not a file"), "", hint)
        }
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => Error::command(
            format!("`{place}` cannot be looked at: {e}"),
            "",
            "may you read its folder?",
        ),
        _ => Error::command(format!("there is no file `{place}`"), "", missing(path)),
    }
}

/// Why `path` is no folder: it is a file, or it is not there.
pub fn no_folder(path: &Path) -> Error {
    let place = path.display().to_string();
    if path.is_file() {
        let folder = Path::new(".").join(path.parent().unwrap_or(Path::new("")));
        let hint = format!("its folder is `{}`", folder.display());
        return Error::data("this is a file, not a folder", place, hint);
    }
    Error::data("there is no such folder", place, missing(path))
}

/// The hint for a path or a pattern with `*` that is not there: the first folder of it that is missing, else the nearest
/// name in its folder.
pub fn missing(path: &Path) -> String {
    if let Some(hint) = of_elsewhere(&path.to_string_lossy()) {
        return hint;
    }
    let is_pattern = |path: &Path| path.to_string_lossy().contains('*');
    let above: Vec<&Path> = path.ancestors().skip(1).collect();
    let gone = above
        .into_iter()
        .rev()
        .find(|folder| !folder.as_os_str().is_empty() && !is_pattern(folder) && !folder.is_dir());
    if let Some(gone) = gone {
        let place = gone.display();
        return match beside(gone) {
            _ if gone.is_file() => format!("`{place}` is a file, not a folder"),
            Some(near) => format!("there is no folder `{place}`; did you mean `{near}`?"),
            None => format!("there is no folder `{place}`; paths start at the current folder"),
        };
    }
    match beside(path) {
        _ if is_pattern(path) => "the folder is there, but no file in it has such a name".into(),
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            let what = if path.extension().is_some() { "file" } else { "file or folder" };
            format!("its folder is there, but has no {what} of this name")
        }
    }
}

/// What is read only as a shard of data: the beginnings of addresses and commands.
const ELSEWHERE: [&str; 3] = ["https:", "http:", "pipe:"];

/// The hint for an address or a command where only a file or a folder of this machine can stand. None for a path.
pub fn of_elsewhere(place: &str) -> Option<String> {
    let kind = ELSEWHERE.iter().find(|kind| place.starts_with(**kind))?;
    Some(format!(
        "`{kind}` names shards (tar), in `data.stream.shards` and in `data.source: Shards(train: [..], val: [..])`; \
         here stands a path of this machine"
    ))
}

/// The path with the nearest name in the same folder.
fn beside(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let there = names(folder.unwrap_or(Path::new(".")));
    let own = path.file_name()?.to_string_lossy();
    let others = there.iter().map(String::as_str).filter(|name| *name != own);
    let near = nearest(&own, others)?;
    Some(path.with_file_name(near).display().to_string())
}

/// The names in a folder, sorted. Hidden ones are left out.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_is_few_edits_or_a_beginning() {
        let known = ["noise", "next", "emoji-64", "emoji-32", "encode"];
        let near = |word| nearest(word, known);
        assert_eq!((near("nose"), near("enc")), (Some("noise"), Some("encode")));
        assert_eq!((near("emoji64"), near("EMOJI_32")), (Some("emoji-64"), Some("emoji-32")));
        assert_eq!((near("nxet"), near("x"), near("banana")), (Some("next"), None, None));
        assert_eq!((nearest("-", ["c"]), nearest("W", ["c", "w"])), (None, Some("w")));
        assert_eq!(did_you_mean("banana", known, "no idea"), "no idea");
    }

    #[test]
    fn a_missing_file_is_not_taken_for_a_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("apple.png"), "").expect("written");
        std::fs::create_dir(at("pictures")).expect("made");
        let said = |name: &str| no_file(&at(name), "show FILE").to_string();
        assert!(said("").contains("is a folder") && said("").contains("/FILE`"), "{}", said(""));
        assert!(
            said("aple.png").contains("did you mean `") && said("aple.png").contains("apple.png`?")
        );
        assert!(said("pear.jpg").contains("no file of this name"));
        assert!(said("nowhere/b/a.png").contains("nowhere`; paths start at"));
        assert!(said("picturs/a.png").contains("pictures`?"));
        assert!(missing(&at("*.tar")).contains("no file in it"));
        assert!(said("apple.png/a").contains("is a file, not a folder"));
        let folder_said = |name: &str| no_folder(&at(name)).to_string();
        assert!(folder_said("picturs").contains("pictures`?"));
        assert!(folder_said("apple.png").contains("is a file, not a folder"));
        for place in ["https://host/pictures", "http://host/x.png", "pipe:cat x"] {
            let path = Path::new(place);
            for error in [no_file(path, "show FILE"), no_folder(path)] {
                let kind = format!("`{}:` names shards", place.split(':').next().unwrap_or(""));
                assert!(error.to_string().contains(&kind), "{error}");
            }
        }
        let device = no_file(Path::new("/dev/null"), "show FILE").to_string();
        assert!(
            device.contains("is a pipe or a device") && !device.contains("did you mean"),
            "{device}"
        );
        assert_eq!(there(&at("apple.png"), "show FILE"), Ok(()));
        assert!(there(folder.path(), "show FILE").is_err() && there(&at("x"), "").is_err());
    }
}
