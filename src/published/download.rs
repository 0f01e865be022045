//! A download that may be cut and goes on, with the hash of what has come.

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

/// A file of a repository: 64 hex digits are the SHA-256 of its content, 40 the SHA-1 of git.
pub(super) struct Remote {
    pub commit: String,
    pub hash: String,
    pub bytes: u64,
}

/// The content of a file as far as it has come, and its hash so far.
pub(super) struct Download {
    pub file: File,
    pub done: u64,
    digest: Context,
}

impl Download {
    /// Opens what an earlier download left, and reads it for the hash.
    pub fn open(path: &Path, remote: &Remote) -> io::Result<Self> {
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        let file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        let mut part = Self { file, done: 0, digest: digest(remote) };
        if part.file.metadata()?.len() > remote.bytes {
            part.file.set_len(0)?;
        }
        let mut buffer = vec![0; 1 << 20];
        loop {
            match part.file.read(&mut buffer)? {
                0 => return Ok(part),
                n => part.digest.update(&buffer[..n]),
            }
            part.done = io::Seek::stream_position(&mut part.file)?;
        }
    }

    pub fn begin_again(&mut self, remote: &Remote) -> io::Result<()> {
        self.file.set_len(0)?;
        io::Seek::rewind(&mut self.file)?;
        (self.done, self.digest) = (0, digest(remote));
        Ok(())
    }

    /// Appends a body. Errors: it breaks off; it is longer than the file.
    pub fn take(
        &mut self,
        mut body: impl Read,
        remote: &Remote,
        watch: &mut dyn FnMut(u64, u64),
        came: &mut u64,
    ) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 20];
        loop {
            let n = body.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            if self.done + n as u64 > remote.bytes {
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    "it is longer than the hub tells",
                ));
            }
            self.file.write_all(&buffer[..n])?;
            self.digest.update(&buffer[..n]);
            self.done += n as u64;
            *came += n as u64;
            watch(self.done, remote.bytes);
        }
        match self.done < remote.bytes {
            true => Err(io::Error::new(ErrorKind::UnexpectedEof, "the connection was cut")),
            false => Ok(()),
        }
    }

    /// The hash of the content in hex.
    pub fn hash(&self) -> String {
        let digest = self.digest.clone().finish();
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The hash of nothing yet. Git's begins with a word about the content.
fn digest(remote: &Remote) -> Context {
    if remote.hash.len() == 64 {
        return Context::new(&SHA256);
    }
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(format!("blob {}\0", remote.bytes).as_bytes());
    digest
}

/// Waits until no other program downloads the same file. The lock ends with the value.
pub(super) fn lock(path: &Path) -> io::Result<File> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    // SAFETY: a call on a descriptor that is open.
    match unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } {
        0 => Ok(file),
        _ => Err(io::Error::last_os_error()),
    }
}
