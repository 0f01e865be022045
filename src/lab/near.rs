//! Near misses: the hint for a name, a word or a file that does not exist.

use crate::error::Error;
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

/// Why `path` is no file that can be read: it is a folder, or it is not there. `line` is the command that would work
/// with `FILE` in place of the file's name.
pub fn no_file(path: &Path, line: &str) -> Error {
    let place = path.display().to_string();
    if path.is_dir() {
        let inside = path.join("FILE").display().to_string();
        let hint = format!("name a file in it: `{}`", line.replace("FILE", &inside));
        return Error::command(format!("`{place}` is a folder, not a file"), "", hint);
    }
    let above = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let hint = match above {
        Some(folder) if !folder.is_dir() => {
            format!("there is no folder `{}`; paths start at the current folder", folder.display())
        }
        _ => {
            let there = names(above.unwrap_or(Path::new(".")));
            let own = path.file_name().unwrap_or_default().to_string_lossy();
            match nearest(&own, there.iter().map(String::as_str)) {
                Some(name) => format!("did you mean `{}`?", path.with_file_name(name).display()),
                None => "its folder is there, but has no file of this name".into(),
            }
        }
    };
    Error::command(format!("there is no file `{place}`"), "", hint)
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
        assert_eq!(did_you_mean("banana", known, "no idea"), "no idea");
    }

    #[test]
    fn a_missing_file_is_not_taken_for_a_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("apple.png"), "").expect("written");
        let said = |name: &str| no_file(&at(name), "show FILE").to_string();
        assert!(said("").contains("is a folder") && said("").contains("/FILE`"), "{}", said(""));
        assert!(
            said("aple.png").contains("did you mean `") && said("aple.png").contains("apple.png`?")
        );
        assert!(said("pear.jpg").contains("no file of this name"));
        assert!(said("nowhere/a.png").contains("there is no folder `"));
    }
}
