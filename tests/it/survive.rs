//! Runs that are killed, asked to stop, or fail: what is on disk afterwards, and that they resume.

use crate::train::{exclusive, same_weights, smoke};
use paella::checkpoint::{self, SaveConfig};
use paella::config::{RunConfig, to_ron};
use paella::train::{self, Resume, RunOptions};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// `paella train CONFIG --resume auto --out OUT` with one thread. The caller redirects the output.
pub fn command(config: &Path, out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_paella"));
    command
        .args(["train", &config.display().to_string(), "--resume", "auto", "--json", "--out"])
        .arg(out)
        .env("OMP_NUM_THREADS", "1")
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// The tests themselves may run under nohup, whose children would ignore hangups.
fn start(config: &Path, out: &Path) -> Child {
    start_with_hangups(config, out, libc::SIG_DFL)
}

/// A training for which a hangup has this meaning: `SIG_IGN` is what nohup gives.
fn start_with_hangups(config: &Path, out: &Path, meaning: libc::sighandler_t) -> Child {
    let mut command = command(config, out);
    let set = move || {
        // SAFETY: between fork and exec only this call, which is safe there.
        unsafe { libc::signal(libc::SIGHUP, meaning) };
        Ok(())
    };
    // SAFETY: as above.
    unsafe { command.pre_exec(set) };
    command.stdout(Stdio::piped()).spawn().unwrap()
}

fn send(signal: &str, child: &Child) {
    let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
}

fn finish(config: &Path, out: &Path) -> Output {
    let output = start(config, out).wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The smoke config as a file, with a checkpoint every few steps.
fn write_config(folder: &Path, tokenizer: u64, denoiser: u64) -> std::path::PathBuf {
    let mut config: RunConfig = smoke(tokenizer, denoiser);
    config.train.save = SaveConfig { every: 7, ..SaveConfig::default() };
    let path = folder.join("run.ron");
    std::fs::write(&path, to_ron(&config)).unwrap();
    path
}

/// Number of steps in the log.
pub fn lines(out: &Path) -> usize {
    std::fs::read_to_string(out.join("log.jsonl")).map_or(0, |text| text.lines().count())
}

/// Waits until `done`, until the process ends, or for two minutes.
fn wait_for(child: &mut Child, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() && child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_secs(120), "nothing happens");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn killed_at_twenty_points_it_ends_with_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path(), 60, 100);
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    finish(&config, &whole);
    let mut state: u64 = 0x9e37_79b9;
    let mut kills = 0;
    while kills < 20 {
        let mut child = start(&config, &killed);
        // some steps after the point of resume, then a pause that may fall into a write
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let (steps, pause) = (1 + (state >> 40) % 16, (state >> 20) % 12);
        let before = lines(&killed);
        wait_for(&mut child, || lines(&killed) >= before + steps as usize);
        std::thread::sleep(Duration::from_millis(pause));
        if child.try_wait().unwrap().is_some() {
            // fewer steps were left than that: start over in another folder
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            same_weights(&whole, &killed);
            std::fs::remove_dir_all(&killed).unwrap();
            continue;
        }
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        kills += 1;
    }
    finish(&config, &killed);
    same_weights(&whole, &killed);
    let leftovers = std::fs::read_dir(killed.join("checkpoints")).unwrap().flatten();
    let hidden = leftovers.filter(|e| e.file_name().to_string_lossy().starts_with('.')).count();
    assert_eq!(hidden, 0, "half-written checkpoints are swept away");
    // the log goes on behind each checkpoint: every step once, no line torn
    assert_eq!(logged(&killed), logged(&whole));
}

/// (phase, step, loss) of each line of the log.
pub fn logged(out: &Path) -> Vec<(String, u64, f64)> {
    let log = std::fs::read_to_string(out.join("log.jsonl")).unwrap();
    let row = |line: &str| {
        let row: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let phase = row["phase"].as_str().unwrap().to_string();
        (phase, row["step"].as_u64().unwrap(), row["loss"].as_f64().unwrap())
    };
    log.lines().map(row).collect()
}

#[test]
fn asked_to_leave_it_writes_a_checkpoint_first() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path(), 40, 100_000);
    let out = folder.path().join("out");
    for (signal, code) in [("TERM", 143), ("USR1", 138), ("HUP", 129), ("INT", 130)] {
        let mut child = start(&config, &out);
        let before = lines(&out);
        wait_for(&mut child, || lines(&out) > before + 3);
        send(signal, &child);
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains("\"finished\":false"), "{text}");
        let (progress, _) = checkpoint::latest(&out.join("checkpoints")).unwrap();
        let log = std::fs::read_to_string(out.join("log.jsonl")).unwrap();
        let last: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        assert_eq!(last["step"], progress.step, "the checkpoint is of the last step");
    }
}

#[test]
fn a_second_training_in_a_folder_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path(), 2, 100_000);
    let out = folder.path().join("out");
    let mut first = start(&config, &out);
    wait_for(&mut first, || lines(&out) > 3);
    let second = command(&config, &out).output().unwrap();
    let said = String::from_utf8_lossy(&second.stdout); // as JSON
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("another process is training in this folder"), "{said}");
    let before = lines(&out);
    wait_for(&mut first, || lines(&out) > before + 3);
    send("TERM", &first);
    first.wait().unwrap();
    let log = std::fs::read_to_string(out.join("log.jsonl")).unwrap();
    let step =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].clone();
    let steps: Vec<_> = log.lines().filter(|line| line.contains("denoiser")).map(step).collect();
    assert!(steps.iter().zip(1..).all(|(step, n)| *step == n), "none twice: {steps:?}");
}

#[test]
fn ctrl_c_ends_a_script_with_a_code_of_its_own() {
    use std::io::{BufRead, BufReader, Read};
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script.txt");
    std::fs::write(&script, "train 100000\nset sample.steps 5\n").unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/smoke.ron");
    let mut child = Command::new(env!("CARGO_BIN_EXE_paella"))
        .args(["--json", "--script", &script.display().to_string()])
        .args(["--model", &model.display().to_string(), "--runs"])
        .arg(folder.path())
        .env("OMP_NUM_THREADS", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    while !said.contains("\"step\"") {
        assert!(output.read_line(&mut said).unwrap() > 0, "it ends before it trains: {said}");
    }
    send("INT", &child);
    output.read_to_string(&mut said).unwrap();
    let rest = child.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&rest.stderr);
    assert_eq!(rest.status.code(), Some(130), "{err}");
    assert!(err.contains("script.txt:2; from there on nothing is run"), "{err}");
    assert!(said.contains("stopped after") && !said.contains("sample.steps"), "{said}");
}

#[test]
fn under_nohup_a_hangup_does_not_end_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path(), 2, 100_000);
    let out = folder.path().join("out");
    let mut child = start_with_hangups(&config, &out, libc::SIG_IGN);
    wait_for(&mut child, || lines(&out) > 3);
    send("HUP", &child);
    let before = lines(&out);
    wait_for(&mut child, || lines(&out) > before + 5);
    send("TERM", &child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143), "{}", String::from_utf8_lossy(&output.stdout));
}

/// `paella` with these arguments, which gets no more memory than this.
fn with_memory(bytes: u64, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_paella"));
    command.args(args).env("OMP_NUM_THREADS", "1").stdin(Stdio::null());
    let limit = move || {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
        // SAFETY: between fork and exec only this call, which is safe there.
        match unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: as above.
    unsafe { command.pre_exec(limit) };
    command.output().unwrap()
}

#[test]
fn memory_that_the_system_does_not_give_is_reported_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = smoke(2, 2);
    config.model.levels[0].c_hidden = 60_000; // one of its weights alone has 57.6 GB
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (run, script, out) = (file("large.ron"), file("script"), file("out"));
    std::fs::write(&run, to_ron(&config)).unwrap();
    std::fs::write(&script, format!("load {run}\n")).unwrap();
    for args in [&["--script", &script][..], &["train", &run, "--out", &out]] {
        let output = with_memory(16 << 30, args);
        let text = String::from_utf8_lossy(&output.stderr);
        let first = "error: out of memory: 57.6 GB were asked for";
        assert!(text.contains(first) && text.contains("`micro_batch`"), "{args:?}: {text}");
        assert!(!text.contains("fault of this program"), "{args:?}: {text}");
        assert_eq!(output.status.code(), Some(1), "{args:?}");
    }
    assert!(!Path::new(&out).exists(), "a start that fails leaves no folder");
}

fn in_process(config: &RunConfig, out: &Path, max_steps: u64) -> Result<train::Outcome, String> {
    let options = RunOptions {
        out: Some(out.to_path_buf()),
        resume: Resume::Auto,
        max_steps: Some(max_steps),
        ..RunOptions::default()
    };
    train::run(config, &options, &mut |_| true).map_err(|e| e.to_string())
}

#[test]
fn checkpoints_are_kept_by_the_policy() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let mut config = smoke(2, 12);
    config.train.save = SaveConfig { every: 2, keep: 2, keep_every: 4, ..SaveConfig::default() };
    in_process(&config, folder.path(), 1000).unwrap();
    let entries = std::fs::read_dir(folder.path().join("checkpoints")).unwrap().flatten();
    let mut names: Vec<_> = entries.map(|e| e.file_name().into_string().unwrap()).collect();
    names.sort();
    let expected = ["denoiser-0000004", "denoiser-0000008", "denoiser-0000010", "denoiser-0000012"];
    assert_eq!(names, expected);
}

#[test]
fn sheets_of_pictures_are_written_when_due() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let mut config = smoke(2, 6);
    (config.train.log.samples_every, config.train.log.samples) = (3, 4);
    in_process(&config, folder.path(), 1000).unwrap();
    for step in [3, 6] {
        let file = |ending: &str| folder.path().join(format!("samples/{step:07}.{ending}"));
        let captions = std::fs::read_to_string(file("txt")).unwrap();
        assert_eq!(captions.lines().count(), 4, "{captions}");
        let sheet = paella::image::load(&file("png")).unwrap();
        assert!(sheet.width() >= 480 && sheet.height() > 4 * 32, "{:?}", sheet.dimensions());
    }
    // previews do not change the result
    let plain = tempfile::tempdir().unwrap();
    config.train.log.samples_every = 0;
    in_process(&config, plain.path(), 1000).unwrap();
    same_weights(folder.path(), plain.path());
}

#[test]
fn updates_without_a_finite_gradient_are_skipped_counted_and_end_the_run() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let mut config = smoke(2, 40);
    (config.train.optim.lr, config.train.optim.weight_decay) = (1e3, 1.0); // each step grows the weights
    (config.train.optim.warmup, config.train.max_bad) = (0, 3);
    let error = in_process(&config, folder.path(), 1000).unwrap_err();
    assert!(error.contains("3 updates in a row without a finite gradient"), "{error}");
    let log = std::fs::read_to_string(folder.path().join("log.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert!(last["skipped"].as_u64().unwrap() >= 3, "{last}");
}

#[test]
fn what_can_be_known_is_said_before_the_first_step() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let config = smoke(2, 2);
    // a file exists where the folder should be
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = in_process(&config, &file, 1).unwrap_err();
    assert!(error.contains("file") && error.contains("--out"), "{error}");
    let options = RunOptions {
        out: Some(folder.path().join("new")),
        resume: Resume::Must,
        ..RunOptions::default()
    };
    let error = train::run(&config, &options, &mut |_| true).unwrap_err().to_string();
    assert!(error.contains("no checkpoint to go on from"), "{error}");
    let mut config = smoke(2, 2);
    config.train.save.keep = 1 << 20;
    let error = in_process(&config, &folder.path().join("large"), 1).unwrap_err();
    assert!(error.contains("the disk has"), "{error}");
}
