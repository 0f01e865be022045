//! Where a run goes on: checkpoints that are damaged, data that have moved, output that nobody reads, advice that is pasted.

use crate::survive::{command, lines, logged};
use crate::train::{exclusive, same_weights, smoke};
use paella::checkpoint::{self, SaveConfig};
use paella::config::{RunConfig, to_ron};
use paella::data::Source;
use paella::train::{self, Ending, Resume, RunOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// What runs said before their first step.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn note(text: &str) {
    SAID.lock().unwrap().push(text.to_string());
}

struct Done {
    ending: Result<Ending, String>,
    losses: Vec<f64>,
    /// Step of the first update of this call.
    first: Option<u64>,
    said: String,
}

/// Runs up to `steps` updates. The caller holds `exclusive`.
fn go(config: &RunConfig, out: &Path, options: RunOptions) -> Done {
    SAID.lock().unwrap().clear();
    let options = RunOptions { out: Some(out.into()), note: Some(note), ..options };
    let (mut losses, mut first) = (Vec::new(), None);
    let outcome = train::run(config, &options, &mut |record| {
        first.get_or_insert(record.step);
        losses.push(record.loss);
        true
    });
    let ending = outcome.map(|outcome| outcome.ending).map_err(|e| e.to_string());
    Done { ending, losses, first, said: SAID.lock().unwrap().join("\n") }
}

fn resume(resume: Resume, max_steps: u64) -> RunOptions {
    RunOptions { resume, max_steps: Some(max_steps), ..RunOptions::default() }
}

/// A run of two tokenizer and five denoiser updates, with checkpoints after denoiser steps 4 and 5.
fn stopped(out: &Path) -> RunConfig {
    let mut config = smoke(2, 9);
    config.train.save = SaveConfig { every: 2, ..SaveConfig::default() };
    assert_eq!(go(&config, out, resume(Resume::No, 7)).ending, Ok(Ending::Limit));
    config
}

#[test]
fn a_run_whose_checkpoints_cannot_be_understood_is_never_begun_again() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let config = stopped(&out);
    let at = |step: u64, file: &str| out.join(format!("checkpoints/denoiser-{step:07}/{file}"));
    let cut = |path: PathBuf, share: usize| {
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() * share / 10]).unwrap();
        (path, bytes)
    };
    for (file, share, why) in [
        ("progress.ron", 0, "the file is empty"),
        ("progress.ron", 5, "this is no progress"),
        ("config.ron", 5, "config.ron"),
        ("denoiser.safetensors", 9, "the file is cut off"),
        ("optim.safetensors", 0, "the file is cut off"),
    ] {
        let (path, whole) = cut(at(5, file), share);
        let refused = go(&config, &out, resume(Resume::Must, 1)).ending.unwrap_err();
        for part in [why, file, "`--resume auto` goes on from denoiser-0000004"] {
            assert!(refused.contains(part), "{file}: {part} is not in\n{refused}");
        }
        let refused = go(&config, &out, resume(Resume::No, 1)).ending.unwrap_err();
        assert!(refused.contains("holds checkpoints of a run"), "{refused}");
        std::fs::write(path, whole).unwrap();
    }
    std::fs::remove_file(at(5, "ema.safetensors")).unwrap();
    let auto = go(&config, &out, resume(Resume::Auto, 1));
    assert_eq!((auto.ending, auto.first), (Ok(Ending::Limit), Some(5)));
    for part in ["ema.safetensors", "going on from denoiser-0000004"] {
        assert!(auto.said.contains(part), "{part} is not in\n{}", auto.said);
    }
    // none is whole any more
    for entry in std::fs::read_dir(out.join("checkpoints")).unwrap() {
        std::fs::write(entry.unwrap().path().join("progress.ron"), "").unwrap();
    }
    for how in [Resume::Auto, Resume::Must] {
        let done = go(&config, &out, resume(how, 1));
        let error = done.ending.unwrap_err();
        assert!(
            error.contains("progress.ron") && error.contains("no checkpoint here is whole"),
            "{error}"
        );
        assert_eq!(done.first, None);
    }
    // what is not a folder cannot be listed
    std::fs::remove_dir_all(out.join("checkpoints")).unwrap();
    std::fs::write(out.join("checkpoints"), "").unwrap();
    let error = go(&config, &out, resume(Resume::Auto, 1)).ending.unwrap_err();
    assert!(error.contains("the checkpoints cannot be listed"), "{error}");
}

#[test]
fn an_end_at_the_last_step_is_no_stop() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let config = smoke(2, 3);
    assert_eq!(go(&config, folder.path(), resume(Resume::Auto, 4)).ending, Ok(Ending::Limit));
    assert_eq!(go(&config, folder.path(), resume(Resume::Auto, 1)).ending, Ok(Ending::Finished));
}

/// Twelve small pictures with captions.
pub fn pictures(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    for i in 0..12u8 {
        let picture =
            image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([20 * i, x as u8 * 8, y as u8 * 8]));
        picture.save(folder.join(format!("{i:02}.png"))).unwrap();
        std::fs::write(folder.join(format!("{i:02}.txt")), format!("picture {i}")).unwrap();
    }
}

#[test]
fn data_that_have_moved_are_named_and_the_run_goes_on_exactly() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let (old, new) = (root.join("old/pictures"), root.join("elsewhere"));
    pictures(&old);
    let from = |place: &Path| {
        let mut config = smoke(3, 5);
        (config.data.source, config.data.groups) = (Source::Folder(place.into()), Vec::new());
        config
    };
    let whole = go(&from(&old), &root.join("whole"), resume(Resume::No, 100));
    assert_eq!(whole.ending, Ok(Ending::Finished));
    let out = root.join("parts");
    let mut losses = go(&from(&old), &out, resume(Resume::No, 2)).losses;
    // spelled otherwise
    let spelled = root.join("./old/../old/pictures/");
    let done = go(&from(&spelled), &out, resume(Resume::Must, 2));
    assert_eq!(done.ending, Ok(Ending::Limit));
    losses.extend(done.losses);
    // moved
    std::fs::rename(&old, &new).unwrap();
    let pair = |a: &Path, b: &Path| (a.display().to_string(), b.display().to_string());
    let error = go(&from(&new), &out, resume(Resume::Must, 1)).ending.unwrap_err();
    let flag = format!("--moved '{}={}'", old.display(), new.display());
    assert!(error.contains("the config changed") && error.contains(&flag), "{error}");
    for config in [from(&new), from(&old)] {
        // with the config as it was, and with one that names the new place
        let options = RunOptions { moved: vec![pair(&old, &new)], ..resume(Resume::Must, 1) };
        let done = go(&config, &out, options);
        assert_eq!(done.ending, Ok(Ending::Limit));
        losses.extend(done.losses);
    }
    // once moved, the config of before is told the same way again, not the way back
    let error = go(&from(&old), &out, resume(Resume::Must, 1)).ending.unwrap_err();
    assert!(error.contains(&format!("add `{flag}` to the line")), "{error}");
    // moved again: what the hint adds to the line works
    let third = root.join("third");
    std::fs::rename(&new, &third).unwrap();
    let mut moves = vec![pair(&old, &third)];
    let options = RunOptions { moved: moves.clone(), ..resume(Resume::Must, 1) };
    let error = go(&from(&old), &out, options).ending.unwrap_err();
    let added = format!("add `--moved '{}={}'` to the line", new.display(), third.display());
    assert!(error.contains(&added), "{error}");
    moves.push(pair(&new, &third));
    let done = go(&from(&old), &out, RunOptions { moved: moves, ..resume(Resume::Must, 1) });
    assert_eq!(done.ending, Ok(Ending::Limit));
    losses.extend(done.losses);
    let last = go(&from(&third), &out, resume(Resume::Must, 100));
    losses.extend(last.losses);
    assert_eq!(losses, whole.losses, "every loss, bit for bit");
    same_weights(&root.join("whole"), &out);
    // a flag that does nothing
    let options =
        RunOptions { moved: vec![pair(Path::new("/nowhere"), &third)], ..resume(Resume::Must, 1) };
    let error = go(&from(&third), &out, options).ending.unwrap_err();
    assert!(error.contains("nothing at or below `/nowhere`"), "{error}");
}

#[test]
fn data_that_have_changed_under_a_run_are_said_once() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let (all, out) = (folder.path().join("pictures"), folder.path().join("out"));
    pictures(&all);
    let mut config = smoke(3, 30);
    (config.data.source, config.data.groups) = (Source::Folder(all.clone()), Vec::new());
    let changed = |done: &Done| done.said.matches("the data have changed").count();
    assert_eq!(changed(&go(&config, &out, resume(Resume::No, 2))), 0);
    assert_eq!(changed(&go(&config, &out, resume(Resume::Must, 2))), 0);
    // one is replaced by another, which has its name and its caption
    std::fs::copy(all.join("05.png"), all.join("07.png")).unwrap();
    let done = go(&config, &out, resume(Resume::Must, 2));
    assert_eq!((changed(&done), &done.ending), (1, &Ok(Ending::Limit)), "{}", done.said);
    assert!(done.said.contains("as then, but not the same ones"), "{}", done.said);
    assert_eq!(changed(&go(&config, &out, resume(Resume::Must, 2))), 0, "they are its own now");
    // one has another caption, then some are gone
    std::fs::write(all.join("08.txt"), "another").unwrap();
    let done = go(&config, &out, resume(Resume::Must, 2));
    assert!(done.said.contains("as then, but not the same ones"), "{}", done.said);
    for i in 0..6 {
        std::fs::remove_file(all.join(format!("{i:02}.png"))).unwrap();
    }
    let done = go(&config, &out, resume(Resume::Must, 2));
    assert!(done.said.contains("pictures then,") && done.said.contains(" now"), "{}", done.said);
    // a checkpoint of an earlier version says nothing
    let (_, last) = paella::checkpoint::latest(&out.join("checkpoints")).unwrap();
    let progress = std::fs::read_to_string(last.join("progress.ron")).unwrap();
    let (before, _) = progress.split_once("    data:").unwrap(); // its last field
    std::fs::write(last.join("progress.ron"), format!("{before})")).unwrap();
    std::fs::write(all.join("09.txt"), "another").unwrap();
    let done = go(&config, &out, resume(Resume::Must, 2));
    assert_eq!((changed(&done), &done.ending), (0, &Ok(Ending::Limit)), "{}", done.said);
}

#[test]
fn shards_that_have_changed_under_a_run_are_said() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let config = crate::stream::training::config(folder.path(), 1, 9);
    let out = folder.path().join("out");
    let said = |how| go(&config, &out, resume(how, 2)).said;
    assert!(!said(Resume::No).contains("the data have changed"));
    assert!(!said(Resume::Must).contains("the data have changed"));
    std::fs::copy(folder.path().join("emoji-1.tar"), folder.path().join("emoji-5.tar")).unwrap();
    let text = said(Resume::Must);
    assert!(text.contains("6 shards as then, but not the same ones"), "{text}");
}

#[test]
fn shards_that_have_moved_are_named_on_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    std::fs::create_dir(&old).unwrap();
    let mut config = crate::stream::training::config(&old, 1, 4);
    let pattern = old.join("*.tar").display().to_string();
    config.data.stream.as_mut().unwrap().shards = vec![pattern];
    let path = folder.path().join("run.ron");
    std::fs::write(&path, to_ron(&config)).unwrap();
    let run = |more: &[&str]| {
        let mut run = Command::new(env!("CARGO_BIN_EXE_paella"));
        run.args(["train", "run.ron", "--out", "out", "--steps", "2"]).args(more);
        run.current_dir(folder.path()).env("OMP_NUM_THREADS", "1").stdin(Stdio::null());
        let output = run.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(run(&[]).0, Some(0));
    std::fs::rename(&old, &new).unwrap();
    let (code, said) = run(&["--resume"]);
    assert_eq!(code, Some(1));
    let flag = format!("--resume --out out --moved {}=NEW`", old.display());
    assert!(said.contains(&flag) && said.contains("lies elsewhere now"), "{said}");
    let (code, said) = run(&["--resume", "--moved", "old=new"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(logged(&folder.path().join("out")).len(), 4);
    // a place that the command line names
    let set = format!("data.source=Folder(\"{}\")", folder.path().join("gone").display());
    let (_, said) = run(&["--resume", "--set", "data.stream=None", "--set", &set]);
    assert!(said.contains("/gone=NEW`") && said.contains("--set data.stream=None"), "{said}");
    // a name that has the sign between both places
    std::fs::rename(&new, folder.path().join("n=ew")).unwrap();
    let (code, said) = run(&["--resume", "--moved", "old=n=ew", "--moved", "new=n=ew"]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_start_that_fails_leaves_no_folders() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let mut config = smoke(2, 2);
    config.data.source = Source::Folder(folder.path().join("no pictures"));
    let out = folder.path().join("runs/new");
    assert!(go(&config, &out, resume(Resume::Auto, 1)).ending.is_err());
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn a_training_that_has_diverged_says_so_and_its_model_too() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let mut config = smoke(2, 4);
    (config.train.optim.lr, config.train.optim.weight_decay) = (1e3, 1.0); // each step grows the weights
    (config.train.optim.warmup, config.train.max_bad) = (0, 100);
    let error = go(&config, folder.path(), resume(Resume::No, 100)).ending.unwrap_err();
    assert!(error.contains("the training has diverged") && error.contains("lower `lr`"), "{error}");
    assert!(!folder.path().join("model").exists());
    // a model of an earlier version, which wrote such weights
    let (model, finite) = (folder.path().join("model"), smoke(1, 1));
    let nets = paella::networks::Networks::new(&finite, tch::Device::Cpu).unwrap();
    nets.save(&model, true).unwrap();
    let path = model.join("denoiser.safetensors");
    let mut weights = paella::weights::read(&path).unwrap();
    let (name, xs) =
        weights.first_key_value().map(|(name, xs)| (name.clone(), xs.full_like(f64::NAN))).unwrap();
    weights.insert(name, xs);
    paella::weights::write(&path, &weights).unwrap();
    let mut sample = Command::new(env!("CARGO_BIN_EXE_paella"));
    sample.args(["sample", "apple", "--model"]).arg(&model).current_dir(folder.path());
    let output = sample.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("are not finite") && said.contains("denoiser.safetensors"), "{said}");
}

#[test]
fn a_checkpoint_of_a_diverged_training_names_the_one_before() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let mut config = smoke(2, 6);
    config.train.save = SaveConfig { every: 1, keep: 3, ..SaveConfig::default() };
    assert_eq!(go(&config, folder.path(), resume(Resume::No, 5)).ending, Ok(Ending::Limit));
    let spoil = |step: u64| {
        let at = folder.path().join(format!("checkpoints/denoiser-{step:07}"));
        let path = at.join("denoiser.safetensors");
        let mut weights = paella::weights::read(&path).unwrap();
        weights.values_mut().for_each(|xs| *xs = xs.full_like(f64::NAN));
        paella::weights::write(&path, &weights).unwrap();
        at
    };
    let spoiled = spoil(3);
    let error = go(&config, folder.path(), resume(Resume::Auto, 1)).ending.unwrap_err();
    let away = folder.path().join("diverged-denoiser-0000003");
    let line = format!("`mv '{}' '{}'`", spoiled.display(), away.display());
    assert!(error.contains("not finite") && error.contains(&line), "{error}");
    assert!(error.contains("goes on from denoiser-0000002"), "{error}");
    std::fs::rename(spoiled, away).unwrap();
    let done = go(&config, folder.path(), resume(Resume::Auto, 1));
    assert_eq!((done.first, done.ending), (Some(3), Ok(Ending::Limit)), "{}", done.said);
}

/// The smoke config as a file, with 100,000 denoiser updates.
fn endless(folder: &Path) -> PathBuf {
    let path = folder.join("run.ron");
    std::fs::write(&path, to_ron(&smoke(4, 100_000))).unwrap();
    path
}

#[test]
fn the_end_of_the_pipe_that_head_reads_stops_with_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let (config, out) = (endless(folder.path()), folder.path().join("out"));
    let mut child = command(&config, &out).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..6 {
        lines.next().unwrap().unwrap();
    }
    drop(lines);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(141), "{said}");
    assert!(said.is_empty(), "{said}");
    let (progress, _) = checkpoint::latest(&out.join("checkpoints")).unwrap();
    assert_eq!(logged(&out).last().unwrap().1, progress.step);
}

#[test]
fn a_full_disk_under_the_output_stops_with_a_checkpoint_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (config, out) = (endless(folder.path()), folder.path().join("out"));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command(&config, &out).stdout(full).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the output cannot be written: No space left"), "{said}");
    assert!(checkpoint::latest(&out.join("checkpoints")).is_some());
}

#[test]
fn the_advice_after_a_stop_works_as_pasted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my run.ron");
    std::fs::write(&path, to_ron(&smoke(2, 100))).unwrap();
    let shell = |line: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).current_dir(folder.path()).env("OMP_NUM_THREADS", "1");
        let output = shell.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{line}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let program = env!("CARGO_BIN_EXE_paella");
    let out = folder.path().join("it's here");
    let said = shell(&format!(
        "{program} train 'my run.ron' --out \"it's here\" --set train.steps=6 --seed 5 --device cpu --steps 3"
    ));
    let line = said.lines().find_map(|line| line.trim().strip_prefix("go on: ")).unwrap();
    assert_eq!(lines(&out), 3);
    assert!(shell(line).contains("finished: "));
    let steps: Vec<u64> = logged(&out).into_iter().map(|(_, step, _)| step).collect();
    assert_eq!(steps, [1, 2, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn whole_checkpoints_stay_where_later_ones_are_damaged() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut config = smoke(2, 9);
    config.train.save = SaveConfig { every: 1, keep: 4, ..SaveConfig::default() };
    assert_eq!(go(&config, &out, resume(Resume::No, 7)).ending, Ok(Ending::Limit));
    let at = |step: u64| out.join(format!("checkpoints/denoiser-{step:07}"));
    for step in [4, 5] {
        std::fs::write(at(step).join("ema.safetensors"), b"cut").unwrap();
    }
    config.train.save.keep = 1;
    for step in 4..=6 {
        let done = go(&config, &out, resume(Resume::Auto, 1));
        assert_eq!((done.first, done.ending), (Some(step), Ok(Ending::Limit)), "{}", done.said);
        assert!(at(step).is_dir(), "the one just written stays, whatever comes after it");
    }
    assert!(!at(3).exists() && !at(5).exists(), "one is kept");
}

#[test]
fn a_saved_model_is_not_trained_over_and_a_failed_start_changes_nothing() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let (out, config) = (folder.path().join("model"), smoke(2, 3));
    let mut other = config.clone();
    other.train.steps += 1;
    std::fs::create_dir(&out).unwrap();
    let words = format!("// my own words\n{}", to_ron(&other));
    std::fs::write(out.join("config.ron"), &words).unwrap();
    let refused = go(&config, &out, resume(Resume::No, 1)).ending.unwrap_err();
    assert!(refused.contains("not of a run") && refused.contains("--out"), "{refused}");
    let read = || std::fs::read_to_string(out.join("config.ron")).unwrap();
    assert_eq!(read(), words);
    // its own config: it stays in its own words
    assert_eq!(go(&other, &out, resume(Resume::No, 1)).ending, Ok(Ending::Limit));
    assert_eq!(read(), words);
    // a run is there now; a start that fails replaces neither its config nor its log
    let log = std::fs::read(out.join("log.jsonl")).unwrap();
    let mut fails = other.clone();
    fails.data.groups = vec!["nope".into()];
    assert!(go(&fails, &out, resume(Resume::No, 1)).ending.is_err());
    assert_eq!((read(), std::fs::read(out.join("log.jsonl")).unwrap()), (words, log));
}
