//! Hints are lines that work as pasted, in the words of the place where they are read.

use crate::cli::{Workspace, assert_refused, smoke, text};
use crate::lab::{lab, run};
use crate::train::exclusive;
use std::io::Write;
use std::process::Stdio;

#[test]
fn settings_that_no_run_begins_with_are_told_when_they_are_written() {
    let (mut lab, (folder, _turn)) = lab();
    let file = folder.path().join("new.ron").display().to_string();
    let whole = format!("{:?}", run(&mut lab, &format!("export {file}")));
    assert!(whole.contains("runs it"), "{whole}");
    let set = format!("{:?}", run(&mut lab, "set model.levels []"));
    assert!(!set.contains("`load new.ron` builds"), "{set}");
    let broken = format!("{:?}", run(&mut lab, &format!("export {file}")));
    assert!(broken.contains("no run begins with it yet: `model.levels`: 0 levels"), "{broken}");
    assert!(!broken.contains("runs it"), "{broken}");
}

#[test]
fn a_config_that_is_a_pipe_is_refused_by_a_run_and_read_by_a_check() {
    let workspace = Workspace::new();
    let config = std::fs::read(smoke()).unwrap();
    let piped = |args: &[&str]| {
        let mut command = workspace.command(args);
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(&config); // it may end before it has read everything
        child.wait_with_output().unwrap()
    };
    let output = piped(&["train", "/dev/stdin"]);
    assert_refused("train", &output);
    assert!(text(&output.stderr).contains("write it to a file first"), "{}", text(&output.stderr));
    let output = piped(&["config", "check", "/dev/stdin"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_folder_whose_name_begins_with_a_dash_comes_back_in_the_advice() {
    let _turn = exclusive();
    let workspace = Workspace::new();
    let output = workspace.run(&["train", &smoke(), "--out=-x", "--steps", "1"]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    let advice = said.lines().find_map(|line| line.trim().strip_prefix("go on: ")).expect("advice");
    let words: Vec<&str> = advice.split_whitespace().skip(1).collect();
    assert!(words.ends_with(&["--out", "./-x"]), "{advice}");
    let output = workspace.run(&[words, vec!["--steps", "1"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn what_is_no_config_is_not_read_as_one() {
    let workspace = Workspace::new();
    std::fs::write(workspace.file("notes.md"), "# Notes\n\nabout a model\n").unwrap();
    std::fs::write(workspace.file("m.bin"), [0x93, 0, 1, 0xff, 0x80]).unwrap();
    for name in ["notes.md", "m.bin"] {
        for args in
            [&["train", name][..], &["--model", name, "show", "0"], &["config", "check", name]]
        {
            let output = workspace.run(args);
            assert_refused(name, &output);
            assert!(text(&output.stderr).contains("error: this is no config\n  in: "), "{args:?}");
        }
    }
    // a config by its letters is one by any name
    std::fs::write(workspace.file("run.txt"), "// a run\n(name: \"x\", oops: 1)").unwrap();
    let output = workspace.run(&["config", "check", "run.txt"]);
    assert!(text(&output.stderr).contains("unknown field `oops`"), "{}", text(&output.stderr));
}

#[test]
fn a_shard_of_another_packing_comes_with_the_line_that_unpacks_it() {
    let (mut lab, (folder, _turn)) = lab();
    let packed: [(&str, &[u8], &str); 3] = [
        ("a.tar.xz", b"\xfd7zXZ\0..", "xz -dk"),
        ("b.tar.zst", b"\x28\xb5\x2f\xfd..", "zstd -dk"),
        ("c.tbz2", b"BZh9..", "bzip2 -dk"),
    ];
    for (name, bytes, tool) in packed {
        let path = folder.path().join(name).display().to_string();
        std::fs::write(&path, bytes).unwrap();
        let line = format!("data {path}");
        let error = lab.turn(&line, &mut paella::lab::watch::Quiet).unwrap_err().to_string();
        assert!(error.contains(&format!("`{tool} {path}`")), "{error}");
    }
}

#[test]
fn the_shell_is_told_of_options_and_the_prompt_of_settings() {
    let workspace = Workspace::new();
    let output = workspace.run(&["--model", &smoke(), "grid", "apple"]);
    assert_refused("grid", &output);
    let said = text(&output.stderr);
    assert!(said.contains("`--steps 4,8,12 --cfg 1,3,8`"), "{said}");
    let said = text(&workspace.pipe("grid apple\n").stderr);
    assert!(said.contains("`steps=4,8,12 cfg=1,3,8`"), "{said}");
    let output = workspace.run(&["sample", "apple", "--weights", "clip=2"]);
    let said = text(&output.stderr);
    assert!(said.contains("`--weights 'text=1.2 clip_text=1 clip_image=0.4'`"), "{said}");
    let words = ["--model", &smoke(), "sample", "red", "apple", "steps=4", "--steps", "2"];
    let said = text(&workspace.run(&words).stdout);
    assert!(said.contains("(\"red apple steps=4\", 2 steps"), "{said}");
    assert!(said.contains("\"steps=4\" is part of the text; `--steps 4` sets it"), "{said}");
    let alone =
        ["--model", &smoke(), "sample", "apple", "--negative", "fox", "--cfg", "1", "--steps", "2"];
    let output = workspace.run(&alone);
    let said = text(&output.stdout);
    assert!(said.contains("`--cfg 3` gives it one"), "{said}{}", text(&output.stderr));
}

#[test]
fn a_variable_that_means_nothing_is_told_and_a_command_runs_all_the_same() {
    let workspace = Workspace::new();
    let mut command = workspace.command(&["--model", &smoke(), "show", "0"]);
    let output = command.env("PAELLA_PICTURES", "ascii").output().unwrap();
    assert!(output.status.success());
    assert!(text(&output.stderr).starts_with("PAELLA_PICTURES=ascii is none of kitty"));
}

#[test]
fn lines_for_the_shell_are_quoted_as_a_shell_reads_them() {
    let (mut lab, (folder, _turn)) = lab();
    for (name, word) in [("a;b.ron", "a;b.ron'"), ("a$b.ron", "a$b.ron'")] {
        let file = folder.path().join(name).display().to_string();
        let said = format!("{:?}", run(&mut lab, &format!("export \"{file}\"")));
        assert!(said.contains("`paella train '/") && said.contains(word), "{said}");
    }
    let said = format!("{:?}", run(&mut lab, &format!("save {}/a&b", folder.path().display())));
    assert!(said.contains("`paella --model '/") && said.contains("a&b'`"), "{said}");
}

#[test]
fn a_pair_is_set_by_one_number_or_by_both_ends() {
    let (mut lab, _turn) = lab();
    for (value, pair) in [("3", (3.0, 3.0)), ("8..4", (8.0, 4.0)), ("(2.0, 1.0)", (2.0, 1.0))] {
        run(&mut lab, &format!("set sample.cfg_scale {value}"));
        assert_eq!(lab.settings().sample.cfg_scale, pair);
    }
    assert!(lab.turn("set sample.cfg_scale x..4", &mut paella::lab::watch::Quiet).is_err());
    run(&mut lab, "set sample.steps 5");
    assert_eq!(lab.settings().sample.steps, 5);
}

#[test]
fn words_of_the_shell_and_names_of_models_are_known_at_the_prompt() {
    let (mut lab, _turn) = lab();
    for (line, hint) in [
        ("paella show 0", "commands stand here without `paella`"),
        ("doctor", "`paella doctor` is a command of the shell"),
        ("emoji64", "`load emoji-64` opens that model"),
    ] {
        let error = lab.turn(line, &mut paella::lab::watch::Quiet).unwrap_err().to_string();
        assert!(error.contains(hint), "{line}: {error}");
    }
}

#[test]
fn checkpoints_behind_a_link_to_nowhere_are_no_new_run() {
    let _turn = exclusive();
    let workspace = Workspace::new();
    std::fs::create_dir(workspace.file("out")).unwrap();
    std::os::unix::fs::symlink("../gone", workspace.file("out/checkpoints")).unwrap();
    let output =
        workspace.run(&["train", &smoke(), "--out", "out", "--resume", "auto", "--steps", "1"]);
    assert_refused("resume", &output);
    let said = text(&output.stderr);
    assert!(said.contains("the checkpoints cannot be listed"), "{said}");
    assert!(!workspace.file("out/log.jsonl").exists());
}

#[test]
fn a_caption_that_begins_with_a_number_sign_is_no_comment() {
    let workspace = Workspace::new();
    std::fs::write(workspace.file("list.txt"), "## a comment\n#\n#1 dad\n\nred apple\n").unwrap();
    let list = paella::lab::list::CaptionList::read(&workspace.file("list.txt")).unwrap();
    assert_eq!((list.captions.len(), list.captions[0].as_str()), (2, "#1 dad"));
    assert_eq!(list.skipped, 3);
}
