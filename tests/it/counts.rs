//! Numbers that are printed agree with what was put in, and with what the documents show.

use crate::cli::{Workspace, text};
use crate::data::odd::tar;
use crate::data::png;
use crate::lab::{lab, run};
use crate::train::{exclusive, smoke as small};
use paella::config::to_ron;
use paella::data::Source;
use paella::data::scenes::ScenesConfig;
use paella::data::stream::StreamConfig;
use paella::networks::Networks;
use std::path::Path;
use tch::Device;

/// What was put into a shard: three whole samples, and one of each kind that is left out.
fn mixed() -> Vec<u8> {
    let whole = png(3);
    let cut = &whole[..whole.len() / 2];
    tar(&[
        ("0.png", &png(0)),
        ("0.txt", b"a red fox"),
        ("1.png", &png(1)),
        ("1.txt", b"a blue fox"),
        ("2.png", &png(2)),
        ("2.json", br#"{"caption": "a fox"}"#),
        ("3.png", cut),
        ("3.txt", b"cut"),
        ("4.png", &whole),
        ("4.txt", b"\xff\xfe"),
        ("5.txt", b"alone"),
        ("6.png", &whole),
    ])
}

/// Samples in `mixed`, and how many of them can be read.
const PUT_IN: (u64, u64) = (7, 3);

/// The numbers before these words, summed over all lines.
fn counted(text: &str, words: &str) -> u64 {
    let numbers = text.match_indices(words).filter_map(|(at, _)| {
        let before = text[..at].trim_end();
        before.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
    });
    numbers.sum()
}

#[test]
fn the_counts_that_data_and_train_print_agree_with_what_was_put_in() {
    let workspace = Workspace::new();
    std::fs::write(workspace.file("mixed.tar"), mixed()).unwrap();
    let (all, whole) = PUT_IN;
    // the prompt's command
    let shown = workspace.pipe("data mixed.tar size=32\n");
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    let said = text(&shown.stdout);
    assert_eq!(counted(&said, " pictures of 32 x 32"), whole, "{said}");
    assert_eq!(counted(&said, " left out: "), all - whole, "{said}");
    // a training from memory, and one from a stream that meets every sample exactly twice
    let mut config = small(2, 2);
    config.data.groups = vec![];
    (config.tokenizer.train.batch, config.train.global_batch) = (3, 3);
    config.data.limit = None;
    let shards = vec!["mixed.tar".to_string()];
    config.data.source = Source::Shards { train: shards.clone(), val: vec![] };
    for streams in [false, true] {
        let stream = StreamConfig {
            shards: shards.clone(),
            lanes: 1,
            threads: 1,
            shuffle: 1,
            ..StreamConfig::default()
        };
        config.data.stream = streams.then_some(stream);
        std::fs::write(workspace.file("run.ron"), to_ron(&config)).unwrap();
        let out = format!("out-{streams}");
        let output = workspace.run(&["train", "run.ron", "--out", &out]);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success(), "{said}");
        let log = std::fs::read_to_string(workspace.file(&out).join("log.jsonl")).unwrap();
        let last: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        let skipped = last["skipped_samples"].as_object().unwrap();
        let lost: u64 = skipped.values().map(|n| n.as_u64().unwrap()).sum();
        // what is printed last is what the log says last
        let end = said.lines().rfind(|line| line.contains("left out in all")).unwrap_or_default();
        for (why, n) in skipped {
            assert!(end.contains(&format!("{n} {why}")), "{n} {why} is not in {said}");
        }
        // a whole pass over the shard reads three samples and leaves out four
        let passes = if streams { (lost + 3) / (all - whole) } else { 1 };
        assert!((1..=3).contains(&passes) && lost >= all - whole, "{lost}: {said}");
        assert_eq!(skipped.len(), 4, "{skipped:?}");
    }
}

#[test]
fn a_chart_of_eval_says_which_file_it_replaces() {
    let workspace = Workspace::new();
    let mut config = small(1, 1);
    config.data.source = Source::Scenes(ScenesConfig::default());
    config.data.groups = vec![];
    (config.data.limit, config.data.size) = (Some(4), 64);
    (config.eval.captions, config.eval.batch) = (2, 8);
    {
        let _turn = exclusive();
        let nets = Networks::new(&config, Device::Cpu).unwrap_or_else(|e| panic!("{e}"));
        nets.save(&workspace.file("model"), false).unwrap();
    }
    let chart = || {
        let args = ["eval", "model", "--over", "steps", "--chart", "c.png", "--device", "cpu"];
        let output = workspace.run(&args);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stderr)
    };
    let (first, second) = (chart(), chart());
    assert!(!first.contains("in place of") && workspace.file("c.png").is_file(), "{first}");
    assert!(second.contains("in place of an older file: c.png"), "{second}");
}

#[test]
fn the_readme_shows_a_training_that_learns_as_it_does() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let lines: Vec<&str> = readme.lines().skip_while(|line| *line != "## Ten lines").collect();
    let at = lines.iter().position(|line| line.starts_with("> load ")).expect("a load");
    let command = |line: &str| line.trim_start_matches("> ").to_string();
    let (load, train) = (command(lines[at]), command(lines[at + 1]));
    assert!(load.contains("smoke.ron") && train.starts_with("train "), "{load}, {train}");
    // `loss A -> B, accuracy A% -> B%`
    let numbers = |text: &str| -> Vec<f64> {
        let from = text.split_once(": loss ").expect("a loss").1;
        let words = from.split([' ', ',']).map(|word| word.trim_end_matches('%'));
        words.filter_map(|word| word.parse().ok()).take(4).collect()
    };
    let shown = numbers(lines[at + 2]);
    let (mut lab, _folder) = lab();
    run(&mut lab, &load);
    let view = run(&mut lab, &train);
    let own = numbers(view.first_text().unwrap());
    assert!(own[1] < own[0] - 1.0 && own[3] > own[2] + 30.0, "it learns: {own:?}");
    for (i, (own, shown)) in own.iter().zip(&shown).enumerate() {
        // losses in nats, accuracies in percent; seeds and threads move the last digits
        let far = if i < 2 { 0.3 } else { 8.0 };
        assert!((own - shown).abs() < far, "README.md shows {shown}, here it is {own}");
    }
}
