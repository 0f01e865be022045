//! The course: sources, exercises, notebooks, the walk at the prompt, and the cells of the research notebooks.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use paella::course::source::{parse, read_solutions};
use paella::course::{self, Lesson, LessonBlock, notebook};
use paella::lab::watch::Quiet;
use paella::lab::{Lab, Origin};
use tch::Device;

use crate::train::exclusive;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn lessons() -> Vec<Lesson> {
    course::lessons(&root().join("tutorials")).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn all_sources_parse_and_every_exercise_has_one_solution() {
    let lessons = lessons();
    let numbers: Vec<u32> = lessons.iter().filter_map(|lesson| lesson.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(lessons.len(), 10, "and two research notebooks");
    let mut ids = BTreeSet::new();
    for lesson in lessons.iter().filter(|lesson| lesson.number.is_some()) {
        let file = root().join(format!("tutorials/solutions/{}.md", lesson.stem()));
        let solutions =
            read_solutions(&file, &course::commands()).unwrap_or_else(|e| panic!("{e}"));
        let own: BTreeSet<&String> = lesson.exercises().map(|e| &e.id).collect();
        assert_eq!(own, solutions.keys().collect(), "{}", lesson.stem());
        assert!(own.iter().all(|id| ids.insert(id.to_string())), "{own:?}");
        assert!(lesson.exercises().all(|e| !e.hints.is_empty()), "{}", lesson.stem());
    }
    assert!(ids.len() >= 25, "{} exercises", ids.len());
}

/// Runs every command and every solution. All exercises must be solved at the end, and none before its solution.
fn take(lesson: &Lesson, folder: &Path, faults: &mut Vec<String>) {
    let mut lab = Lab::new(Origin::find("emoji-64").unwrap(), Device::Cpu).unwrap();
    course::join(&mut lab);
    lab.runs_in(folder);
    lab.quick(Some(true));
    let file = root().join(format!("tutorials/solutions/{}.md", lesson.stem()));
    let solutions = read_solutions(&file, &course::commands()).unwrap();
    let run = |lab: &mut Lab, lines: &[String], faults: &mut Vec<String>| {
        for line in lines {
            let line = line.replace("runs/", &format!("{}/", folder.display()));
            if let Err(error) = lab.turn(&line, &mut Quiet) {
                faults.push(format!("{}: {line}: {error}", lesson.stem()));
            }
        }
    };
    for block in &lesson.blocks {
        match block {
            LessonBlock::Commands(lines) => run(&mut lab, lines, faults),
            LessonBlock::Exercise(exercise) => {
                for (wanted, lines) in [(false, &[][..]), (true, &solutions[&exercise.id][..])] {
                    run(&mut lab, lines, faults);
                    let (solved, reply) = course::answer(&mut lab, exercise).unwrap();
                    if solved != wanted {
                        let text = reply.view.first_text().unwrap_or_default().to_string();
                        faults.push(format!("{}: solved is {solved}: {text}", exercise.id));
                    }
                }
            }
            LessonBlock::Text(_) | LessonBlock::Rust(_) => {}
        }
    }
}

#[test]
fn every_exercise_fails_as_given_and_passes_as_solved() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let mut faults = Vec::new();
    for lesson in lessons().iter().filter(|lesson| lesson.number.is_some()) {
        take(lesson, folder.path(), &mut faults);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_line_runs_in_its_long_or_its_short_form() {
    let _turn = exclusive();
    let mut lab = Lab::new(Origin::find("fashion").unwrap(), Device::Cpu).unwrap();
    course::join(&mut lab);
    for (quick, steps) in [("off", 8), ("on", 3)] {
        lab.turn(&format!("quick {quick}"), &mut Quiet).unwrap();
        lab.turn("set sample.steps 8   # quick: set sample.steps 3", &mut Quiet).unwrap();
        assert_eq!(lab.settings().sample.steps, steps);
    }
}

#[test]
fn looking_changes_nothing() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let mut drawn = Vec::new();
    for looks in [0, 2] {
        let mut lab = Lab::new(Origin::find("fashion").unwrap(), Device::Cpu).unwrap();
        course::join(&mut lab);
        lab.runs_in(folder.path());
        for line in ["show 0", "seed 4", "noise 0.5"] {
            lab.turn(line, &mut Quiet).unwrap();
        }
        for _ in 0..looks {
            lab.turn("check sure", &mut Quiet).unwrap();
        }
        lab.turn("noise 0.5", &mut Quiet).unwrap();
        drawn.push(lab.workspace().noised.as_ref().unwrap().tokens.copy());
    }
    assert_eq!(drawn[0], drawn[1]);
}

#[test]
fn check_is_completed_and_explained_as_commands_are() {
    let _turn = exclusive();
    let mut lab = Lab::new(Origin::find("fashion").unwrap(), Device::Cpu).unwrap();
    course::join(&mut lab);
    assert!(format!("{:?}", lab.explain("check").unwrap()).contains("fn look"));
    let mut words = |line: &str| {
        let found = lab.complete(line);
        (found.start, found.words)
    };
    assert_eq!(words("che"), (0, vec!["check ".to_string()]));
    assert_eq!(words("check hal"), (6, vec!["half".to_string()]));
    assert!(words("check ").1.len() > 20);
    assert_eq!(words("nois"), (0, vec!["noise ".to_string()]));
    let summary = "whether an exercise of the lessons is solved";
    for (line, said) in [("help check", "check ID"), ("? check", "check ID"), ("help", summary)] {
        let reply = lab.turn(line, &mut Quiet).unwrap().unwrap();
        assert!(format!("{:?}", reply.view).contains(said), "{line}");
    }
    assert!(lab.turn("help chekc", &mut Quiet).is_err());
}

#[test]
fn faults_of_a_source_are_listed_with_their_lines() {
    let head = "# T\n```lesson\nabout: a\ntime: b\n```\n";
    let exercise = "```exercise one\nTitle\n\nTask.\n```\n";
    let cases: [(&str, &[&str]); 12] = [
        ("Hello.\n", &["x.md:1", "text before the title"]),
        ("# T\n```lesson\nabuot: a\n```\n", &["x.md:3", "abuot", "`time` is missing"]),
        ("HEAD```paella\nshow 0\nsmaple x\n```\n", &["x.md:8", "smaple", "did you mean"]),
        ("HEAD```paella\nshow 0  # quick: shwo 1\n```\n", &["x.md:7", "shwo"]),
        ("HEAD```paella\nshow \"0\n```\n", &["x.md:7", "never closed"]),
        ("HEAD```rust\nlet x = 1;\n", &["x.md:6", "never closed"]),
        ("HEAD```hint\nx\n```\n", &["x.md:6", "without an exercise"]),
        ("HEADEXERCISE", &["no check"]),
        (
            "HEADEXERCISE```check\nbogus in 1\n```\n",
            &["x.md:12", "unknown measure `bogus`", "known: "],
        ),
        ("HEADEXERCISEEXERCISE", &["x.md:11", "two exercises `one`"]),
        ("HEAD```exercise\nTitle\n```\n", &["x.md:6", "does not name an exercise", "no task"]),
        ("HEAD```solution one\nshow 0\n```\n", &["x.md:6", "tutorials/solutions"]),
    ];
    for (text, parts) in cases {
        let text = text.replace("HEAD", head).replace("EXERCISE", exercise);
        let error = parse(&text, "09-x", "x.md", &course::commands()).expect_err(&text).to_string();
        for part in parts {
            assert!(error.contains(part), "{part} is not in\n{error}\nfor\n{text}");
        }
    }
    let odd = format!("{head}````\n```paella\n````\n```sh\nls\n```\n");
    let lesson = parse(&odd, "x", "x.md", &course::commands()).unwrap();
    assert!(
        matches!(lesson.blocks.as_slice(), [LessonBlock::Text(text)] if text.contains("```paella"))
    );
}

#[test]
fn notebooks_are_in_step_with_their_lessons() {
    let differ = notebook::out_of_step(&lessons(), &root().join("notebooks"));
    assert!(differ.is_empty(), "`paella lessons build` is due: {differ:?}");
}

#[test]
fn notebooks_are_sound() {
    for lesson in lessons() {
        let notebook = notebook::notebook(&lesson);
        assert_eq!((&notebook["nbformat"], &notebook["nbformat_minor"]), (&4.into(), &5.into()));
        assert_eq!(notebook["metadata"]["kernelspec"]["name"], "paella");
        let cells = notebook["cells"].as_array().unwrap();
        let ids: BTreeSet<&str> = cells.iter().map(|cell| cell["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), cells.len(), "{}", lesson.stem());
        let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        assert!(ids.iter().all(|id| (1..=64).contains(&id.len()) && id.chars().all(fine)));
        let first = cells.iter().find(|cell| cell["cell_type"] == "code").unwrap();
        assert_eq!(first["metadata"]["tags"][0], "parameters");
    }
}

/// Runs the program in its own folder, with lines from a pipe.
fn paella(folder: &Path, args: &[&str], lines: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_paella"));
    command.args(args).current_dir(folder).env("XDG_STATE_HOME", folder).env("PAELLA_QUICK", "1");
    command.env("OMP_NUM_THREADS", "1").stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_lesson_is_walked_at_the_prompt_and_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let lines = "check\n\nnext\n\n\nnext\ncheck\nhint\nhint\nshow strawberry, noto emoji\nencode\ncheck\nskip\nquit\n";
    let out = said(&paella(folder.path(), &["lesson", "1"], lines));
    for part in [
        "1. Tokens",
        "there is no exercise here",
        "> load emoji-64",
        "512 codes",
        "Exercise: A berry in hand",
        "not solved yet",
        "lists the strawberries",
        "A berry in hand: solved",
        "Exercise: Hardly anything twice",
    ] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
    assert!(!out.contains('\x1b'), "colours without a terminal");
    let list = said(&paella(folder.path(), &["lesson"], ""));
    assert!(list.contains("1 of 4"), "{list}");
    let again = said(&paella(folder.path(), &["lesson", "tokens"], "bogus\nskip\nskip\n\n"));
    assert!(
        again.contains("you were here before") && again.contains("Exercise: Too fine"),
        "{again}"
    );
    assert!(!again.contains("A berry in hand"), "{again}");
    assert!(said(&paella(folder.path(), &["lesson"], "")).contains("read"));
    let missing = paella(folder.path(), &["lesson", "12"], "");
    let error = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(missing.status.code() == Some(1) && error.contains("there are: 01-tokens"), "{error}");
}

#[test]
fn a_training_inside_a_lesson_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let walk = |args: &[&str], lines: &str| said(&paella(folder.path(), args, lines));
    let first = walk(&["lesson", "4"], "\n\nstep 5\nquit\n");
    assert!(first.contains("your model of 5 training steps is kept"), "{first}");
    let again = walk(&["lesson", "4"], "check\nquit\n");
    for part in [
        "your model of 5 training steps is back; run for their pictures: 1 command (",
        "> show red apple",
        "The first five steps: solved",
    ] {
        assert!(again.contains(part), "{part} is not in\n{again}");
    }
    assert!(!again.contains("> load") && !again.contains("> data"), "{again}");
    let again = walk(&["lesson", "4", "--again"], "quit\n");
    assert!(again.contains("your model of before: `load "), "{again}");
    assert!(folder.path().join("paella/lessons/04-train.before/denoiser.safetensors").is_file());
    assert!(!walk(&["lesson", "4"], "quit\n").contains("is back"));
    let other = walk(&["lesson", "4"], "\n\nstep 1\nload fashion\nquit\n");
    assert!(
        other.contains("your model of before: `load ") && !other.contains("is kept"),
        "{other}"
    );
}

#[test]
fn lessons_name_the_next_one() {
    let lessons = lessons();
    let next: Vec<_> = lessons.iter().map(|l| l.next.as_ref().map(|n| n.stem.as_str())).collect();
    let numbered =
        "02-noise 03-predict 04-train 05-sample 06-condition 07-scale 08-edit".split(' ');
    assert_eq!(next[..7], numbered.map(Some).collect::<Vec<_>>());
    assert_eq!(next[7..], [None; 3]);
    let folder = tempfile::tempdir().unwrap();
    let out = said(&paella(folder.path(), &["lesson", "2"], &"skip\n".repeat(9)));
    assert!(out.contains("next: `paella lesson predict`, 3. Predict"), "{out}");
}

#[test]
fn lessons_are_built_and_checked_from_the_shell() {
    let folder = tempfile::tempdir().unwrap();
    let from = root().join("tutorials").display().to_string();
    let args = ["lessons", "build", "--from", &from, "--to", "nb"];
    let check: Vec<&str> = args.iter().copied().chain(["--check"]).collect();
    assert_eq!(paella(folder.path(), &check, "").status.code(), Some(1));
    said(&paella(folder.path(), &args, ""));
    said(&paella(folder.path(), &check, ""));
    let file: PathBuf = folder.path().join("nb/02-noise.ipynb");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("noise 0.2", "noise 0.3")).unwrap();
    let stale = paella(folder.path(), &check, "");
    let error = String::from_utf8_lossy(&stale.stderr).into_owned();
    assert!(stale.status.code() == Some(1) && error.contains("02-noise.ipynb"), "{error}");
}

/// The cells of the research notebooks, as build.rs concatenates them.
mod research {
    #![allow(clippy::print_stdout)] // cells report their progress

    pub mod schedule {
        include!(concat!(env!("OUT_DIR"), "/research-schedule.rs"));
    }
    pub mod sampler {
        include!(concat!(env!("OUT_DIR"), "/research-sampler.rs"));
    }
}

#[test]
fn research_cells_run() {
    let _turn = exclusive();
    research::schedule::run(true).unwrap_or_else(|e| panic!("{e}"));
    research::sampler::run(true).unwrap_or_else(|e| panic!("{e}"));
}

/// Takes minutes. Measures the machine times stated in the research notebooks.
#[test]
#[ignore = "takes minutes: cargo test --test it -- --ignored --nocapture research"]
fn research_cells_run_in_full() {
    let _turn = exclusive();
    for (name, run) in [
        ("schedule", research::schedule::run as fn(bool) -> _),
        ("sampler", research::sampler::run),
    ] {
        let start = std::time::Instant::now();
        run(false).unwrap_or_else(|e| panic!("{e}"));
        eprintln!("{name}: {:.0} s", start.elapsed().as_secs_f64());
    }
}
