//! The kit for machines with a GPU, in its smallest form: a folder elsewhere, the slim libtorch, stages that fail.

use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Folders of the libraries that this very program runs on.
fn libraries() -> String {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut folders: Vec<_> = maps
        .lines()
        .filter_map(|line| line.split_once('/').map(|(_, path)| PathBuf::from(format!("/{path}"))))
        .filter(|path| {
            path.to_string_lossy().contains("torch") || path.to_string_lossy().contains("nvidia")
        })
        .filter_map(|path| path.parent().map(|folder| folder.display().to_string()))
        .collect();
    folders.dedup();
    folders.join(":")
}

/// A folder as `pack.sh` makes it, without packing: scripts, the program, data.
fn kit(stages: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(root().join("scripts/gpu")).unwrap().map(Result::unwrap) {
        if entry.path().is_file() {
            fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
    }
    fs::copy(env!("CARGO_BIN_EXE_paella"), dir.path().join("paella")).unwrap();
    symlink(root().join("assets"), dir.path().join("assets")).unwrap();
    fs::write(dir.path().join("stubs.py"), stages).unwrap();
    dir
}

fn run(kit: &TempDir, more: &[&str]) -> (Output, Vec<Value>) {
    let out = kit.path().join("out");
    let mut command = Command::new(kit.path().join("run.sh"));
    command.arg(&out).args(["--device", "cpu", "--tiny", "--stages", "stubs", "--budget", "100"]);
    command.args(more).env("PAELLA_LIBTORCH_LIB", libraries()).env_remove("PAELLA_ASSETS");
    let output = command.current_dir("/").output().unwrap();
    let text = fs::read_to_string(out.join("results.jsonl")).unwrap();
    (output, text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

const STAGES: &str = "
import time
from stages import doctor

def prepare(kit, wanted):
    pass

def broken(kit):
    kit.part('first', figure=1)
    raise ValueError('as it happens')

def endless(kit):
    kit.run(['sleep', '60'])

STAGES = [('broken', broken, 5), ('endless', endless, 3), ('doctor', doctor, 60), ('rest', lambda kit: {'seconds left': kit.left()}, None)]
";

#[test]
fn a_stage_that_fails_or_does_not_end_stops_no_other() {
    let kit = kit(STAGES);
    let (output, lines) = run(&kit, &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said} {}", String::from_utf8_lossy(&output.stderr));
    let end = |name: &str| {
        let found = lines.iter().find(|line| line["stage"] == name && line["seconds"].is_number());
        found.unwrap_or_else(|| panic!("no line of {name}: {lines:?}"))
    };
    assert_eq!(lines[0]["about"]["device"], "cpu");
    assert_eq!((&lines[1]["part"], &lines[1]["figure"]), (&"first".into(), &1.into()));
    assert_eq!(end("broken")["error"], "ValueError: as it happens");
    assert!(end("endless")["error"].as_str().unwrap().contains("not done in time"), "{said}");
    assert!(end("endless")["seconds"].as_f64().unwrap() < 30.0);
    // the program that was carried there finds its data
    let doctor = end("doctor");
    let data = &doctor["result"]["findings"]["data"];
    assert_eq!(doctor["ok"], true, "{doctor}");
    assert_eq!(data["found"], kit.path().join("assets").display().to_string(), "{doctor}");
    assert!(end("rest")["result"]["seconds left"].as_f64().unwrap() > 10.0);
    assert_eq!(lines.last().unwrap()["failed"], serde_json::json!(["broken", "endless"]));
    report(&kit, &["ValueError: as it happens", "| doctor | ok |", "rehearsal"]);
}

#[test]
fn a_program_finds_its_data_beside_itself_and_where_its_home_is() {
    let kit = kit("STAGES = []");
    let data = |program: &Path, home: Option<&Path>| {
        let mut command = Command::new(program);
        command.args(["doctor", "--json"]).env("LD_LIBRARY_PATH", libraries());
        command.env_remove("PAELLA_ASSETS").env_remove("PAELLA_HOME");
        command.envs(home.map(|folder| ("PAELLA_HOME", folder)));
        let output = command.current_dir("/").output().unwrap();
        let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
        let row = rows.as_array().unwrap().iter().find(|row| row["what"] == "data");
        row.unwrap()["found"].as_str().unwrap().to_string()
    };
    let beside = kit.path().join("assets").display().to_string();
    assert_eq!(data(&kit.path().join("paella"), None), beside);
    let built = Path::new(env!("CARGO_BIN_EXE_paella"));
    assert_eq!(data(built, None), root().join("assets").display().to_string());
    assert_eq!(data(built, Some(kit.path())), beside);
}

/// The page that is written from the lines says these.
fn report(kit: &TempDir, parts: &[&str]) {
    let page = kit.path().join("gpu.md");
    let mut command = Command::new("python3");
    command.arg(root().join("scripts/gpu/report.py")).arg(kit.path().join("out"));
    let output =
        command.arg("--out").arg(&page).env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(page).unwrap();
    for part in parts {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn only_the_stages_that_are_named_run_and_unknown_ones_are_refused() {
    let kit = kit(STAGES);
    let (output, lines) = run(&kit, &["--only", "rest"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(lines.iter().filter(|line| line["seconds"].is_number()).count(), 1, "{lines:?}");
    let (output, _) = run(&kit, &["--only", "nonsense"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("hint: broken, endless"), "{said}");
}

#[test]
fn the_benchmark_answers_requests_and_survives_wrong_ones() {
    use std::io::Write;
    use std::process::Stdio;
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_paella"))
        .arg("bench")
        .arg(root().join("scripts/gpu/bench-tiny.ron"))
        .args(["--serve", "--device", "cpu"])
        .env("OMP_NUM_THREADS", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let traces = folder.path().join("traces");
    let requests = format!(
        "train 2 3\ntrain 2 2 recompute\nnonsense\ntrain 0 1\nsample 2 2\nprofile 2 {}\nrelease\n\
         encode 2 3\ndecode 3 1\ntext 2 2\n",
        traces.display()
    );
    child.stdin.take().unwrap().write_all(requests.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(output.status.success() && lines.len() == 11, "{text}");
    assert!(lines[0]["ready"] == true && lines[0]["parameters"].as_u64() > Some(1000), "{text}");
    let (kept, again) = (&lines[1]["train"], &lines[2]["train"]);
    assert_eq!((&kept["recompute"], &again["recompute"]), (&false.into(), &true.into()));
    assert_eq!(kept["each_ms"].as_array().unwrap().len(), 3);
    // random tokens of 64 codes: ln 64 = 4.16, and a little for what smoothing costs
    assert!((kept["loss"].as_f64().unwrap() - 4.16).abs() < 1.0, "{text}");
    assert!(kept["plan"]["pictures_per_s"].as_f64().unwrap() > 0.0, "{text}");
    assert!(lines[3]["error"].is_string() && lines[4]["error"].is_string(), "{text}");
    assert_eq!(
        (&lines[5]["sample"]["batch"], &lines[5]["sample"]["passes"]),
        (&2.into(), &12.into())
    );
    for of in ["train", "sample"] {
        assert_eq!(lines[6]["profile"][of].as_array().unwrap().len(), 10, "{text}");
        assert!(traces.join(format!("{of}.trace.json")).is_file());
    }
    for (line, of, batch, times) in [(8, "encode", 2, 3), (9, "decode", 3, 1), (10, "text", 2, 2)] {
        let piece = &lines[line]["piece"];
        assert_eq!((&piece["piece"], &piece["batch"]), (&of.into(), &batch.into()), "{text}");
        assert_eq!(piece["each_ms"].as_array().unwrap().len(), times, "{text}");
    }
}
