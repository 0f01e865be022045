//! Work that waits for data, or that has not begun, ends at a signal: with a checkpoint if there is something to keep.

use super::training::{config, emoji};
use crate::cli::Workspace;
use crate::survive::lines;
use crate::train::{exclusive, same_weights};
use paella::checkpoint;
use paella::config::{RunConfig, to_ron};
use paella::networks::Networks;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tch::Device;

/// Time in which an answer to a signal counts as one: far below `max_idle_s`, far above a slow machine's second.
const SOON: Duration = Duration::from_secs(20);

fn send(signal: libc::c_int, child: &Child) {
    // SAFETY: a signal to a child that has not been waited for.
    assert_eq!(unsafe { libc::kill(child.id() as libc::pid_t, signal) }, 0);
}

/// A process that does not outlive its test.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How the process ends, which it has to do soon.
fn ended(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(start.elapsed() < SOON, "no answer to the signal");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn wait_until(child: &mut Child, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        assert!(start.elapsed() < Duration::from_secs(120), "nothing happens");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A run of so many steps on one shard that ends only once the file `go` is there. `first`: the shard comes before the wait.
fn slow(folder: &Path, (tokenizer, denoiser): (u64, u64), first: bool) -> RunConfig {
    let mut config = config(folder, tokenizer, denoiser);
    (config.tokenizer.train.batch, config.train.global_batch) = (4, 4);
    emoji(folder);
    let at = |name: &str| folder.join(name).display().to_string();
    let (shard, wait) = (at("emoji-0.tar"), format!("test -f {} || sleep 600", at("go")));
    let command =
        if first { format!("cat {shard}; {wait}") } else { format!("{wait}; cat {shard}") };
    let stream = config.data.stream.as_mut().unwrap();
    (stream.shards, stream.lanes, stream.threads) = (vec![format!("pipe:{command}")], 1, 1);
    (stream.shuffle, stream.max_idle_s) = (1, 3600.0);
    config
}

fn start(workspace: &Workspace, args: &[&str]) -> Started {
    let mut command = workspace.command(args);
    Started(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
}

#[test]
fn a_training_that_waits_for_its_data_stops_with_a_checkpoint_and_goes_on_exactly() {
    // in the step that fits the codebook, in the second stage, before the first step
    for (steps, first, signal, code) in [
        ((6, 4), true, libc::SIGTERM, 143),
        ((2, 8), true, libc::SIGINT, 130),
        ((6, 4), false, libc::SIGTERM, 143),
    ] {
        let workspace = Workspace::new();
        let config = slow(&workspace.file("."), steps, first);
        std::fs::write(workspace.file("run.ron"), to_ron(&config)).unwrap();
        let mut child = start(&workspace, &["train", "run.ron", "--out", "out"]);
        let out = workspace.file("out");
        let mut done = 0;
        // until it stands still: all of the shard that there is has been used
        wait_until(&mut child.0, || {
            let before = std::mem::replace(&mut done, lines(&out));
            std::thread::sleep(Duration::from_millis(1500));
            out.join("log.jsonl").is_file() && done == before && (done > 0) == first
        });
        send(signal, &child.0);
        assert_eq!(ended(&mut child.0).code(), Some(code));
        let (progress, _) = checkpoint::latest(&out.join("checkpoints")).unwrap();
        let before = if done > 2 && steps.0 == 2 { 2 } else { 0 }; // of the first stage
        assert_eq!(progress.step as usize, done - before, "the last whole step");
        // goes on as if nothing had been
        std::fs::write(workspace.file("go"), "").unwrap();
        for args in [
            &["train", "run.ron", "--out", "out", "--resume"][..],
            &["train", "run.ron", "--out", "whole"],
        ] {
            let output = workspace.run(args);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        same_weights(&workspace.file("whole"), &out);
    }
}

#[test]
fn a_precompute_that_waits_for_a_shard_heeds_signals_and_leaves_no_folder() {
    let workspace = Workspace::new();
    let mut config = slow(&workspace.file("."), (6, 4), false);
    {
        let _turn = exclusive();
        Networks::new(&config, Device::Cpu).unwrap().save(&workspace.file("model"), false).unwrap();
    }
    config.weights.tokenizer = Some("model/tokenizer.safetensors".into());
    std::fs::write(workspace.file("run.ron"), to_ron(&config)).unwrap();
    for (signal, code) in [(libc::SIGTERM, 143), (libc::SIGINT, 130)] {
        let mut child = start(&workspace, &["precompute", "run.ron", "--out", "new/made"]);
        wait_until(&mut child.0, || workspace.file("new/made").exists());
        send(signal, &child.0);
        assert_eq!(ended(&mut child.0).code(), Some(code));
        assert!(!workspace.file("new").exists());
    }
    std::fs::write(workspace.file("go"), "").unwrap();
    let output = workspace.run(&["precompute", "run.ron", "--out", "new/made"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(workspace.file("new/made/shard-00000.tar").is_file());
}

/// The published sizes take a minute to build: a signal meanwhile ends the process, since there is nothing to save.
#[test]
fn a_run_that_is_still_building_its_networks_heeds_signals_at_once() {
    let workspace = Workspace::new();
    std::fs::write(workspace.file("large.ron"), "(data: (size: 256), name: \"large\")").unwrap();
    for (args, signal) in [
        (&["train", "large.ron"][..], libc::SIGTERM),
        (&["train", "large.ron"], libc::SIGINT),
        (&["bench", "large.ron"], libc::SIGINT),
    ] {
        let mut child = start(&workspace, &[args, &["--device", "cpu"]].concat());
        let mut said = String::new();
        let mut lines = BufReader::new(child.0.stderr.take().unwrap()); // open until the end
        lines.read_line(&mut said).unwrap();
        assert!(said.contains("default sizes") && said.contains("configs/smoke.ron"), "{said}");
        send(signal, &child.0);
        assert_eq!(ended(&mut child.0).signal(), Some(signal), "{args:?}");
        assert!(!workspace.file("runs").exists());
    }
}

#[test]
fn precompute_looks_for_its_files_before_it_builds_anything() {
    let workspace = Workspace::new();
    let text = "(data: (size: 256, stream: Some((shards: [\"gone-{0..2}.tar\"]))), weights: (tokenizer: \
                Some(\"tokenizer.pt\"), text: Some(\"byt5.pt\")), train: (train_text: false), stages: [Denoiser])";
    std::fs::write(workspace.file("x.ron"), text).unwrap();
    let said = |args: &[&str]| {
        let start = Instant::now();
        let output = workspace.run(&[&["precompute", "x.ron", "--out", "new/made"], args].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(start.elapsed() < SOON && !workspace.file("new").exists(), "{said}");
        said
    };
    let error = said(&[]);
    assert!(
        error.contains("there is no file `tokenizer.pt`") && !error.contains("byt5.pt"),
        "{error}"
    );
    assert!(error.contains("3 of 3 shards are not there, first gone-0.tar"), "{error}");
    assert!(error.contains("x.ron:1:") && error.contains("weights.tokenizer"), "{error}");
    assert!(said(&["--text"]).contains("there is no file `byt5.pt`"));
    // the files are there and hold nothing of use: of the published sizes only the tokenizer is built
    std::fs::write(workspace.file("tokenizer.pt"), b"\x02\0\0\0\0\0\0\0{}").unwrap(); // safetensors without a tensor
    std::fs::write(workspace.file("gone-1.tar"), "no shard").unwrap();
    let error = said(&[]);
    assert!(error.starts_with("`model` has the default sizes"), "{error}");
    assert!(error.contains("tokenizer.pt"), "{error}");
    std::fs::write(workspace.file("none.ron"), "(data: (size: 256))").unwrap();
    let none = workspace.run(&["precompute", "none.ron", "--out", "new/made"]);
    let none = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(none.contains("names no shards") && !workspace.file("new").exists(), "{none}");
}
