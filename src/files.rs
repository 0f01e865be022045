//! Atomic file writes: a file appears complete or not at all.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Writes a temporary file beside `path`, syncs it, renames it over `path`, and syncs the folder. Creates missing
/// folders.
///
/// Errors: those of the disk; `path` exists and is not a regular file (it is left unchanged).
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with(path, |file| file.write_all(bytes))
}

/// As [`write`], with what `fill` writes into the file: for contents that need not be in memory at once.
pub fn write_with(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return Err(io::Error::other("there is something that is no file"));
    }
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = parent.join(format!(".{name}.{}.tmp", std::process::id()));
    let written = File::create(&beside).and_then(|mut file| {
        fill(&mut file)?;
        file.sync_all()
    });
    if let Err(e) = written.and_then(|()| fs::rename(&beside, path)) {
        let _ = fs::remove_file(&beside);
        return Err(e);
    }
    File::open(parent)?.sync_all()
}

/// Reads a file, or whatever else can be read there, such as a pipe.
///
/// Errors: it cannot be read; it has more than `most` bytes, as a device that never ends.
pub fn read_up_to(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => Err(io::Error::other(format!("it is longer than {} MiB", most >> 20))),
        false => Ok(bytes),
    }
}

/// `path` and the names that take its place where it is taken: `a.log`, `a-2.log`, `a-3.log`, ..
pub fn numbered(path: &Path) -> impl Iterator<Item = PathBuf> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let ending = path.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
    let further = (2u64..).map(move |i| format!("{stem}-{i}{ending}"));
    std::iter::once(path.to_path_buf()).chain(further.map(|name| path.with_file_name(name)))
}

/// The first of the [`numbered`] names that nothing has.
pub fn free(path: &Path) -> PathBuf {
    numbered(path).find(|path| !path.exists()).unwrap_or_else(|| path.to_path_buf())
}

/// Renames the folder `from` to `to` on the same disk. An existing `to` is exchanged atomically, then removed.
pub fn put_folder(from: &Path, to: &Path) -> io::Result<()> {
    if to.exists() {
        exchange(from, to)?;
        let _ = fs::remove_dir_all(from);
    } else {
        fs::rename(from, to)?;
    }
    File::open(to.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Exchanges two paths atomically if the file system supports it, else in two steps.
fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other);
    let (from, to, here) = (text(a)?, text(b)?, libc::AT_FDCWD);
    // SAFETY: two C strings that live through the call.
    let code =
        unsafe { libc::renameat2(here, from.as_ptr(), here, to.as_ptr(), libc::RENAME_EXCHANGE) };
    if code == 0 {
        return Ok(());
    }
    fs::remove_dir_all(b)?;
    fs::rename(a, b)?;
    fs::create_dir_all(a)
}

/// The folders of a path, itself included, that are not there: the deepest first.
pub fn missing_folders(path: &Path) -> Vec<PathBuf> {
    let above = path.ancestors().filter(|path| !path.as_os_str().is_empty());
    above.take_while(|path| !path.exists()).map(Path::to_path_buf).collect()
}

/// Removes those of the folders that are empty, in order.
pub fn remove_empty(folders: &[PathBuf]) {
    for folder in folders {
        let _ = fs::remove_dir(folder);
    }
}

/// Whether something packed stands for so much that it is a trap and no data: for more than 256 MiB, and more than 200
/// times its own size.
pub fn is_trap(unpacked: u64, packed: u64) -> bool {
    unpacked > 256 << 20 && unpacked / 200 > packed
}

/// Why a trap is refused.
pub const TRAP: &str = "it unpacks to more than 200 times its size";

/// Files that people bring in place of shards and weights: their first bytes, what they are, and how to get the right one.
const FOREIGN: [(&[u8], &str, Option<&str>); 10] = [
    (b"version https://git-lfs", "a git-lfs pointer", Some("`git lfs pull` gets the file")),
    (b"<!doctype html", "a web page (HTML)", Some(NOT_A_PAGE)),
    (b"<html", "a web page (HTML)", Some(NOT_A_PAGE)),
    (b"<?xml", "an XML text as servers send it with an error", Some(NOT_A_PAGE)),
    (b"bzh", "a bzip2 file", Some("`bzip2 -dk` unpacks it")),
    (b"\xfd7zxz\0", "an xz file", Some("`xz -dk` unpacks it")),
    (b"\x28\xb5\x2f\xfd", "a zstd file", Some("`zstd -dk` unpacks it")),
    (b"pk\x03\x04", "a zip archive", None),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", None),
    (b"\x1f\x8b", "a gzip file", None),
];
const NOT_A_PAGE: &str = "the address asks for a login or is none of a file";
/// First bytes of a file that [`foreign`] needs.
pub const HEAD: usize = 64;

/// The first bytes of a file, [`HEAD`] at most.
pub fn head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// What begins with these bytes, and how to get the right file, if it is a kind that is no data and no weights.
pub fn foreign(head: &[u8]) -> Option<(&'static str, Option<&'static str>)> {
    let head = head[..head.len().min(HEAD)].trim_ascii_start().to_ascii_lowercase();
    let found = FOREIGN.iter().find(|(magic, ..)| head.starts_with(magic));
    found.map(|&(_, what, hint)| (what, hint))
}

/// Paths of `name` for a program away from its source: in `$PAELLA_HOME`, then beside the program.
pub fn at_home(name: &str) -> Vec<PathBuf> {
    let home = std::env::var_os("PAELLA_HOME").filter(|value| !value.is_empty());
    let program = std::env::current_exe().ok();
    let beside = program.as_deref().and_then(Path::parent).map(Path::to_path_buf);
    home.map(PathBuf::from).into_iter().chain(beside).map(|folder| folder.join(name)).collect()
}

/// Free bytes on the disk of `path`, which need not exist. None if the system does not report it.
pub fn free_space(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|a| a.exists()).unwrap_or(Path::new("."));
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    let path = CString::new(there.as_os_str().as_bytes()).ok()?;
    // SAFETY: a plain struct of numbers, valid when zeroed, and filled by the call.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: a C string and a place for the answer.
    let code = unsafe { libc::statvfs(path.as_ptr(), &mut stat) };
    (code == 0).then(|| stat.f_bavail * stat.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_a_folder_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/file");
        write(&path, b"one").expect("written");
        write(&path, b"two").expect("replaced");
        assert_eq!(fs::read(&path).expect("read"), b"two");
        assert_eq!(fs::read_dir(path.parent().expect("new")).expect("listed").count(), 1);
        assert!(write(folder.path(), b"three").is_err());
        assert!(write(Path::new("/dev/null"), b"four").is_err());
    }

    #[test]
    fn folders_change_places() {
        let root = tempfile::tempdir().expect("a folder");
        let at = |name: &str| root.path().join(name);
        for round in ["one", "two"] {
            write(&at("new/file"), round.as_bytes()).expect("written");
            put_folder(&at("new"), &at("there")).expect("put");
            assert_eq!(fs::read(at("there/file")).expect("read"), round.as_bytes());
            assert!(!at("new").exists());
        }
        assert!(free_space(&at("not/yet/there")).is_some_and(|bytes| bytes > 0));
    }
}
