//! The captions that a model learned from, one a line in its folder, so that a session can warn about another text.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::config::RunConfig;
use crate::data::{DataConfig, Dataset, Source};
use crate::files;

/// With more captions than this a model combines what it read, and no list of captions tells what it knows.
const MOST: usize = 20_000;
/// Their file in a model folder. No user writes a file of this name there.
pub const FILE: &str = "learned-captions.txt";

/// Each caption of a data set once, with those that training may use instead. Empty if there are too many.
pub fn of(data: &Dataset, config: &DataConfig) -> BTreeSet<String> {
    let mut captions = BTreeSet::new();
    let others = if config.augment.tags > 0.0 { usize::MAX } else { 0 };
    for record in &data.records {
        captions.insert(record.caption.clone());
        captions.extend(record.others.iter().take(others).cloned());
        if captions.len() > MOST {
            return BTreeSet::new();
        }
    }
    captions
}

/// Whether a model's folder holds its captions. Those of the shipped pictures are shipped, drawn scenes have no end, and a
/// stream is not kept in memory.
pub fn are_kept(config: &RunConfig) -> bool {
    let source = &config.data.source;
    config.data.stream.is_none()
        && matches!(source, Source::Folder(_) | Source::Shards { .. } | Source::Idx(_))
}

/// Writes the captions to a model folder. Removes those of an earlier model if there are none.
///
/// Errors: those of the disk.
pub fn write(folder: &Path, captions: &BTreeSet<String>) -> io::Result<()> {
    let path = folder.join(FILE);
    if captions.is_empty() {
        return match std::fs::remove_file(path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        };
    }
    let lines: String = captions.iter().map(|caption| format!("{caption}\n")).collect();
    files::write(&path, lines.as_bytes())
}

/// The captions in a model folder. Empty if there are none.
pub fn read(folder: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(folder.join(FILE)).unwrap_or_default();
    text.lines().map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_come_back_and_none_remove_those_of_an_earlier_model() {
        let folder = tempfile::tempdir().expect("a folder");
        let captions: BTreeSet<String> = ["Red Fox", "a cat"].map(String::from).into();
        write(folder.path(), &captions).expect("written");
        assert_eq!(read(folder.path()), captions);
        for _ in 0..2 {
            write(folder.path(), &BTreeSet::new()).expect("removed");
            assert_eq!(read(folder.path()), BTreeSet::new());
        }
    }
}
