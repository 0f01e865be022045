//! WebDataset shards: `.tar` and `.tar.gz` files in which the files of a sample follow each other and share a key.
//!
//! Files are `KEY.webp`, `KEY.txt`, `KEY.json`, as LAION's tools write them. A thread reads ahead of the decoders.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use serde_json::{Map, Value};

use super::{Broken, Item, PICTURES, Picture, Record, paths};
use crate::{Error, Result};

/// Number of samples read ahead.
const AHEAD: usize = 64;
/// Size limit of a file inside a shard: 256 MiB. A larger file does not belong to a sample.
pub(super) const MAX_FILE: u64 = 256 << 20;

/// The files that a shard holds under one key, not decoded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawSample {
    /// Path inside the shard, up to the first dot of the file name.
    pub key: String,
    /// Bytes of the picture file.
    pub image: Vec<u8>,
    pub txt: Option<String>,
    pub json: Option<Map<String, Value>>,
}

/// The samples of one shard in order. A broken sample is an `Err` in between. A shard that ends early yields one final
/// `Err` after the samples that could be read.
pub struct ShardReader {
    samples: Receiver<std::result::Result<RawSample, Broken>>,
}

impl ShardReader {
    /// Opens a shard. Gzip is detected by content, not by name.
    ///
    /// Errors: the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let place = path.display().to_string();
        let bytes = paths::open(path)
            .map_err(|e| Error::data(format!("cannot open the shard: {e}"), place.clone(), ""))?;
        let (sender, samples) = sync_channel(AHEAD);
        std::thread::spawn(move || Walk { sender, place, files: None }.run(bytes));
        Ok(Self { samples })
    }
}

impl Iterator for ShardReader {
    type Item = std::result::Result<RawSample, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        self.samples.recv().ok()
    }
}

/// The receiver is gone, so no more samples are needed.
struct Unwanted;

/// The reading thread: files in, samples out.
struct Walk {
    sender: SyncSender<std::result::Result<RawSample, Broken>>,
    place: String,
    files: Option<Files>,
}

/// The files collected so far under one key.
struct Files {
    key: String,
    /// (extension, bytes), in the order of the shard.
    found: Vec<(String, Vec<u8>)>,
}

impl Walk {
    fn run(mut self, bytes: Box<dyn Read + Send>) {
        let mut archive = tar::Archive::new(Tail { bytes, zeros: 0 });
        let ended = self.entries(&mut archive);
        let mut rest = archive.into_inner();
        let Ok(mut cut) = ended else { return };
        if cut.is_none() {
            // Read to the end of the file, where gzip compares its checksum.
            cut = io::copy(&mut rest, &mut io::sink()).err().map(|e| e.to_string());
            cut = cut.or_else(|| (rest.zeros < 512).then(|| "no end mark".into()));
        }
        if self.flush().is_ok()
            && let Some(why) = cut
        {
            let _ = self.broken("", "the shard ends early", why);
        }
    }

    /// Reads all entries. `Some(why)` if the archive breaks off.
    fn entries(
        &mut self,
        archive: &mut tar::Archive<Tail>,
    ) -> std::result::Result<Option<String>, Unwanted> {
        let entries = match archive.entries() {
            Ok(entries) => entries,
            Err(e) => return Ok(Some(e.to_string())),
        };
        for entry in entries {
            let mut entry = match entry {
                Ok(entry) => entry,
                Err(e) => return Ok(Some(e.to_string())),
            };
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let Some((key, ext)) = split_name(&name) else { continue };
            let size = entry.size();
            let mut data = Vec::new();
            match (&mut entry).take(MAX_FILE).read_to_end(&mut data) {
                Ok(got) if got as u64 == size => self.file(key, ext, data)?,
                Ok(_) if size > MAX_FILE => {
                    self.broken(&name, "a file is too large", format!("{size} bytes"))?
                }
                Ok(got) => return Ok(Some(format!("`{name}` has {size} bytes, {got} are here"))),
                Err(e) => return Ok(Some(format!("in `{name}`: {e}"))),
            }
        }
        Ok(None)
    }

    fn file(&mut self, key: &str, ext: String, data: Vec<u8>) -> std::result::Result<(), Unwanted> {
        if self.files.as_ref().is_none_or(|files| files.key != key) {
            self.flush()?;
        }
        let files = self.files.get_or_insert_with(|| Files { key: key.into(), found: Vec::new() });
        files.found.push((ext, data));
        Ok(())
    }

    /// Sends the sample whose files are complete.
    fn flush(&mut self) -> std::result::Result<(), Unwanted> {
        match self.files.take().map(sample) {
            None => Ok(()),
            Some(Ok(sample)) => self.sender.send(Ok(sample)).map_err(|_| Unwanted),
            Some(Err((key, reason, detail))) => self.broken(&key, reason, detail),
        }
    }

    fn broken(
        &self,
        key: &str,
        reason: &'static str,
        detail: String,
    ) -> std::result::Result<(), Unwanted> {
        let place =
            if key.is_empty() { self.place.clone() } else { format!("{}, `{key}`", self.place) };
        self.sender.send(Err(Broken { place, reason, detail })).map_err(|_| Unwanted)
    }
}

/// Files of one key -> sample, or (key, reason, detail).
fn sample(files: Files) -> std::result::Result<RawSample, (String, &'static str, String)> {
    let Files { key, found } = files;
    let fail = |key: &str, reason, detail: String| Err((key.to_string(), reason, detail));
    let mut sample = RawSample { key, ..RawSample::default() };
    let mut pictures = 0;
    for (ext, bytes) in found {
        match ext.as_str() {
            "txt" => match String::from_utf8(bytes) {
                Ok(text) => sample.txt = Some(text),
                Err(e) => return fail(&sample.key, "the caption is not UTF-8", e.to_string()),
            },
            "json" => match serde_json::from_slice(&bytes) {
                Ok(map) => sample.json = Some(map),
                Err(e) => return fail(&sample.key, "the json cannot be read", e.to_string()),
            },
            ext if PICTURES.contains(&ext) => {
                pictures += 1;
                sample.image = bytes;
            }
            _ => {} // files for other trainers, such as `.cls` or `.npy`
        }
    }
    match pictures {
        0 => fail(&sample.key, "no picture", String::new()),
        1 => Ok(sample),
        n => fail(&sample.key, "more than one picture", n.to_string()),
    }
}

/// `dir/a.b.PNG` -> (`dir/a`, `b.png`). None for hidden files and names without a dot.
pub(super) fn split_name(name: &str) -> Option<(&str, String)> {
    let name = name.trim_start_matches("./");
    let start = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = start + name[start..].find('.').filter(|&dot| dot > 0)?;
    Some((&name[..dot], name[dot + 1..].to_ascii_lowercase()))
}

/// A reader that counts the trailing zero bytes. A tar file ends with 1024 of them.
struct Tail {
    bytes: Box<dyn Read + Send>,
    zeros: usize,
}

impl Read for Tail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.bytes.read(buffer)?;
        let zeros = buffer[..got].iter().rev().take_while(|&&byte| byte == 0).count();
        self.zeros = if zeros == got { self.zeros + got } else { zeros };
        Ok(got)
    }
}

/// All samples of several shards, in order. A shard that cannot be opened yields one broken item.
pub(super) fn items(
    paths: Vec<PathBuf>,
) -> impl Iterator<Item = std::result::Result<Item, Broken>> {
    paths.into_iter().flat_map(|path| {
        let place = path.display().to_string();
        let (reader, broken) = match ShardReader::open(&path) {
            Ok(reader) => (Some(reader), None),
            Err(e) => {
                let detail = e.faults()[0].what.clone();
                (
                    None,
                    Some(Err(Broken {
                        place: place.clone(),
                        reason: "the shard cannot be opened",
                        detail,
                    })),
                )
            }
        };
        let samples = reader.into_iter().flatten();
        broken.into_iter().chain(samples.map(move |sample| item(sample?, &place)))
    })
}

/// Converts a sample. The caption is the `.txt`, else the json's `caption`, with runs of white space as single blanks.
fn item(sample: RawSample, shard: &str) -> std::result::Result<Item, Broken> {
    let RawSample { key, image, txt, json } = sample;
    let field = |name: &str| {
        json.as_ref().and_then(|map| map.get(name)?.as_str()).unwrap_or_default().to_string()
    };
    let place = format!("{shard}, `{key}`");
    let caption = super::tidy(&txt.unwrap_or_default());
    let caption = if caption.is_empty() { super::tidy(&field("caption")) } else { caption };
    if caption.is_empty() {
        return Err(Broken { place, reason: "no caption", detail: String::new() });
    }
    let (name, style, group, split) =
        (field("name"), field("style"), field("group"), field("split"));
    let record = Record { key, caption, name, style, group, split };
    Ok(Item { place, record, picture: Picture::File(image) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_end_at_the_first_dot_of_the_file_name() {
        let split = |name| split_name(name).map(|(key, ext)| format!("{key}|{ext}"));
        assert_eq!(split("./a.b/c.seg.PNG").as_deref(), Some("a.b/c|seg.png"));
        assert_eq!(split("1f34e_3d.webp").as_deref(), Some("1f34e_3d|webp"));
        for name in ["a/._c.png", ".hidden", "README", "a.b/c", ""] {
            assert_eq!(split(name), None, "{name}");
        }
    }

    #[test]
    fn a_sample_needs_one_picture_and_sound_words() {
        let made = |names: &[(&str, &[u8])]| {
            let found =
                names.iter().map(|(ext, bytes)| (ext.to_string(), bytes.to_vec())).collect();
            sample(Files { key: "k".into(), found }).map_err(|(_, reason, _)| reason)
        };
        let whole = made(&[("png", b"1"), ("cls", b"3"), ("txt", b"a"), ("json", b"{\"b\":1}")]);
        let whole = whole.expect("whole");
        assert_eq!((whole.image, whole.txt), (b"1".to_vec(), Some("a".into())));
        assert_eq!(made(&[("txt", b"a")]), Err("no picture"));
        assert_eq!(made(&[("png", b"1"), ("jpg", b"2")]), Err("more than one picture"));
        assert_eq!(made(&[("png", b"1"), ("json", b"[1]")]), Err("the json cannot be read"));
        assert_eq!(made(&[("png", b"1"), ("txt", b"\xff")]), Err("the caption is not UTF-8"));
    }
}
