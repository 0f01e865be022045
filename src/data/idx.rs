//! The IDX files of Fashion-MNIST: grey pictures and class numbers, plain or gzipped.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{Broken, Item, Items, Part, Picture, Record, paths};
use crate::error::{Error, Result, counted};
use crate::near::of_elsewhere;

/// Names of the classes 0 to 9, as captions spell them.
pub const CLASSES: [&str; 10] = [
    "t-shirt",
    "trousers",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
];

const IMAGES: u32 = 0x803;
const LABELS: u32 = 0x801;
/// Path of Debian's package, below the folder it was unpacked into.
const DEBIAN: &str = "usr/share/datasets/fashion-mnist";
/// Largest file read into memory: 4 GiB.
const MAX_BYTES: u64 = 4 << 30;

/// The pictures of one part, in the order of the file.
///
/// Errors: files that are missing, of another kind, or longer or shorter than their header says; different numbers of
///         labels and pictures.
pub(super) fn items(folder: &Path, part: Part) -> Result<Items> {
    let (prefix, split) = if part == Part::Train { ("train", "train") } else { ("t10k", "val") };
    let path = find(folder, &format!("{prefix}-images-idx3-ubyte"))?;
    let labels_path = find(folder, &format!("{prefix}-labels-idx1-ubyte"))?;
    let (shape, pixels) = read(&path, IMAGES, 3)?;
    let (_, labels) = read(&labels_path, LABELS, 1)?;
    let (count, h, w) = (shape[0] as usize, shape[1], shape[2]);
    if labels.len() != count {
        let what = format!("{}, but {}", counted(count, "picture"), counted(labels.len(), "label"));
        return Err(Error::data(
            what,
            labels_path.display().to_string(),
            "take both files from one data set",
        ));
    }
    let bytes = h as usize * w as usize;
    let place = path.display().to_string();
    Ok(Box::new((0..count).map(move |i| {
        let place = format!("{place}, picture {i}");
        let record = record(i, labels[i], prefix, split).map_err(|label| Broken {
            place: place.clone(),
            reason: "the label is not in 0..=9".into(),
            detail: label.to_string(),
        })?;
        let picture = Picture::Grey(w, h, pixels[i * bytes..(i + 1) * bytes].to_vec());
        Ok(Item { place, record, picture })
    })))
}

/// The record of picture `i` of class `label`. The error is the unknown label.
fn record(i: usize, label: u8, prefix: &str, split: &str) -> std::result::Result<Record, u8> {
    let name = *CLASSES.get(usize::from(label)).ok_or(label)?;
    Ok(Record {
        key: format!("{prefix}-{i:05}"),
        caption: format!("{name}, fashion photo"),
        name: name.into(),
        style: "fashion".into(),
        group: "clothes".into(),
        split: split.into(),
        ..Record::default()
    })
}

/// The path of a file or its `.gz`, in the folder itself or in Debian's subfolder.
fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    let gz = format!("{name}.gz");
    let folders = [folder.to_path_buf(), folder.join(DEBIAN)];
    let mut tried = folders.iter().flat_map(|folder| [folder.join(name), folder.join(&gz)]);
    tried.find(|path| path.is_file()).ok_or_else(|| {
        let what = match folder.is_dir() {
            true => format!("neither `{name}` nor `{gz}` is here"),
            false => "there is no such folder".into(),
        };
        let debian =
            "unpack Debian's package `dataset-fashion-mnist` with `dpkg -x` and name that folder";
        let place = folder.display().to_string();
        let hint = of_elsewhere(&place).unwrap_or_else(|| debian.into());
        Error::data(what, place, hint)
    })
}

/// Reads a file -> (its `dims` sizes, its bytes). Format: big-endian u32 for the magic number and the sizes, then the
/// bytes.
fn read(path: &Path, magic: u32, dims: usize) -> Result<(Vec<u32>, Vec<u8>)> {
    let fail = |what: String, hint: &str| Error::data(what, path.display().to_string(), hint);
    let damaged = |e: io::Error| {
        fail(format!("cannot read the file: {e}"), "it may be cut short: get it again")
    };
    let mut file = paths::open(path).map_err(damaged)?;
    let mut header = vec![0u8; 4 + 4 * dims];
    file.read_exact(&mut header).map_err(damaged)?;
    let mut fields = header.chunks_exact(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    let got = fields.next().unwrap_or_default();
    if got != magic {
        let what = format!("expected magic {magic:#010x}, got {got:#010x}");
        return Err(fail(what, "give an IDX file of bytes: 3 dimensions for images, 1 for labels"));
    }
    let shape: Vec<u32> = fields.collect();
    let size =
        shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d.into())).filter(|&n| n <= MAX_BYTES);
    let Some(size) = size.filter(|_| !shape[1..].contains(&0)) else {
        return Err(fail(
            format!("the header says {shape:?}"),
            "pictures of at least 1x1, at most 4 GiB in all",
        ));
    };
    let mut data = Vec::new();
    file.take(size + 1).read_to_end(&mut data).map_err(damaged)?;
    if data.len() as u64 != size {
        let got = if data.len() as u64 > size { "more".into() } else { data.len().to_string() };
        let what = format!("the header says {shape:?}, {size} bytes; {got} are here");
        return Err(fail(what, "the file is cut short or not what its header says: get it again"));
    }
    Ok((shape, data))
}
