//! Complete training runs on a stream.

use crate::cli::{self, Workspace, assert_refused};
use crate::survive::{command, lines};
use crate::train::{exclusive, run, same_weights, smoke};
use paella::checkpoint::{self, SaveConfig};
use paella::config::{RunConfig, to_ron};
use paella::data::shards::ShardReader;
use paella::data::stream::{Mode, StreamConfig};
use paella::train::{self, Resume, RunOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use tempfile::tempdir;

/// Six shards of 16 emoji each. The last one is cut off.
pub fn emoji(folder: &Path) -> String {
    let source =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/emoji/emoji-train-00000.tar.gz");
    let samples: Vec<_> = ShardReader::open(&source).unwrap().take(96).flatten().collect();
    for (i, part) in samples.chunks(16).enumerate() {
        let files = |s: &paella::data::shards::RawSample| {
            let txt = s.txt.clone().unwrap_or_default().into_bytes();
            [(format!("{}.webp", s.key), s.image.clone()), (format!("{}.txt", s.key), txt)]
        };
        let bytes = super::make::tar(&part.iter().flat_map(files).collect::<Vec<_>>());
        let end = if i == 5 { bytes.len() / 2 } else { bytes.len() };
        std::fs::write(folder.join(format!("emoji-{i}.tar")), &bytes[..end]).unwrap();
    }
    format!("{}/emoji-{{0..5}}.tar", folder.display())
}

/// The smoke config on that stream.
pub fn config(folder: &Path, tokenizer: u64, denoiser: u64) -> RunConfig {
    let mut config = smoke(tokenizer, denoiser);
    config.data.stream = Some(StreamConfig {
        shards: vec![emoji(folder)],
        mode: Mode::Epochs,
        shuffle: 20,
        lanes: 4,
        threads: 2,
        ..StreamConfig::default()
    });
    config
}

#[test]
fn stopped_and_gone_on_with_it_ends_bit_for_bit_the_same() {
    let _turn = exclusive();
    let folder = tempdir().unwrap();
    let config = config(folder.path(), 9, 12);
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let at_once = run(&config, &whole, None);
    let mut in_parts = Vec::new();
    while in_parts.len() < at_once.len() {
        in_parts.extend(run(&config, &parts, Some(5)));
    }
    assert_eq!(at_once, in_parts, "every loss, bit for bit");
    same_weights(&whole, &parts);
    let log = std::fs::read_to_string(whole.join("log.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert!(last["skipped_samples"]["the shard ends early"].as_u64().unwrap() > 0, "{last}");
    // settings of how shards are read may change on resume, settings of what is read may not
    let mut other = config.clone();
    other.data.stream.as_mut().unwrap().threads = 3;
    run(&other, &whole, None);
    other.data.stream.as_mut().unwrap().shuffle = 3;
    let options =
        RunOptions { out: Some(whole.clone()), resume: Resume::Auto, ..RunOptions::default() };
    let error = train::run(&other, &options, &mut |_| true).unwrap_err().to_string();
    assert!(error.contains("data.stream.shuffle"), "{error}");
    // a checkpoint without the position of its stream is refused
    let (_, last) = checkpoint::latest(&parts.join("checkpoints")).unwrap();
    std::fs::remove_file(last.join("stream.jsonl")).unwrap();
    let options = RunOptions { out: Some(parts), resume: Resume::Auto, ..RunOptions::default() };
    let error = train::run(&config, &options, &mut |_| true).unwrap_err().to_string();
    assert!(error.contains("accounts for 0 of"), "{error}");
}

/// The loader alone is measured, on a config's own shards; what is read once has no speed of its own.
#[test]
fn the_speed_of_reading_is_told_with_what_is_left_out() {
    let workspace = Workspace::new();
    let config = config(&workspace.file("."), 1, 1);
    std::fs::write(workspace.file("run.ron"), to_ron(&config)).unwrap();
    let output = workspace.run(&["bench", "run.ron", "--load", "200", "--json"]);
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let load = &said["load"];
    assert!(load["pictures"].as_u64().unwrap() >= 200 && load["threads"] == 2, "{said}");
    let speed = load["pictures"].as_f64().unwrap() / load["seconds"].as_f64().unwrap();
    assert!((load["pictures_per_s"].as_f64().unwrap() / speed - 1.0).abs() < 1e-9, "{said}");
    assert!(load["skipped"]["the shard ends early"].as_u64().unwrap() > 0, "{said}");
    let none = workspace.run(&["bench", &cli::smoke(), "--load", "200"]);
    assert_refused("no shards", &none);
    assert!(cli::text(&none.stderr).contains("only shards are read during training"));
}

fn start(config: &Path, out: &Path) -> Child {
    command(config, out).stdout(Stdio::null()).spawn().unwrap()
}

#[test]
fn killed_on_a_stream_it_ends_with_the_same_weights() {
    let folder = tempdir().unwrap();
    let mut config = config(folder.path(), 20, 40);
    config.train.save = SaveConfig { every: 6, ..SaveConfig::default() };
    let path: PathBuf = folder.path().join("run.ron");
    std::fs::write(&path, to_ron(&config)).unwrap();
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    assert!(start(&path, &whole).wait().unwrap().success());
    for steps in [3, 9, 13, 8] {
        let mut child = start(&path, &killed);
        let (before, begun) = (lines(&killed), Instant::now());
        while lines(&killed) < before + steps && child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(120), "nothing happens");
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
    }
    assert!(start(&path, &killed).wait().unwrap().success());
    same_weights(&whole, &killed);
}

#[test]
fn what_does_not_fit_is_said_with_numbers_that_do() {
    let mut config = smoke(2, 2);
    config.data.stream = Some(StreamConfig {
        shards: vec!["x-{0..".into()],
        lanes: 3,
        threads: 0,
        max_idle_s: 0.0,
        ..StreamConfig::default()
    });
    let faults = config.check();
    let fields: Vec<&str> = faults.iter().map(|fault| fault.place.as_str()).collect();
    let all = ["shards", "threads", "max_idle_s", "lanes"].map(|f| format!("data.stream.{f}"));
    assert_eq!(fields, all);
    assert!(faults[3].hint.contains("`lanes` 2 or 4"), "{faults:?}");
    config.data.stream = Some(StreamConfig::default());
    assert!(config.check()[0].what.contains("no shards"), "{:?}", config.check());
}
