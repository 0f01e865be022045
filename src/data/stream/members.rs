//! Reads the members of a tar stream, and groups members that share a key.

use std::io::{self, Read};

use tar::{EntryType, Header, PaxExtensions};

use super::Bytes;
use crate::data::shards::{MAX_FILE, split_name};

const BLOCK: usize = 512;
/// Maximum length of a member's name in bytes.
const MAX_NAME: u64 = 1 << 20;

/// Why a shard's bytes end too early.
#[derive(Debug)]
pub struct Cut(pub String);

/// All members under one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberGroup {
    /// Path inside the shard, up to the first dot of the file name.
    pub key: String,
    /// (ending in lower case, bytes), in the order of the shard.
    pub files: Vec<(String, Vec<u8>)>,
    /// Whether one of the files was too large to keep.
    pub too_large: bool,
}

/// The groups of a shard in order, with at most one `Err`, at the end. Damage ends the shard; earlier groups are kept.
pub struct Groups {
    bytes: Bytes,
    /// The first member of the next group.
    next: Option<Member>,
    cut: Option<Cut>,
    ended: bool,
}

struct Member {
    key: String,
    ending: String,
    /// None if the file is too large.
    bytes: Option<Vec<u8>>,
}

impl Groups {
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes, next: None, cut: None, ended: false }
    }

    /// The next file that has a key. None at the end.
    fn member(&mut self) -> Result<Option<Member>, Cut> {
        let mut long_name: Option<Vec<u8>> = None;
        loop {
            let mut header = Header::new_old();
            match fill(&mut self.bytes, header.as_mut_bytes())? {
                0 => return Err(Cut("no end mark".into())),
                BLOCK => {}
                got => return Err(Cut(format!("{got} bytes of a header"))),
            }
            if header.as_bytes().iter().all(|&byte| byte == 0) {
                return Ok(None);
            }
            if !is_sound(&header) {
                return Err(Cut("this is no tar header".into()));
            }
            let size = header.entry_size().map_err(|e| Cut(e.to_string()))?;
            let kind = header.entry_type();
            let names = kind.is_gnu_longname() || kind.is_pax_local_extensions();
            let most = if names { MAX_NAME } else { MAX_FILE };
            let kept = (kind.is_file() || kind == EntryType::Continuous || names) && size <= most;
            let data = self.data(size, kept)?;
            match (kind.is_file() || kind == EntryType::Continuous, names) {
                (true, _) => {
                    let name = long_name.take().unwrap_or_else(|| header.path_bytes().into_owned());
                    let name = String::from_utf8_lossy(&name).into_owned();
                    if let Some((key, ending)) = split_name(&name) {
                        return Ok(Some(Member { key: key.into(), ending, bytes: data }));
                    }
                }
                (_, true) => long_name = long(kind, data.unwrap_or_default()).or(long_name),
                _ => long_name = None,
            }
        }
    }

    /// Reads the data of a member and the padding of its last block. None if the data is not kept.
    fn data(&mut self, size: u64, kept: bool) -> Result<Option<Vec<u8>>, Cut> {
        let mut data = Vec::new();
        let mut bytes = (&mut self.bytes).take(size);
        let got = match kept {
            true => bytes.read_to_end(&mut data).map(|n| n as u64),
            false => io::copy(&mut bytes, &mut io::sink()),
        };
        let got = got.map_err(|e| Cut(e.to_string()))?;
        let mut rest = [0; BLOCK];
        let rest = &mut rest[..(BLOCK - (size % BLOCK as u64) as usize) % BLOCK];
        if got < size || fill(&mut self.bytes, rest)? < rest.len() {
            return Err(Cut(format!("a file has {size} bytes, {got} are here")));
        }
        Ok(kept.then_some(data))
    }

    /// Reads to the end of the source, where gzip compares its checksum and a pipe reports failure.
    fn finish(&mut self) -> Option<Cut> {
        io::copy(&mut self.bytes, &mut io::sink()).err().map(|e| Cut(e.to_string()))
    }
}

impl Iterator for Groups {
    type Item = Result<MemberGroup, Cut>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut group: Option<MemberGroup> = None;
        while !self.ended {
            match self.next.take().map_or_else(|| self.member(), |member| Ok(Some(member))) {
                Ok(Some(member)) if group.as_ref().is_some_and(|g| g.key != member.key) => {
                    self.next = Some(member);
                    return group.map(Ok);
                }
                Ok(Some(Member { key, ending, bytes })) => {
                    let group =
                        group.get_or_insert_with(|| MemberGroup { key, ..MemberGroup::default() });
                    match bytes {
                        Some(bytes) => group.files.push((ending, bytes)),
                        None => group.too_large = true,
                    }
                }
                Ok(None) => (self.ended, self.cut) = (true, self.finish()),
                Err(cut) => (self.ended, self.cut) = (true, Some(cut)),
            }
        }
        group.map(Ok).or_else(|| self.cut.take().map(Err))
    }
}

/// Reads until the buffer is full or the source ends. Returns the number of bytes.
fn fill(bytes: &mut Bytes, buffer: &mut [u8]) -> Result<usize, Cut> {
    let mut at = 0;
    while at < buffer.len() {
        match bytes.read(&mut buffer[at..]) {
            Ok(0) => break,
            Ok(got) => at += got,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Cut(e.to_string())),
        }
    }
    Ok(at)
}

/// Whether the header's checksum is right: the sum of its bytes, with those of the checksum field counted as blanks.
fn is_sound(header: &Header) -> bool {
    let bytes = header.as_bytes();
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>();
    let blanks = 8 * u32::from(b' ');
    header.cksum().is_ok_and(|noted| noted == sum(&bytes[..148]) + blanks + sum(&bytes[156..]))
}

/// The long name that a member of kind "name" gives to the next file.
fn long(kind: EntryType, data: Vec<u8>) -> Option<Vec<u8>> {
    if kind.is_gnu_longname() {
        return Some(data.into_iter().take_while(|&byte| byte != 0).collect());
    }
    let mut fields = PaxExtensions::new(&data).flatten();
    fields.find(|field| field.key_bytes() == b"path").map(|field| field.value_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn tar(names: &[&str]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for name in names {
            let mut header = Header::new_gnu();
            header.set_size(name.len() as u64);
            builder.append_data(&mut header, name, name.as_bytes()).expect("memory takes it");
        }
        builder.into_inner().expect("memory takes it")
    }

    fn groups(bytes: &[u8]) -> Vec<Result<MemberGroup, Cut>> {
        Groups::new(Box::new(Cursor::new(bytes.to_vec()))).collect()
    }

    #[test]
    fn files_of_a_key_are_grouped_also_with_long_names() {
        let long = format!("{}/b.JPG", "d".repeat(150));
        let all = groups(&tar(&["a.jpg", "a.txt", "README", &long, "c.txt"]));
        let shown: Vec<String> = all
            .iter()
            .map(|group| {
                let group = group.as_ref().expect("sound");
                let endings: Vec<_> = group.files.iter().map(|(ending, _)| &**ending).collect();
                format!("{}: {}", &group.key[group.key.len() - 1..], endings.join(" "))
            })
            .collect();
        assert_eq!(shown, ["a: jpg txt", "b: jpg", "c: txt"]);
        assert_eq!(all[1].as_ref().expect("sound").files[0].1, long.as_bytes());
    }

    #[test]
    fn no_cut_or_flipped_byte_makes_it_panic_or_lose_what_came_before() {
        let whole = tar(&["a.jpg", "a.txt", "b.jpg"]);
        for end in (0..whole.len()).step_by(64) {
            let all = groups(&whole[..end]);
            let sound = all.iter().filter(|group| group.is_ok()).count();
            assert!(sound >= end / 2048, "{end}: {sound}");
            let broken = all.len() - sound;
            // after the third file only the end mark is missing, and one block of it is enough
            assert_eq!(broken, usize::from(end < 3 * 1024 + 512), "{end}");
        }
        for at in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x5a;
            assert!(groups(&bytes).len() <= 4);
        }
    }
}
