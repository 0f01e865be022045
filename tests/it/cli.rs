//! The program as a process: scripts, subcommands, exit codes, invalid input.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A folder to run in, and the untrained smoke model.
pub struct Workspace {
    dir: TempDir,
}

impl Workspace {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_paella"));
        // One thread: several programs at once run slower with waiting threads.
        command.args(args).current_dir(self.dir.path()).env("OMP_NUM_THREADS", "1");
        command.env("XDG_DATA_HOME", self.dir.path()).stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs the lines through a pipe.
    pub fn pipe(&self, lines: impl AsRef<[u8]>) -> Output {
        let mut command = self.command(&["--model", &smoke()]);
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(lines.as_ref()); // it may exit before it has read everything
        child.wait_with_output().unwrap()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

pub fn smoke() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/smoke.ron").display().to_string()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Checks that the program exited by itself with one of its own errors, and without a panic.
pub fn assert_refused(what: &str, output: &Output) {
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{what}: {err}");
    assert!(err.starts_with("error: "), "{what}: {err}");
    assert!(!err.contains("panicked") && !err.contains("internal error"), "{what}: {err}");
    assert!(!err.contains("0x") && !err.contains('\x1b'), "{what}: {err}");
}

#[test]
fn a_lesson_runs_from_a_script() {
    let workspace = Workspace::new();
    let lesson = "# a lesson\ndata\nshow 3\ncaption\nencode\ndecode\ncodebook\nnoise 0.5\npredict\nloss 4\n\
                  sample \"red apple\" steps=2 count=2 seed=1\nstart apple steps=2\nnext\nback\nnext 5\nstep\ntrain 4\n\
                  plot loss\nplot tokens\nplot noise\nplot schedule\nset sample.steps 5\nconfig sample\nconfig diff\n\
                  seed 7\nundo\nexplain noise\nexport mine.ron\nsave model\nload model\nload\nhelp\nhelp train\nquit\n";
    std::fs::write(workspace.file("lesson.txt"), lesson).unwrap();
    let output = workspace.run(&["--model", &smoke(), "--script", "lesson.txt"]);
    let out = text(&output.stdout);
    assert!(output.status.success(), "{}\n{out}", text(&output.stderr));
    assert!(out.starts_with("> data\nemoji: "), "{out}");
    assert!(!out.contains('\x1b'), "colours without a terminal");
    for line in lesson.lines().skip(1) {
        assert!(out.contains(&format!("> {line}\n")), "{line}");
    }
    assert!(out.contains("pub fn add_noise"), "{out}");
    let run = std::fs::read_dir(workspace.file("runs")).unwrap().next().unwrap().unwrap().path();
    assert!(run.join("001-show.png").is_file() && run.join("001-show.txt").is_file());
    let check = workspace.run(&["config", "check", "mine.ron"]);
    assert!(check.status.success(), "{}", text(&check.stderr));
}

#[test]
fn an_error_ends_a_script_with_its_line() {
    let workspace = Workspace::new();
    std::fs::write(workspace.file("s.txt"), "show 0\n\nsample fox stesp=4\nshow 1\n").unwrap();
    let output = workspace.run(&["--model", &smoke(), "--script", "s.txt"]);
    assert_refused("script", &output);
    let err = text(&output.stderr);
    assert!(
        err.contains("unknown key `stesp`") && err.contains("in: s.txt:3: sample fox stesp=4"),
        "{err}"
    );
    assert!(err.contains("hint: did you mean `steps=4`? known: steps"), "{err}");
    assert!(!text(&output.stdout).contains("> show 1"));
}

#[test]
fn the_same_seed_gives_the_same_picture() {
    let workspace = Workspace::new();
    let args = |out| {
        ["sample", "apple", "--steps", "2", "--seed", "9", "--out", out, "--model"]
            .map(String::from)
    };
    for name in ["a.png", "b.png"] {
        let mut all: Vec<String> = args(name).into();
        all.push(smoke());
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let output = workspace.run(&all);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    assert_eq!(
        std::fs::read(workspace.file("a.png")).unwrap(),
        std::fs::read(workspace.file("b.png")).unwrap()
    );
}

#[test]
fn subcommands_answer_in_json() {
    let workspace = Workspace::new();
    let json = |args: &[&str]| -> serde_json::Value {
        let output = workspace.run(args);
        let out = text(&output.stdout);
        serde_json::from_str(out.lines().last().unwrap_or_default())
            .unwrap_or_else(|e| panic!("{args:?}: {e}: {out}{}", text(&output.stderr)))
    };
    let sample =
        json(&["sample", "apple", "--steps", "2", "--gif", "f.gif", "--json", "--model", &smoke()]);
    assert_eq!(sample["blocks"][0]["type"], "picture");
    assert!(std::fs::read(workspace.file("f.gif")).unwrap().starts_with(b"GIF89a"));
    assert_eq!(json(&["show", "3", "--json", "--model", &smoke()])["blocks"][0]["width"], 32);
    assert_eq!(json(&["config", "check", &smoke(), "--json"])["ok"], true);
    assert!(json(&["doctor", "--json"]).as_array().is_some_and(|rows| rows.len() > 5));
    assert!(json(&["config", "check", "missing.ron", "--json"])["errors"][0]["error"].is_string());
    let train = json(&["train", &smoke(), "--steps", "2", "--out", "run", "--json"]);
    assert_eq!(train["finished"], false);
}

#[test]
fn the_command_line_refuses_with_code_2_and_helps_with_0() {
    let workspace = Workspace::new();
    for args in [
        &["--bogus"][..],
        &["sample"],
        &["sample", "x", "--steps", "0"],
        &["sample", "x", "--cfg", "NaN"],
        &["train"],
        &["train", "x.ron", "--minutes", "-1"],
        &["config"],
        &["frobnicate"],
        &["completions", "tcl"],
        &["train", "x.ron", "--model", "y"],
        &["train", "x.ron", "--moved", "nowhere"],
    ] {
        let output = workspace.run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output.stderr));
    }
    for args in [
        &["--help"][..],
        &["train", "--help"],
        &["config", "diff", "--help"],
        &["--version"],
        &["completions", "bash"],
    ] {
        let output = workspace.run(args);
        assert!(output.status.success() && !output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn what_is_not_there_is_named() {
    let workspace = Workspace::new();
    let missing = [
        &["--model", "no-such-model", "show", "0"][..],
        &["--model", "..", "show", "0"],
        &["--model", "", "show", "0"],
        &["train", "missing.ron"],
        &["eval", "missing"],
        &["config", "show", "missing.ron"],
        &["--script", "missing.txt", "--model"],
        &["--device", "tpu", "show", "0", "--model"],
        &["--device", "cuda:99", "show", "0", "--model"],
        &["sample", "x", "--steps", "1", "--out", ".", "--model"],
        &["sample", "x", "--steps", "1", "--gif", ".", "--model"],
        &["show", "no such caption", "--model"],
        &["show", "99999999999999999999", "--model"],
    ];
    let smoke = smoke();
    for args in missing {
        let mut args = args.to_vec();
        if args.last() == Some(&"--model") {
            args.push(&smoke);
        }
        assert_refused(&args.join(" "), &workspace.run(&args));
    }
}

/// Lines that must give an error in a fresh session, never a panic. `lab` runs them all.
pub const BAD_LINES: &[&str] = &[
    "bogus",
    "steps=4",
    "=",
    "\"",
    "sample \"red",
    "sample",
    "sample x steps=0",
    "sample x steps=1001",
    "sample x steps=-1",
    "sample x steps=1e3",
    "sample x steps=99999999999999999999999",
    "sample x steps=",
    "sample x cfg=NaN",
    "sample x cfg=inf",
    "sample x cfg=1..2..3",
    "sample x cfg=-1",
    "sample x temperature=0",
    "sample x temperature=..",
    "sample x seed=-1",
    "sample x seed=18446744073709551616",
    "sample x count=65",
    "sample x count=0",
    "sample x greedy=maybe",
    "sample x steps=2 steps=3",
    "start x count=2",
    "grid",
    "grid x",
    "grid x steps=1,",
    "grid x cfg=1,2 seed=1,2 steps=1,2",
    "attention levels=maybe",
    "attention zzz",
    "morph x to=gone.png",
    "sample x weights=",
    "sample x weights=clip=1",
    "sample x prior=maybe",
    "start",
    "next",
    "back",
    "next 0",
    "back x",
    "show -1",
    "show 999999999999",
    "show 99999999999999999999999999",
    "show no such caption anywhere",
    "show \u{0}",
    "show Cargo.toml",
    "caption 123456789",
    "caption zzzzqqq",
    "encode",
    "encode now",
    "decode",
    "noise",
    "noise 1.01",
    "noise -0.1",
    "noise NaN",
    "noise 0.5 0.5",
    "noise t=0.5",
    "predict",
    "loss",
    "loss 0",
    "loss 257",
    "step 0",
    "step 101",
    "train",
    "train 0",
    "train x",
    "train -5",
    "plot",
    "plot bogus",
    "plot loss",
    "set",
    "set seed",
    "set bogus 1",
    "set sample.steps 0",
    "set sample.steps x",
    "set sample.steps 5 (",
    "set sample.temperature (1",
    "set sample.temperature (1.0, -1.0)",
    "set train.optim.lr -1",
    "set train.global_batch 0",
    "set data.size 33",
    "set data.size 0",
    "set .. ..",
    "config bogus",
    "config a b",
    "data bogus",
    "data emoji size=7",
    "data emoji size=33",
    "data emoji group=nothing",
    "data emoji limit=0",
    "data /etc/hostname.tar",
    "seed",
    "seed -1",
    "seed x",
    "save",
    "save /proc/nowhere",
    "load nothing",
    "load ..",
    "load /etc",
    "load /etc/hostname",
    "export",
    "export x.txt",
    "export /proc/x.ron",
    "export /proc/../proc/x.ron",
    "explain",
    "explain bogus",
    "explain (",
    "help bogus",
    "undo",
    "undo 2",
    "undo 0",
    "undo x",
    "quit now",
    "\u{1F363}",
    "\u{202e}abc",
    "show \"\u{1F363}",
];

#[test]
fn bad_lines_end_the_program_with_an_error() {
    let workspace = Workspace::new();
    for line in BAD_LINES.iter().step_by(15) {
        assert_refused(line, &workspace.pipe(line));
    }
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let workspace = Workspace::new();
    assert_refused("latin-1", &workspace.pipe(b"show caf\xe9\n"));
    let long = format!("show {}", "a".repeat(1 << 20));
    assert_refused("a megabyte", &workspace.pipe(long));
}

#[test]
fn what_has_no_end_is_refused() {
    let workspace = Workspace::new();
    assert_refused("script", &workspace.run(&["--model", &smoke(), "--script", "/dev/zero"]));
    let config = workspace.run(&["config", "check", "/dev/zero"]);
    assert_refused("config", &config);
    assert!(text(&config.stderr).contains("longer than"), "{}", text(&config.stderr));
}

#[test]
fn a_full_disk_is_no_fault_of_this_program() {
    let workspace = Workspace::new();
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for args in [&["doctor"][..], &["config", "show", &smoke()]] {
        let output = workspace.command(args).stdout(full()).output().unwrap();
        assert_refused(args[0], &output);
        assert!(text(&output.stderr).contains("No space left"), "{}", text(&output.stderr));
    }
}

#[test]
fn a_plan_says_where_sizes_are_the_defaults() {
    let workspace = Workspace::new();
    std::fs::write(workspace.file("x.ron"), "(data: (size: 256))").unwrap();
    let output = workspace.run(&["plan", "x.ron", "--device", "l4"]);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(said.contains("default sizes") && said.contains("configs/emoji-32.ron"), "{said}");
}

#[test]
fn odd_but_fine() {
    let workspace = Workspace::new();
    let fine = "\u{feff}help\r\n\r\n  # comment\n\tSHOW 0  # first\nsample '' steps=1\nsample \"a=b \\\"c\\\"\" steps=1 negative=''\nset name x y\n:help\nlast_error";
    let output = workspace.pipe(fine);
    assert!(output.status.success(), "{}", text(&output.stderr));
}
