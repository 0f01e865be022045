//! Commands that shards are read from end together with their reader.

use super::make::{all, config, open, shard, write};
use paella::data::stream::StreamConfig;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::tempdir;

/// Whether any other process has these words in its command line.
fn lives(words: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let line = |entry: std::fs::DirEntry| {
        let own = entry.file_name().to_str() == Some(&std::process::id().to_string());
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if own { String::new() } else { line }
    };
    processes.map(line).any(|line| line.contains(words))
}

fn soon(mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !done() && start.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(10));
    }
    done()
}

/// Whether all processes with these words in their command line end within some seconds.
pub fn gone(words: &str) -> bool {
    soon(|| !lives(words))
}

/// A shard, followed by a pipeline that is silent and does not end.
fn endless(folder: &std::path::Path, sleep: &str) -> StreamConfig {
    write(folder, 1, 6);
    let pattern = format!("pipe:cat {}/x-0.tar; sleep {sleep} | cat", folder.display());
    StreamConfig { max_idle_s: 600.0, ..config(&pattern, 1) }
}

#[test]
fn a_stream_that_is_dropped_leaves_no_command_behind() {
    let folder = tempdir().unwrap();
    let mut stream = open(&endless(folder.path(), "1018"));
    assert_eq!(stream.next(all(2)).unwrap().len(), 2);
    assert!(soon(|| lives("sleep 1018")));
    drop(stream);
    assert!(gone("sleep 1018"));
}

#[test]
#[ignore = "the process that `a_reader_that_is_killed_leaves_no_command_behind` starts"]
fn child_reads_a_command() {
    let folder = tempdir().unwrap();
    let mut stream = open(&endless(folder.path(), "1019"));
    let _ = stream.next(all(100));
}

#[test]
fn a_reader_that_is_killed_leaves_no_command_behind() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "stream::pipe::child_reads_a_command", "--ignored"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert!(soon(|| lives("sleep 1019")));
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    assert!(gone("sleep 1019"));
}

#[test]
fn what_a_command_starts_aside_ends_with_it() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("x.tar");
    std::fs::write(&path, shard(0, 6)).unwrap();
    let pattern = format!("pipe:sleep 1020 >/dev/null 2>&1 & cat {}", path.display());
    let mut stream = open(&config(&pattern, 1));
    stream.next(all(18)).unwrap(); // three times the shard: the first command has ended
    drop(stream);
    assert!(gone("sleep 1020"));
}
