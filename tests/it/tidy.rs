//! Every text that is read, spelled as editors and tools spell it: all readers read the same words.

use crate::cli::{Workspace, assert_refused, smoke, text};
use crate::data::odd::{read as both_readers, tar};
use crate::data::png;
use crate::lab::{lab, run};
use paella::config::RunConfig;
use paella::course::source::Lesson;
use paella::data::laion::{CaptionRules, LaionFilter};
use paella::data::{DataConfig, Dataset, Part, Source};

/// One text in the spellings that turn up: marks, line ends, zeros and escapes are no part of it.
fn spellings(words: &str) -> Vec<String> {
    let mut all = vec![words.to_string()];
    all.extend([
        format!("\u{feff}{words}"),
        format!("\u{feff}\u{feff}{words}"),
        format!("{words}\r\n"),
        format!("\r\n{words}\r\n\r\n"),
        format!("{words}\0\0\0"),
        format!("\0{words}\n"),
        format!("{words} \t\n"),
        format!("{words}\u{feff}"),
        words.replacen(' ', "\0", 1),
        words.replacen(' ', "\u{feff}", 1),
        words.replacen(' ', " \x1b", 1),
        format!("\u{feff}\r\n{words}\0\r\n"),
    ]);
    all
}

/// Texts without words.
const EMPTY: [&str; 6] = ["", "\u{feff}", "\u{feff}\u{feff}", "\0", "\u{feff}\r\n\0", " \r\n"];

/// The caption that a folder of one picture gives, or why it gives none.
fn of_folder(caption: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.png"), png(1)).unwrap();
    std::fs::write(folder.path().join("a.txt"), caption).unwrap();
    let source = Source::Folder(folder.path().into());
    let config = DataConfig { source, size: 8, ..DataConfig::default() };
    let set = Dataset::open(&config, Part::Train).map_err(|e| e.to_string())?;
    Ok(set.records[0].caption.clone())
}

/// The caption that both readers of shards give, or why they give none.
fn of_shard(name: &str, bytes: &[u8]) -> Result<String, String> {
    let (samples, reasons) = both_readers(&tar(&[("0.png", &png(1)), (name, bytes)]));
    match samples.first() {
        Some((_, caption)) => Ok(caption.clone()),
        None => Err(format!("{reasons:?}")),
    }
}

fn json(caption: &str) -> Vec<u8> {
    serde_json::json!({ "caption": caption }).to_string().into_bytes()
}

#[test]
fn captions_are_the_same_words_in_every_spelling_and_reader() {
    let (mut lab, (folder, _turn)) = lab();
    let picture = folder.path().join("red_apple.png");
    std::fs::write(&picture, png(1)).unwrap();
    for spelled in spellings("a fox runs") {
        let found = [
            of_folder(&spelled),
            of_shard("0.txt", spelled.as_bytes()),
            of_shard("0.json", &json(&spelled)),
            of_shard("0.json", &[&b"\xef\xbb\xbf"[..], &json(&spelled)].concat()),
        ];
        for (i, found) in found.into_iter().enumerate() {
            assert_eq!(found.as_deref(), Ok("a fox runs"), "reader {i}: {spelled:?}");
        }
        std::fs::write(picture.with_extension("txt"), &spelled).unwrap();
        let view = run(&mut lab, &format!("show \"{}\"", picture.display()));
        assert!(format!("{view:?}").contains("a fox runs"), "{spelled:?}: {view:?}");
        // a typed text
        run(&mut lab, &format!("start \"{}\" seed=1", spelled.trim_matches(['\r', '\n'])));
        assert_eq!(lab.workspace().sampling().unwrap().text, "a fox runs", "{spelled:?}");
    }
    for empty in EMPTY {
        let found = [
            of_folder(empty),
            of_shard("0.txt", empty.as_bytes()),
            of_shard("0.json", &json(empty)),
        ];
        for (i, found) in found.into_iter().enumerate() {
            let why = found.expect_err("no caption");
            assert!(why.contains("no caption"), "reader {i}: {empty:?}: {why}");
        }
    }
}

#[test]
fn a_filter_reads_the_caption_that_training_reads() {
    let rules = CaptionRules { min_words: 3, forbidden_words: vec!["www.".into()] };
    let filter = LaionFilter { caption: Some(rules), ..LaionFilter::default() };
    let json = br#"{"original_width": 600, "original_height": 600, "pwatermark": 0.1, "aesthetic": 6, "punsafe": 0.1}"#;
    for spelled in spellings("a fox runs") {
        assert!(filter.check(Some(json), Some(spelled.as_bytes())).is_ok(), "{spelled:?}");
    }
    assert!(filter.check(Some(json), Some(b"a\0fox")).is_err(), "two words");
}

#[test]
fn configs_are_the_same_in_every_spelling() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.ron");
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        RunConfig::read(&path).map_err(|e| e.to_string())
    };
    let plain = read("(seed: 7, name: \"mine\")").unwrap();
    for spelled in spellings("(seed: 7, name: \"mine\")") {
        assert_eq!(read(&spelled).as_ref(), Ok(&plain), "{spelled:?}");
        let parsed =
            paella::config::parse::<RunConfig>(&spelled, "x.ron").map(|(config, _)| config);
        assert_eq!(parsed.as_ref(), Ok(&plain), "{spelled:?}");
    }
    // places are those of the text as it is shown
    let error = read("\u{feff}(\r\n  seed: 7,\0\r\n  nam: 1)").unwrap_err();
    assert!(error.contains("x.ron:3:3"), "{error}");
    let nothing = read("").unwrap_err();
    assert!(nothing.contains("x.ron:1:1"), "{nothing}");
    for empty in EMPTY {
        let error = read(empty).unwrap_err();
        let first = |text: &str| text.lines().next().unwrap_or_default().to_string();
        assert_eq!(first(&error), first(&nothing), "{empty:?}: {error}");
    }
}

#[test]
fn scripts_and_pipes_are_the_same_in_every_spelling() {
    let workspace = Workspace::new();
    let smoke = smoke();
    let all = spellings("set name mine");
    // one script in which each line is another spelling, and one pipe
    let lines = |all: &[String]| all.join("\nset seed 3\n");
    std::fs::write(workspace.file("s.txt"), format!("{}\nconfig name\n", lines(&all))).unwrap();
    let script = workspace.run(&["--model", &smoke, "--script", "s.txt"]);
    let pipe = workspace.pipe(format!("{}\nconfig name\n", lines(&all)));
    for output in [script, pipe] {
        let said = text(&output.stdout);
        assert!(output.status.success(), "{}\n{said}", text(&output.stderr));
        let words = |line: &&str| line.split_whitespace().eq([">", "set", "name", "mine"]);
        assert_eq!(said.lines().filter(words).count(), all.len(), "{said}");
        assert!(said.contains("\"mine\"") && !said.contains('\0'), "{said}");
    }
    for empty in EMPTY {
        std::fs::write(workspace.file("s.txt"), empty).unwrap();
        let script = workspace.run(&["--model", &smoke, "--script", "s.txt"]);
        assert!(script.status.success(), "{empty:?}: {}", text(&script.stderr));
        assert!(script.stdout.is_empty(), "{empty:?}: {}", text(&script.stdout));
    }
    // what follows the noise is still a command, with its place
    let output = workspace.pipe("\u{feff}\r\n\0bogus\r\n");
    assert_refused("pipe", &output);
    assert!(text(&output.stderr).contains("standard input:2: bogus"), "{}", text(&output.stderr));
}

#[test]
fn lessons_are_the_same_in_every_spelling() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("01-mine.md");
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tutorials/01-tokens.md");
    let plain = std::fs::read_to_string(source).unwrap();
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        Lesson::read(&path, &paella::course::commands()).unwrap_or_else(|e| panic!("{e}"))
    };
    let lesson = read(&plain);
    assert_eq!(read(&format!("\u{feff}{plain}\0")), lesson);
    assert_eq!(read(&plain.replace('\n', "\r\n")), lesson);
}
