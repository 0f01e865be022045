//! A picture for each caption of a list: seeds, resuming, what is refused.

use crate::cli::{Workspace, assert_refused, smoke as smoke_file, text};
use crate::train::smoke;
use crate::vary::lab_of;
use paella::lab::SampleRequest;
use paella::lab::list::{CaptionList, LIST_FILE, ListedPicture};
use paella::lab::watch::Quiet;
use std::path::Path;

const CAPTIONS: [&str; 4] = ["a fox", "two apples", "a cat", "Pizza  with olives"];

fn request() -> SampleRequest {
    SampleRequest { steps: Some(2), seed: Some(40), ..SampleRequest::default() }
}

#[test]
fn each_picture_of_a_list_is_remade_alone_by_its_seed_bit_for_bit() {
    // texts of one length, and texts that are as long as the longest of their batch
    for length in [Some(48), None] {
        let mut config = smoke(1, 1);
        config.text.length = length;
        let (mut lab, (folder, _turn)) = lab_of(&config);
        let list = CaptionList { captions: CAPTIONS.map(String::from).into(), skipped: 0 };
        let (out, mut rows) = (folder.path().join("pictures"), Vec::<ListedPicture>::new());
        lab.sample_list(&list, &out, &request(), false, &mut Quiet, &mut |row| {
            rows.push(row.clone())
        })
        .unwrap();
        rows.sort_by_key(|row| row.number);
        assert_eq!(rows.iter().map(|row| row.seed).collect::<Vec<_>>(), [40, 41, 42, 43]);
        for row in &rows {
            let (seed, text) = (Some(row.seed), row.caption.clone());
            let alone = SampleRequest { text, seed, ..request() };
            let run = lab.walk(&alone, &mut Quiet).unwrap();
            let picture = paella::image::from_tensor(&lab.images(&run).unwrap().get(0));
            let made = paella::image::load(&out.join(&row.file)).unwrap();
            assert!(made == picture, "{length:?}: {}", row.caption);
        }
    }
}

fn rows(folder: &Path) -> Vec<ListedPicture> {
    let text = std::fs::read_to_string(folder.join(LIST_FILE)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_list_goes_on_where_it_was_stopped_and_refuses_what_changed() {
    let workspace = Workspace::new();
    let (file, out, smoke) = (workspace.file("captions.txt"), workspace.file("out"), smoke_file());
    let write = |captions: &[&str]| {
        std::fs::write(&file, format!("# mine\n\n{}\n", captions.join("\n"))).unwrap();
    };
    let args = ["sample", "--from", "captions.txt", "--out", "out", "--model", &smoke];
    let go = |more: &[&str]| workspace.run(&[&args[..], more].concat());
    let said = |more: &[&str]| {
        let output = go(more);
        assert!(output.status.success(), "{more:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    write(&CAPTIONS[..3]);
    let first = said(&["--steps", "2", "--seed", "7"]);
    assert!(first.contains("00002.png: seed 8, two apples"), "{first}");
    assert!(
        first.contains("3 pictures in out: 3 made, 0 there before; 2 lines skipped"),
        "{first}"
    );
    let whole = rows(&out);
    let bytes = |row: &ListedPicture| std::fs::read(out.join(&row.file)).unwrap();
    let before: Vec<_> = whole.iter().map(bytes).collect();
    // killed while the second line was written, and the third picture lost: the seed need not be given again
    let log = std::fs::read_to_string(out.join(LIST_FILE)).unwrap();
    let torn = log.lines().next().unwrap().to_string() + "\n" + &log.lines().nth(1).unwrap()[..30];
    std::fs::write(out.join(LIST_FILE), torn).unwrap();
    std::fs::remove_file(out.join("00003.png")).unwrap();
    let second = said(&["--steps", "2"]);
    assert!(second.contains("2 made, 1 there before"), "{second}");
    assert!(second.contains("1 file without a line in samples.jsonl replaced"), "{second}");
    assert_eq!(rows(&out), whole);
    assert_eq!(rows(&out).iter().map(bytes).collect::<Vec<_>>(), before);
    // a new caption goes at the end
    write(&CAPTIONS);
    let third = said(&["--steps", "2", "--json"]);
    let lines: Vec<serde_json::Value> =
        third.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["seed"], &lines[0]["number"], lines.len()), (&10.into(), &4.into(), 2));
    for (more, what) in [
        (&["--steps", "3"][..], "`steps` 2, now 3"),
        (&["--steps", "2", "--seed", "8"], "begin with seed 7, not 8"),
        (&["--steps", "2", "--negative", "x"], "made with `negative` \"\", now \"x\""),
        (&["--steps", "2", "--weights", "text=2"], "made with `weights`"),
    ] {
        let output = go(more);
        assert_refused(what, &output);
        let error = text(&output.stderr);
        assert!(error.contains(what) && error.contains("`--out out-2`"), "{error}");
    }
    for (captions, what) in [
        (&["a cat", "two apples"][..], "caption 1 was `a fox`, and is `a cat`"),
        (&CAPTIONS[..2], "is no longer in the list"),
    ] {
        write(captions);
        let error = text(&go(&["--steps", "2"]).stderr);
        assert!(error.contains(what) && error.contains("`--out out-2`"), "{error}");
    }
    assert_eq!(rows(&out).len(), 4, "what is refused changes nothing");
}

#[test]
fn each_picture_of_a_list_has_a_film_where_that_is_asked_for() {
    let workspace = Workspace::new();
    let smoke = smoke_file();
    std::fs::write(workspace.file("c.txt"), "a fox\na cat\n").unwrap();
    let list = |more: &[&str]| {
        let args = ["sample", "--from", "c.txt", "--out", "out", "--steps", "3", "--model", &smoke];
        let output = workspace.run(&[&args[..], more].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    list(&["--films"]);
    let frames = |name: &str| {
        let file = std::fs::File::open(workspace.file("out").join(name)).unwrap();
        let film = image::codecs::gif::GifDecoder::new(std::io::BufReader::new(file)).unwrap();
        image::AnimationDecoder::into_frames(film).collect_frames().unwrap().len()
    };
    assert_eq!([frames("00001.gif"), frames("00002.gif")], [4, 4], "before and after each step");
    std::fs::remove_file(workspace.file("out").join("00001.gif")).unwrap();
    std::fs::write(workspace.file("c.txt"), "a fox\na cat\na hen\n").unwrap();
    let more = list(&["--films"]);
    assert!(more.contains("1 made, 2 there before"), "{more}");
    assert!(more.contains("no film of 1 picture made before"), "{more}");
    assert_eq!(frames("00003.gif"), 4);
    let alone = workspace.run(&["sample", "a fox", "--films", "--model", &smoke]);
    assert_eq!(alone.status.code(), Some(2), "`--films` is for lists");
}

#[test]
fn a_list_that_cannot_be_made_is_refused() {
    let workspace = Workspace::new();
    let smoke = smoke_file();
    std::fs::write(workspace.file("c.txt"), "a fox\n").unwrap();
    std::fs::write(workspace.file("none.txt"), "# a fox\n").unwrap();
    std::fs::create_dir(workspace.file("other")).unwrap();
    std::fs::write(workspace.file("other").join(LIST_FILE), "{}\n").unwrap();
    for (from, out, what) in [
        ("gone.txt", "out", "there is no file"),
        ("none.txt", "out", "no caption in this file"),
        ("c.txt", "out.png", "go into a folder"),
        ("c.txt", "c.txt", "a file, not a folder"),
        ("c.txt", "other", "line 1 is no picture of a list"),
    ] {
        let output = workspace.run(&["sample", "--from", from, "--out", out, "--model", &smoke]);
        assert_refused(what, &output);
        let error = text(&output.stderr);
        assert!(error.contains(what) && error.contains("hint: "), "{what}: {error}");
    }
    let odd = ["sample", "--from", "c.txt", "--out", "out", "--model", &smoke];
    for more in [["--weights", &vec!["2"; 99].join(",")], ["--size", "7x7"]] {
        assert_refused(more[0], &workspace.run(&[&odd[..], &more].concat()));
    }
    for more in [&["a fox"][..], &["--count", "2"], &["--gif", "a.gif"], &["--image", "a.png"]] {
        let args = ["sample", "--from", "c.txt", "--out", "out"];
        let output = workspace.run(&[&args[..], more].concat());
        assert_eq!(output.status.code(), Some(2), "{more:?}: {}", text(&output.stderr));
    }
    assert_eq!(workspace.run(&["sample", "--from", "c.txt"]).status.code(), Some(2));
    assert!(!workspace.file("out").exists());
}
