//! What the commands say: what they replace, which file they miss, what they read a word as, what they cannot read.

use std::path::Path;
use std::process::{Command, Stdio};

use image::{Rgb, RgbImage};
use paella::lab::view::{View, ViewBlock};
use paella::lab::watch::Quiet;

use crate::cli::{Workspace, assert_refused, smoke, text};
use crate::lab::{lab, run, tokens};

/// The captions of a view's pictures.
fn captions(view: &View) -> Vec<String> {
    let caption = |block: &ViewBlock| match block {
        ViewBlock::Picture { caption, .. } => Some(caption.clone()),
        _ => None,
    };
    view.blocks.iter().filter_map(caption).collect()
}

fn notes(view: &View) -> String {
    let note = |block: &ViewBlock| match block {
        ViewBlock::Note(text) => Some(text.clone()),
        _ => None,
    };
    view.blocks.iter().filter_map(note).collect::<Vec<_>>().join("\n")
}

#[test]
fn sample_says_which_files_it_replaces() {
    let workspace = Workspace::new();
    let sample = |more: &[&str]| {
        let smoke = smoke();
        let args = ["sample", "apple", "--steps", "1", "--model", &smoke];
        let output = workspace.run(&[&args, more].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let all = ["--out", "a.png", "--sheet", "s.png", "--gif", "g.gif"];
    let first = sample(&all);
    assert!(!first.contains("in place of") && first.contains(": a.png"), "{first}");
    let second = sample(&all);
    assert!(second.contains("in place of older files: a.png, s.png, g.gif"), "{second}");
    let third = sample(&["--out", "a.png", "--json"]);
    assert!(third.contains("in place of older files: a.png\""), "{third}");
    let several = sample(&["--out", "a.png", "--count", "2"]);
    assert!(!several.contains("in place of"), "a-1.png and a-2.png are new: {several}");
}

#[test]
fn a_flag_that_would_do_nothing_is_refused() {
    let workspace = Workspace::new();
    RgbImage::new(8, 8).save(workspace.file("a.png")).unwrap();
    let smoke = smoke();
    for more in [&[][..], &["--strength", "0.5"]] {
        let args = ["sample", "", "--model", &smoke, "--image", "a.png", "--keep-pixels"];
        let output = workspace.run(&[&args, more].concat());
        assert_refused("keep-pixels", &output);
        assert!(text(&output.stderr).contains("`--area`"), "{}", text(&output.stderr));
    }
    let none = workspace.run(&["bench", &smoke, "--times", "0"]);
    assert_eq!(none.status.code(), Some(2), "{}", text(&none.stderr));
}

#[test]
fn a_model_that_is_named_twice_is_refused() {
    let workspace = Workspace::new();
    let output = workspace.run(&["eval", "emoji-64", "--model", "fashion"]);
    assert_refused("eval", &output);
    assert!(text(&output.stderr).contains("two models are named"), "{}", text(&output.stderr));
}

#[test]
fn the_shell_names_the_nearest_file_and_tells_folders_from_files() {
    let workspace = Workspace::new();
    std::fs::copy(smoke(), workspace.file("run.ron")).unwrap();
    std::fs::create_dir(workspace.file("folder.ron")).unwrap();
    RgbImage::new(8, 8).save(workspace.file("apple.png")).unwrap();
    let smoke = smoke();
    let sample = ["sample", "x", "--steps", "1", "--model", &smoke, "--image"];
    for (args, near) in [
        (&["train"][..], "rnu.ron"),
        (&["plan"], "rnu.ron"),
        (&["bench"], "rnu.ron"),
        (&["precompute", "--out", "made"], "rnu.ron"),
        (&["config", "check"], "rnu.ron"),
        (&["config", "show"], "rnu.ron"),
        (&["config", "diff"], "rnu.ron"),
        (&["eval"], "rnu.ron"),
        (&sample, "aple.png"),
    ] {
        let said = |file: &str| {
            let output = workspace.run(&[args, &[file]].concat());
            assert_refused(file, &output);
            text(&output.stderr)
        };
        let right = if near == "rnu.ron" { "run.ron" } else { "apple.png" };
        let error = said(near);
        assert!(error.contains(&format!("there is no file `{near}`")), "{args:?}: {error}");
        assert!(error.contains(&format!("did you mean `{right}`?")), "{args:?}: {error}");
        if args != ["eval"] {
            let error = said("folder.ron");
            assert!(error.contains("is a folder, not a file"), "{args:?}: {error}");
        }
        assert!(said("run.ron/x.ron").contains("`run.ron` is a file, not a folder"), "{args:?}");
    }
    // files that a config names
    for (field, value) in [
        ("data.source", "Folder(\"folder.rom\")"),
        ("weights.denoiser", "\"aple.png\""),
        ("data.source", "Shards(train: [\"aple.png\"], val: [])"),
    ] {
        let set = format!("{field}={value}");
        let output = workspace.run(&["train", "run.ron", "--out", "out", "--set", &set]);
        assert_refused(&set, &output);
        let error = text(&output.stderr);
        assert!(error.contains("did you mean `folder.ron`?") || error.contains("`apple.png`?"));
        assert!(!workspace.file("out").exists());
    }
}

#[test]
fn texts_in_utf_16_are_named_with_the_line_that_converts_them() {
    let workspace = Workspace::new();
    let wide = |text: &str| -> Vec<u8> {
        [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
    };
    std::fs::write(workspace.file("x.ron"), wide("(seed: 1)\n")).unwrap();
    std::fs::write(workspace.file("s.txt"), wide("help\n")).unwrap();
    let smoke = smoke();
    let config = workspace.run(&["config", "check", "x.ron"]);
    let script = workspace.run(&["--model", &smoke, "--script", "s.txt"]);
    for (output, file) in [(config, "x.ron"), (script, "s.txt")] {
        assert_refused(file, &output);
        let error = text(&output.stderr);
        let line = format!("iconv -f UTF-16 -t UTF-8 '{file}' > '{file}.utf8'");
        assert!(error.contains("text in UTF-16") && error.contains(&line), "{error}");
        let mut shell = Command::new("sh");
        let done = shell.args(["-c", &line]).current_dir(workspace.file(".")).status();
        assert!(done.is_ok_and(|status| status.success()), "{line}");
    }
    assert!(workspace.run(&["config", "check", "x.ron.utf8"]).status.success());
    let again = workspace.run(&["--model", &smoke, "--script", "s.txt.utf8"]);
    assert!(again.status.success(), "{}", text(&again.stderr));
    let piped = workspace.pipe(wide("help\n"));
    assert_refused("pipe", &piped);
    assert!(text(&piped.stderr).contains("| iconv -f UTF-16"), "{}", text(&piped.stderr));
}

#[test]
fn a_full_disk_under_help_and_completions_is_told_as_such() {
    let workspace = Workspace::new();
    for args in [&["completions", "bash"][..], &["--help"], &["train", "--help"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = workspace.command(args).stdout(full).stderr(Stdio::piped()).output().unwrap();
        assert_refused(args[0], &output);
        assert!(text(&output.stderr).contains("No space left"), "{}", text(&output.stderr));
    }
}

#[test]
fn a_word_that_is_an_area_a_side_or_a_strength_is_read_as_that() {
    let (mut lab, _folder) = lab();
    run(&mut lab, "show 0");
    for (word, key, others) in [
        ("inpaint left", "inpaint area=left", "area=left"),
        ("inpaint 0,0,8,8", "inpaint area=0,0,8,8", "area=0,0,8,8"),
        ("outpaint left", "outpaint side=left", "side=left"),
        ("outpaint 8", "outpaint by=8", "by=8"),
        ("edit 0.4", "edit strength=0.4", "strength=0.4"),
    ] {
        let mut made = |line: &str| {
            let view = run(&mut lab, &format!("{line} steps=1 seed=3"));
            let made = (tokens(&lab), captions(&view));
            run(&mut lab, "undo");
            (made, notes(&view))
        };
        let ((a, said), note) = made(word);
        let ((b, same), none) = made(key);
        assert!(a == b && said == same, "{word}: {said:?}, {same:?}");
        assert!(note.contains(&format!("is read as `{others}`")), "{word}: {note}");
        assert!(!none.contains("is read as"), "{key}: {none}");
    }
    // a text stays one
    let view = run(&mut lab, "inpaint left area=right steps=1");
    assert!(captions(&view)[1].starts_with("\"left\""), "{:?}", captions(&view));
    let view = run(&mut lab, "inpaint a fox. red steps=1");
    assert!(captions(&view)[1].starts_with("\"a fox. red\""), "{:?}", captions(&view));
}

#[test]
fn an_edit_shows_the_picture_under_noise_from_which_it_starts() {
    let (mut lab, _folder) = lab();
    run(&mut lab, "show 0");
    let view = run(&mut lab, "edit strength=0.5 steps=2 seed=1");
    let all = captions(&view);
    assert!(all.len() == 2 && all[0].contains("the picture with 0.5 of its tokens under noise"));
    let ViewBlock::Picture { image, .. } = &view.blocks[0] else { panic!("{view:?}") };
    let colours: std::collections::BTreeSet<[u8; 3]> = image.pixels().map(|p| p.0).collect();
    assert!(colours.len() > 8, "it is no grey veil: {colours:?}");
    run(&mut lab, "show 0");
    let view = run(&mut lab, "start a fox strength=0.5 steps=2 seed=1");
    let all = captions(&view);
    assert!(all.len() == 1 && all[0].starts_with("step 0 of 2: the picture with 0.5"), "{all:?}");
}

#[test]
fn a_caption_file_that_is_not_used_is_named() {
    let (mut lab, (folder, _turn)) = lab();
    let picture = folder.path().join("red_apple.png");
    RgbImage::from_pixel(32, 32, Rgb([200, 0, 0])).save(&picture).unwrap();
    let caption = picture.with_extension("txt");
    let line = format!("show \"{}\"", picture.display());
    assert_eq!(notes(&run(&mut lab, &line)), "");
    for (bytes, why) in [(&b"caf\xe9"[..], "is not UTF-8"), (b" \n", "is empty")] {
        std::fs::write(&caption, bytes).unwrap();
        let view = run(&mut lab, &line);
        assert!(captions(&view)[0].contains("red apple") && notes(&view).contains(why), "{view:?}");
        assert!(notes(&view).contains("red_apple.txt"), "{}", notes(&view));
    }
    std::fs::write(&caption, "a fox").unwrap();
    let view = run(&mut lab, &line);
    assert!(captions(&view)[0].contains("a fox") && notes(&view).is_empty());
}

#[test]
fn flags_of_the_shell_are_no_part_of_a_text() {
    let (mut lab, _folder) = lab();
    for (line, meant) in [
        ("sample x --count 2", "`sample x count=2`"),
        ("start a fox --negative \"a dog\"", "`start a fox negative=\"a dog\"`"),
        ("data emoji --limit=3", "`data emoji limit=3`"),
    ] {
        let error = lab.turn(line, &mut Quiet).unwrap_err().to_string();
        assert!(error.contains("is no setting") && error.contains(meant), "{line}: {error}");
    }
}

#[test]
fn one_of_something_is_no_plural() {
    let (mut lab, _folder) = lab();
    assert!(captions(&run(&mut lab, "sample x steps=1"))[0].contains(", 1 step, seed"));
    assert!(captions(&run(&mut lab, "sample x steps=2"))[0].contains(", 2 steps, seed"));
    let one = run(&mut lab, "data emoji limit=1");
    assert!(one.first_text().unwrap().contains(": 1 picture of 32 x 32"), "{one:?}");
}

/// Things that messages count.
const COUNTED: [&str; 16] = [
    "steps",
    "pictures",
    "shards",
    "samples",
    "captions",
    "notebooks",
    "ranks",
    "commands",
    "passes",
    "labels",
    "lanes",
    "updates",
    "values",
    "files",
    "lines",
    "words",
];

/// Not a number, never 1, or a rate; and the arm behind that of `1 =>`.
const NO_COUNT: [&str; 5] = ["{kind}", "{part}", "{MOST}", "pictures/s", "n => view.note"];

#[test]
fn no_message_counts_with_a_fixed_plural() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let counts = |line: &str| {
        let things = COUNTED.iter().flat_map(|thing| {
            ["", " training", " further"].map(|word| format!("}}{word} {thing}"))
        });
        things.into_iter().any(|thing| line.contains(&thing))
    };
    let mut found = Vec::new();
    for folder in ["src", "kernel/notebook/src"] {
        for path in crate::house::sources(&root.join(folder)) {
            let lines = crate::house::code(&path).into_iter().filter(|line| counts(line));
            let lines = lines.filter(|line| !NO_COUNT.iter().any(|other| line.contains(other)));
            found.extend(lines.map(|line| format!("{}: {}", path.display(), line.trim())));
        }
    }
    assert!(counts("{n} steps") && !counts("{n} steep"));
    assert!(found.is_empty(), "`error::counted` does: {found:#?}");
}
