//! Sources of a shard's bytes: a file, a command's output, a web server. Broken connections are reopened.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::pipe::Pipe;
use super::{Bytes, http};
use crate::Result;
use crate::data::members::GZIP;
use crate::data::{braces, gzip, paths};

/// Where a shard comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardSource {
    File(PathBuf),
    /// Command for `sh -c`. The shard is its standard output.
    Pipe(String),
    /// Address that starts with `http://` or `https://`.
    Web(String),
}

/// Retry settings of a reader.
#[derive(Clone, Debug)]
pub struct Patience {
    /// Attempts after the first. The count restarts whenever bytes arrive.
    pub retries: u32,
    /// Time without a byte after which a web server is asked again.
    pub silence: Duration,
    /// Set when the bytes are no longer wanted.
    pub stop: Arc<AtomicBool>,
}

/// Patterns -> shards, in order. Braces work everywhere, `*` and `~` only in paths of files. A file named in full need not
/// exist.
///
/// Errors: no shards; an unclosed brace; a `*` without a match.
pub fn expand(patterns: &[String]) -> Result<Vec<ShardSource>> {
    sources(patterns, |name| match name.contains('*') {
        true => paths::expand(&[name], "stream"),
        false => Ok(vec![paths::home(Path::new(&name))]),
    })
}

/// As [`expand`], for one part of a data set. Every file must exist.
///
/// Errors: as [`expand`]; a file that does not exist.
pub fn present(patterns: &[String], part: &str) -> Result<Vec<ShardSource>> {
    if patterns.is_empty() {
        paths::expand(&[], part)?;
    }
    sources(patterns, |name| paths::expand(&[name], part))
}

fn sources(
    patterns: &[String],
    files: impl Fn(String) -> Result<Vec<PathBuf>>,
) -> Result<Vec<ShardSource>> {
    let mut sources = Vec::new();
    for pattern in patterns {
        for name in braces::expand(pattern)? {
            let web = name.starts_with("http://") || name.starts_with("https://");
            match name.strip_prefix("pipe:") {
                Some(command) => sources.push(ShardSource::Pipe(command.trim().into())),
                None if web => sources.push(ShardSource::Web(name)),
                None => sources.extend(files(name)?.into_iter().map(ShardSource::File)),
            }
        }
    }
    Ok(sources)
}

impl fmt::Display for ShardSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Pipe(command) => write!(f, "pipe:{command}"),
            Self::Web(address) => f.write_str(address),
        }
    }
}

impl ShardSource {
    /// Opens the shard. Decompresses it if its content, not its name, is gzip.
    ///
    /// Errors: the shard cannot be opened. If a retry may help, `patience.retries` further attempts are made first.
    pub fn open(&self, patience: &Patience) -> io::Result<Bytes> {
        let mut bytes =
            Mended { source: self.clone(), patience: patience.clone(), inner: None, at: 0 };
        bytes.connect()?;
        let mut bytes = BufReader::with_capacity(1 << 17, bytes);
        let gzip = bytes.fill_buf()?.starts_with(GZIP);
        Ok(if gzip { gzip::unpacked(bytes) } else { Box::new(bytes) })
    }

    /// One attempt to open the shard at byte `from`.
    fn attempt(&self, from: u64, patience: &Patience) -> io::Result<Bytes> {
        match self {
            Self::File(path) => {
                let mut file = File::open(path)?;
                if from > 0 {
                    file.seek(SeekFrom::Start(from))?;
                }
                Ok(Box::new(file))
            }
            Self::Pipe(command) => skip(Box::new(Pipe::start(command, &patience.stop)?), from),
            Self::Web(address) => match http::get(address, from, patience.silence, None)? {
                (bytes, true) => Ok(bytes),
                (bytes, false) => skip(bytes, from),
            },
        }
    }
}

/// Skips the first `from` bytes.
fn skip(mut bytes: Bytes, from: u64) -> io::Result<Bytes> {
    let skipped = io::copy(&mut (&mut bytes).take(from), &mut io::sink())?;
    match skipped == from {
        true => Ok(bytes),
        false => Err(io::Error::other(format!("it has {skipped} bytes now, {from} were read"))),
    }
}

/// Whether a retry may help.
fn may_pass(e: &io::Error) -> bool {
    use io::ErrorKind as K;
    !matches!(e.kind(), K::NotFound | K::PermissionDenied | K::InvalidInput | K::IsADirectory)
}

/// A reader that reopens its source at the same position after a failure.
struct Mended {
    source: ShardSource,
    patience: Patience,
    inner: Option<Bytes>,
    /// Bytes read so far.
    at: u64,
}

impl Mended {
    fn connect(&mut self) -> io::Result<()> {
        self.mend(|bytes| {
            bytes.inner = Some(bytes.source.attempt(bytes.at, &bytes.patience)?);
            Ok(())
        })
    }

    /// Runs `act`, and repeats it after growing pauses while a retry may help.
    fn mend<T>(&mut self, mut act: impl FnMut(&mut Self) -> io::Result<T>) -> io::Result<T> {
        let mut failures = 0;
        loop {
            let error = match act(self) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => e,
                Err(_) => continue,
                done => return done,
            };
            self.inner = None;
            if failures == self.patience.retries || !may_pass(&error) || !self.pause(failures) {
                return Err(error);
            }
            failures += 1;
        }
    }

    /// Waits 0.1 s, then twice as long each time, at most 10 s. Returns false once the bytes are no longer wanted.
    fn pause(&self, failures: u32) -> bool {
        let millis = (100u64 << failures.min(7)).min(10_000);
        for _ in 0..millis / 20 {
            if self.patience.stop.load(Ordering::Relaxed) {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }
}

impl Read for Mended {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.patience.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("nobody wants it any more"));
        }
        let got = self.mend(|bytes| {
            if bytes.inner.is_none() {
                bytes.inner = Some(bytes.source.attempt(bytes.at, &bytes.patience)?);
            }
            bytes.inner.as_mut().map_or(Ok(0), |inner| inner.read(buffer))
        })?;
        self.at += got as u64;
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &ShardSource, retries: u32) -> io::Result<String> {
        let silence = Duration::from_secs(5);
        let mut text = String::new();
        let mut bytes = source.open(&Patience { retries, silence, stop: Arc::default() })?;
        bytes.read_to_string(&mut text).map(|_| text)
    }

    #[test]
    fn addresses_are_distinguished() {
        let patterns = ["a{0,1}.tar", "pipe: cat {x,y}", "https://h/{8..9}"].map(String::from);
        let shown: Vec<String> =
            expand(&patterns).expect("sound").iter().map(ShardSource::to_string).collect();
        let all = ["a0.tar", "a1.tar", "pipe:cat x", "pipe:cat y", "https://h/8", "https://h/9"];
        assert_eq!(shown, all);
        assert!(expand(&["/nowhere/*.tar".into()]).is_err());
        let home = expand(&["~/{a,b}.tar".into()]).expect("sound");
        let there = |name| ShardSource::File(dirs::home_dir().expect("a home").join(name));
        assert_eq!(home, [there("a.tar"), there("b.tar")]);
        assert!(present(&["/nowhere/x-{0..1}.tar".into()], "train").is_err());
        assert_eq!(present(&["pipe:cat x".into()], "train").expect("a command").len(), 1);
    }

    #[test]
    fn a_command_that_fails_is_an_error_and_is_run_again() {
        let pipe = |command: &str| ShardSource::Pipe(command.into());
        assert_eq!(read(&pipe("echo one; echo two"), 0).expect("sound"), "one\ntwo\n");
        let error = read(&pipe("echo one; exit 3"), 0).expect_err("failed").to_string();
        assert!(error.contains("exit status: 3"), "{error}");
        // breaks off after four bytes, then continues after them
        let folder = tempfile::tempdir().expect("a folder");
        let mark = folder.path().join("mark").display().to_string();
        let flaky =
            format!("test -f {mark} || {{ touch {mark}; echo one; exit 1; }}; echo one; echo two");
        assert_eq!(read(&pipe(&flaky), 1).expect("mended"), "one\ntwo\n");
        let missing = ShardSource::File("/nowhere/x.tar".into());
        assert_eq!(read(&missing, 9).expect_err("missing").kind(), io::ErrorKind::NotFound);
    }
}
