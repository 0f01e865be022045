//! Paths and patterns with `*` -> files, with a hint if none match; files -> decompressed bytes.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use super::members::GZIP;
use super::{braces, gzip};
use crate::near;
use crate::{Error, Result};

/// Opens a file. Decompresses it if its content, not its name, is gzip.
pub(super) fn open(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    let mut file = BufReader::with_capacity(1 << 18, File::open(path)?);
    let gzip = file.fill_buf()?.starts_with(GZIP);
    Ok(if gzip { gzip::unpacked(file) } else { Box::new(file) })
}

/// Replaces a leading `~` by the home folder. Other paths stay as they are.
pub fn home(path: &Path) -> PathBuf {
    let rest = path.strip_prefix("~").ok();
    let below = |rest: &Path| dirs::home_dir().map(|home| home.join(rest));
    rest.and_then(below).unwrap_or_else(|| path.into())
}

/// Whether a place is a command or an address, no path.
pub fn is_remote(place: &str) -> bool {
    let lower = place.to_lowercase();
    ["pipe:", "http://", "https://"].iter().any(|scheme| lower.starts_with(scheme))
}

/// Whether a path, or everything that a pattern names, is there. Commands and addresses are not asked.
pub fn is_there(place: &str) -> bool {
    let all = || braces::expand(place).unwrap_or_default();
    is_remote(place) || all().iter().all(|name| !matches(&home(Path::new(name))).is_empty())
}

/// Names of shards, separated by commas: files with the endings of shards, patterns with `*` or braces, commands,
/// addresses. None if one of them is something else.
pub fn shard_list(word: &str) -> Option<Vec<String>> {
    if is_remote(word) {
        return Some(vec![word.into()]);
    }
    let shards = braces::split(word);
    let is_shard = |name: &&str| {
        let lower = name.to_lowercase();
        let ends = [".tar", ".tar.gz", ".tgz"].iter().any(|end| lower.ends_with(end));
        ends || name.contains('*')
    };
    shards.iter().all(is_shard).then(|| shards.into_iter().map(String::from).collect())
}

/// Paths and patterns -> files. A `*` matches any part of a folder's or file's name. Matches are sorted.
///
/// Errors: an empty list, or a pattern without a match; the hint names the missing folder.
pub(super) fn expand(patterns: &[String], part: &str) -> Result<Vec<PathBuf>> {
    if patterns.is_empty() {
        let what = format!("no {part} shards are given");
        return Err(Error::data(
            what,
            format!("`data.source`, Shards, `{part}`"),
            "give paths of .tar or .tar.gz files",
        ));
    }
    let mut files = Vec::new();
    for pattern in patterns {
        let path = home(Path::new(pattern));
        let found = matches(&path);
        if found.is_empty() {
            return Err(Error::data("no shard is there", pattern.clone(), near::missing(&path)));
        }
        found.iter().try_for_each(|path| no_folder(path))?;
        files.extend(found);
    }
    Ok(files)
}

/// Checks that a shard is no folder.
///
/// Errors: it is one.
pub(super) fn no_folder(shard: &Path) -> Result<()> {
    if !shard.is_dir() {
        return Ok(());
    }
    let hint = format!("name its files: `{}`", shard.join("*.tar").display());
    let place = shard.display().to_string();
    Err(Error::data("a folder stands where a shard should", place, hint))
}

fn matches(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let name = part.as_os_str().to_string_lossy();
        found = match part {
            Component::Normal(_) if name.contains('*') => {
                found.iter().flat_map(|folder| entries_like(folder, &name)).collect()
            }
            _ => found.iter().map(|folder| folder.join(part)).collect(),
        };
    }
    found.retain(|path| path.exists());
    found
}

/// The entries of a folder whose names match, sorted. Hidden ones only if the pattern starts with a dot.
fn entries_like(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    // a name that is no UTF-8 stays as it is: only a copy of it is compared
    let fits = |name: &OsString| {
        let name = name.to_string_lossy();
        name.starts_with('.') == pattern.starts_with('.') && fits(pattern, &name)
    };
    let mut names: Vec<OsString> = entries.map(|entry| entry.file_name()).filter(fits).collect();
    names.sort();
    names.iter().map(|name| folder.join(name)).collect()
}

/// Whether a name matches a pattern with any number of `*`.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_part() {
        for (pattern, name) in [
            ("*.tar", "a.tar"),
            ("a*", "a"),
            ("a-*-*.tar", "a-1-2.tar"),
            ("x", "x"),
            ("*a*a*", "aa"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("*.tar", "a.tar.gz"), ("a*a", "a"), ("*a*a*", "a"), ("x", "xy"), ("a*b*c", "acb")]
        {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn matches_are_sorted_over_folders() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["b/2.tar", "a/3.tar", "a/1.tar", "a/.4.tar", "a/5.txt"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a/ or b/")).expect("made");
            std::fs::write(path, "").expect("written");
        }
        let pattern = |end: &str| vec![folder.path().join(end).display().to_string()];
        let found = expand(&pattern("*/*.tar"), "train").expect("three");
        assert_eq!(found, ["a/1.tar", "a/3.tar", "b/2.tar"].map(|name| folder.path().join(name)));
        let error = |end: &str| expand(&pattern(end), "train").expect_err("nothing").to_string();
        assert!(error("c/d/*.tar").contains("no folder `") && error("c/d/*.tar").contains("c`"));
        assert!(error("a/*.zip").contains("no file in it"));
        assert!(error("*").contains("name its files"));
        assert!(expand(&[], "val").expect_err("none").to_string().contains("no val shards"));
    }
}
