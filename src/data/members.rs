//! Reads the members of a tar stream one by one, across archives that were joined by `cat`.

use std::fmt;
use std::io::{self, Read};

use tar::{EntryType, Header, PaxExtensions};

use crate::files::{TRAP, foreign};

/// Bytes of a shard, from some offset on.
pub(super) type Bytes = Box<dyn Read + Send>;

const BLOCK: usize = 512;
/// The first bytes of a gzip file.
pub(super) const GZIP: &[u8] = &[0x1f, 0x8b];
/// Maximum size of a header's extension in bytes. It holds a name, and what some systems note beside it.
const MAX_NOTE: u64 = 1 << 20;
/// Maximum length of a member's name in bytes, as file systems have it. Names of waiting samples stay in memory.
const MAX_NAME: usize = 4096;
/// Size limit of a file inside a shard: 256 MiB. A larger file does not belong to a sample.
const MAX_FILE: u64 = 256 << 20;

/// Why a shard can be read no further.
#[derive(Debug)]
pub(super) struct Cut {
    /// A short reason, the same for all shards of one kind.
    pub reason: String,
    /// Details of this shard; may be empty.
    pub detail: String,
}

const EARLY: &str = "the shard ends early";
const BEHIND: &str = "the bytes after the end mark are no tar";
const PLAIN_BEHIND: &str = "plain bytes behind gzipped ones: join archives of one kind";
const GZIP_BEHIND: &str = "a gzipped archive behind a plain one: join archives of one kind";
/// As `flate2` names the start of a part that is no gzip.
const NO_GZIP: &str = "invalid gzip header";

impl Cut {
    fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), detail: String::new() }
    }

    fn early(detail: impl Into<String>) -> Self {
        Self { reason: EARLY.into(), detail: detail.into() }
    }

    /// Of a shard that does not begin as a tar archive.
    fn no_tar(head: &[u8]) -> Self {
        match foreign(head) {
            _ if head.is_empty() => Self::because("an empty file"),
            _ if head.starts_with(GZIP) => Self::because("gzip within gzip: unpack it once"),
            Some((what, Some(hint))) => Self::because(format!("{what}: {hint}")),
            Some((what, None)) => Self::because(format!("{what}: tar and gzip are read")),
            None => Self::because("no tar archive"),
        }
    }
}

impl From<io::Error> for Cut {
    fn from(error: io::Error) -> Self {
        let detail = error.to_string();
        if detail == TRAP { Self::because(TRAP) } else { Self::early(detail) }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colon = if self.detail.is_empty() { "" } else { ": " };
        write!(f, "{}{colon}{}", self.reason, self.detail)
    }
}

/// The next thing in a shard.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Path inside the archive, and its data or the reason why it has none.
    Member(String, Result<Vec<u8>, &'static str>),
    /// A file whose name is longer than any file system allows.
    LongName,
    /// The end of one archive and the start of another.
    Joint,
}

/// The members of a shard in order.
pub(super) struct Members {
    bytes: Bytes,
    /// The first header after an end mark.
    next: Option<Header>,
    /// Whether a header was read.
    begun: bool,
}

/// Values for the next file, from headers that precede it.
#[derive(Default)]
struct Note {
    path: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

impl Members {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes, next: None, begun: false }
    }

    /// The next file or link. None at the end. The data of a file whose name is not `wanted` is empty.
    ///
    /// Errors: the bytes end early or are no tar.
    pub(super) fn next(&mut self, wanted: impl Fn(&str) -> bool) -> Result<Option<Found>, Cut> {
        let mut note = Note::default();
        loop {
            let header = match self.header()? {
                None => return Ok(None),
                Some(None) => return Ok(Some(Found::Joint)),
                Some(Some(header)) => header,
            };
            let kind = header.entry_type();
            let size = header.entry_size().map_err(|e| Cut::early(e.to_string()))?;
            if kind.is_gnu_longname() || kind.is_pax_local_extensions() {
                if let Some(data) = self.data(size, size <= MAX_NOTE)? {
                    note.add(kind, data);
                }
                continue;
            }
            if kind.is_gnu_longlink() || kind.is_pax_global_extensions() {
                self.data(size, false)?; // the target of a link, a note on the archive
                continue;
            }
            self.sparse_map(&header)?;
            let note = std::mem::take(&mut note);
            let size = note.size.unwrap_or(size);
            let path = note.path.unwrap_or_else(|| header.path_bytes().into_owned());
            let path = text_of(&path);
            let (link, sparse) = (is_link(kind), note.sparse || kind == EntryType::GNUSparse);
            let is_file = kind.is_file() || kind == EntryType::Continuous;
            let wanted = wanted(&path) && path.len() <= MAX_NAME;
            let kept = is_file && !sparse && wanted && size <= MAX_FILE;
            // some writers give a link the size of its target, although no data follows
            let data = self.data(if link { 0 } else { size }, kept)?;
            return Ok(Some(match data {
                _ if path.len() > MAX_NAME => Found::LongName,
                Some(data) => Found::Member(path, Ok(data)),
                None if !is_file && !link && !sparse => continue, // a folder, a device
                None if !wanted => Found::Member(path, Ok(Vec::new())),
                None if link => Found::Member(path, Err("a link instead of a file")),
                None if sparse => Found::Member(path, Err("a sparse file")),
                None => Found::Member(path, Err("a file is too large")),
            }));
        }
    }

    /// The next header. None at the end; `Some(None)` between two archives.
    fn header(&mut self) -> Result<Option<Option<Header>>, Cut> {
        if let Some(header) = self.next.take() {
            return Ok(Some(Some(header)));
        }
        let mut header = Header::new_old();
        let mut marked = false;
        loop {
            let got = fill(&mut self.bytes, header.as_mut_bytes()).map_err(|cut| match marked {
                true if cut.detail == NO_GZIP => Cut::because(PLAIN_BEHIND),
                _ => cut,
            })?;
            let head = &header.as_bytes()[..got];
            let empty = head.iter().all(|&byte| byte == 0);
            match (got, empty) {
                (BLOCK, true) => marked = true,
                (BLOCK, false) => break,
                (_, true) if marked => return Ok(None),
                // a header has zeros behind the name: bytes without any are a text
                _ if !self.begun && (foreign(head).is_some() || !head.contains(&0)) => {
                    return Err(Cut::no_tar(head));
                }
                (0, _) => return Err(Cut::early("no end mark")),
                _ => return Err(Cut::early(format!("{got} bytes of a header"))),
            }
        }
        let first = !std::mem::replace(&mut self.begun, true) && !marked;
        match (is_sound(&header), marked) {
            (true, false) => Ok(Some(Some(header))),
            (true, true) => {
                self.next = Some(header);
                Ok(Some(None))
            }
            (false, false) if first => Err(Cut::no_tar(header.as_bytes())),
            (false, false) => Err(Cut::early("this is no tar header")),
            (false, true) if header.as_bytes().starts_with(GZIP) => Err(Cut::because(GZIP_BEHIND)),
            (false, true) => Err(Cut::because(BEHIND)),
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
        let got = got?;
        let mut rest = [0; BLOCK];
        let rest = &mut rest[..(BLOCK - (size % BLOCK as u64) as usize) % BLOCK];
        if got < size || fill(&mut self.bytes, rest)? < rest.len() {
            return Err(Cut::early(format!("a file has {size} bytes, {got} are here")));
        }
        Ok(kept.then_some(data))
    }

    /// Skips the blocks in which GNU tar continues the map of a sparse file.
    fn sparse_map(&mut self, header: &Header) -> Result<(), Cut> {
        let sparse = header.entry_type() == EntryType::GNUSparse;
        let mut more = sparse && header.as_gnu().is_some_and(|gnu| gnu.isextended[0] != 0);
        let mut block = [0; BLOCK];
        while more {
            let got = fill(&mut self.bytes, &mut block)?;
            if got < BLOCK {
                return Err(Cut::early(format!("{got} bytes of a header")));
            }
            more = block[504] != 0; // `isextended` of such a block
        }
        Ok(())
    }
}

impl Note {
    fn add(&mut self, kind: EntryType, data: Vec<u8>) {
        if kind.is_gnu_longname() {
            self.path = Some(data.into_iter().take_while(|&byte| byte != 0).collect());
            return;
        }
        for field in PaxExtensions::new(&data).flatten() {
            match field.key_bytes() {
                b"path" => self.path = Some(field.value_bytes().into()),
                b"size" => self.size = field.value().ok().and_then(|text| text.parse().ok()),
                key if key.starts_with(b"GNU.sparse.") => {
                    self.sparse = true;
                    if key == b"GNU.sparse.name" {
                        self.path = Some(field.value_bytes().into());
                    }
                }
                _ => {}
            }
        }
    }
}

/// A member's name as text. Bytes that are no UTF-8 are written as in addresses, `%E9`: names that differ stay apart.
fn text_of(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("%{byte:02X}")));
    }
    text
}

fn is_link(kind: EntryType) -> bool {
    kind.is_hard_link() || kind.is_symlink()
}

/// Reads until the buffer is full or the source ends. Returns the number of bytes.
fn fill(bytes: &mut Bytes, buffer: &mut [u8]) -> Result<usize, Cut> {
    let mut at = 0;
    while at < buffer.len() {
        match bytes.read(&mut buffer[at..]) {
            Ok(0) => break,
            Ok(got) => at += got,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
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
