//! Tests of the reader on a config with every kind of field.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::*;
use crate::Result;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Run {
    pub name: String,
    pub seed: u64,
    pub train: Train,
    pub source: Source,
    pub model: Option<Train>,
    pub ratio: (f64, f64),
    pub levels: Vec<i64>,
    pub flag: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Train {
    pub lr: f64,
    pub warmup: u32,
    pub limit: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) enum Source {
    Emoji,
    Fashion,
    Shards { train: Vec<String>, val: Vec<String> },
    Idx(PathBuf),
    Mix(f64, Train),
}

impl Default for Train {
    fn default() -> Self {
        Self { lr: 1e-3, warmup: 100, limit: None }
    }
}

impl Default for Run {
    fn default() -> Self {
        Self {
            name: "run".into(),
            seed: 0,
            train: Train { warmup: 7, ..Train::default() }, // unlike Train's own default
            source: Source::Emoji,
            model: None,
            ratio: (0.7, 0.3),
            levels: vec![1, 2],
            flag: false,
        }
    }
}

/// All faults, one per line: `line:column path | what | hint`.
fn faults(text: &str) -> Vec<String> {
    list(parse::<Run>(text, "x.ron").map(|_| ()))
}

fn list(result: Result<()>) -> Vec<String> {
    let Err(faults) = result else { panic!("expected faults") };
    faults.iter().map(|f| format!("{} | {} | {}", f.place, f.what, f.hint)).collect()
}

#[test]
fn reads_with_comments_implicit_some_and_differences_only() {
    let text = "// head\n(\n  train: (lr: 2, /* no */ limit: 5),\n  source: Idx(\"a,)b\"), ratio: (1, 2.5),\n)";
    let (run, spans) = parse::<Run>(text, "x.ron").unwrap();
    let train = Train { lr: 2.0, limit: Some(5), ..Train::default() };
    assert_eq!(
        run,
        Run { train, source: Source::Idx("a,)b".into()), ratio: (1.0, 2.5), ..Run::default() }
    );
    assert_eq!(spans.place("train.limit"), "x.ron:3:34, `train.limit`");
    assert_eq!(spans.get("ratio.1"), Some((4, 35)));
    assert_eq!(spans.place("seed"), "x.ron, `seed` (its default)");
}

#[test]
fn lists_every_fault_at_once() {
    let text = r#"(
    name: toy,
    sed: 3,
    train: (lr: "fast", wramup: 3, limit: -1, lr: 1.0),
    source: Shards(train: 3, val: []),
    model: Some((lr: true)),
    ratio: (1, 2, 3),
    levels: [1, 2.5],
    flag: 1,
    lr: 3.0,
)"#;
    let expected = [
        "x.ron:2:11, `name` | expected text in double quotes, got `toy` | write `\"toy\"`",
        "x.ron:3:5, `sed` | unknown field `sed` | did you mean `seed`?",
        "x.ron:4:17, `train.lr` | expected a number, got `\"fast\"` | the default is `0.001`",
        "x.ron:4:25, `train.wramup` | unknown field `wramup` | did you mean `warmup`?",
        "x.ron:4:43, `train.limit` | `-1` is out of range for this field | give 0 or more",
        "x.ron:5:27, `source.train` | expected a list `[..]`, got `3` | ",
        "x.ron:6:22, `model.lr` | expected a number, got `true` | ",
        "x.ron:7:12, `ratio` | expected fewer values, got `(1, 2, 3)` | the default is `(0.7, 0.3)`",
        "x.ron:8:17, `levels.1` | expected an integer, got `2.5` | the default is `2`",
        "x.ron:9:11, `flag` | expected `true` or `false`, got `1` | the default is `false`",
        "x.ron:10:5, `lr` | unknown field `lr` | did you mean `train.lr`?",
    ];
    assert_eq!(faults(text), expected);
    let twice = "(seed: 1, train: (lr: 1, lr: 2))";
    assert_eq!(
        faults(twice),
        ["x.ron:1:26, `train.lr` | `lr` is given twice | keep one; the first is at 1:19"]
    );
}

#[test]
fn names_the_kinds_of_an_enum() {
    let one_of = "one of: Emoji, Fashion, Shards, Idx, Mix";
    let unknown =
        format!("x.ron:1:10, `source` | unknown value `Fashon` | did you mean `Fashion`? {one_of}");
    assert_eq!(faults("(source: Fashon)"), [unknown]);
    assert_eq!(
        faults("(source: Idx)"),
        ["x.ron:1:10, `source` | `Idx` needs its values | write `Idx(..)`"]
    );
    let missing = "x.ron:1:10, `source` | field `val` is missing | add `val: ..`";
    assert_eq!(faults("(source: Shards(train: []), seed: 1)"), [missing]);
    let quoted =
        "x.ron:1:10, `source` | expected a name without quotes, got `\"Emoji\"` | write `Emoji`";
    assert_eq!(faults("(source: \"Emoji\")"), [quoted]);
    for (value, what, hint) in [
        ("Shards", "`Shards` needs its values", "write `Shards(train: .., val: ..)`"),
        (
            "Shards([\"a\"])",
            "the values of `Shards` are written otherwise, got `Shards([\"a\"])`",
            "write `Shards(train: .., val: ..)`",
        ),
        ("Emoji(\"x\")", "`Emoji` takes no values, got `Emoji(\"x\")`", "write `Emoji`"),
        (
            "1",
            "`1` is none of its values",
            "one of: Emoji, Fashion, Shards(train: .., val: ..), Idx(..), Mix(..)",
        ),
    ] {
        let expected = format!("x.ron:1:10, `source` | {what} | {hint}");
        assert_eq!(faults(&format!("(source: {value}, flag: 3)"))[0], expected);
        let set = list(set(&Run::default(), "source", value).map(|_| ()));
        assert_eq!(set, [format!("`source` | {what} | {hint}")]);
    }
    for (text, hint) in [
        ("(source: Shards(train: \"a\", val: []))", "write `[\"a\"]`"),
        ("(train: (lr: \"0.1\"))", "write `0.1`"),
        ("(train: (limit: \"5\"))", "write `5`"),
    ] {
        assert!(faults(text)[0].ends_with(&format!(" | {hint}")), "{:?}", faults(text));
    }
    assert_eq!(
        faults("(seed: 1e6)"),
        ["x.ron:1:8, `seed` | expected an integer, got `1e6` | write `1000000`"]
    );
}

#[test]
fn a_broken_syntax_is_placed_and_faults_before_it_are_kept() {
    let comma = "put a comma after every value";
    let found = faults("(\n  seed: 1\n  name: \"é\"\n  flag: 3)");
    assert_eq!(found[0], format!("x.ron:2:10 | expected `,` or `)`, got `n` | {comma}"));
    assert_eq!(found[1], format!("x.ron:3:12 | expected `,` or `)`, got `f` | {comma}"));
    assert!(found[2].starts_with("x.ron:4:9, `flag` | expected `true`"), "{found:?}");
    let found = faults("(\n  flag: 3,\n  seed = 1,\n)");
    assert!(found[0].starts_with("x.ron:2:9, `flag`"), "{found:?}");
    assert_eq!(found[1], "x.ron:3:8 | expected `:` after `seed`, got `=` | write `seed: ..`");
    assert_eq!(
        faults("(train: (lr: 1"),
        ["x.ron:1:15 | expected `)`, got the end of the text | it closes the bracket at 1:9"]
    );
    assert_eq!(
        faults("(levels: [1, 2)"),
        ["x.ron:1:15 | expected `]`, got `)` | it closes the bracket at 1:10"]
    );
    assert_eq!(
        faults("(\"seed\": 1)"),
        ["x.ron:1:2 | field `seed` stands in quotes | write `seed: ..`"]
    );
    assert_eq!(faults("(name: \"x)"), ["x.ron:1:8 | a string is never closed | end it with `\"`"]);
    assert_eq!(faults("").len(), 1);
    assert_eq!(faults(&"(".repeat(100_000)).len(), 1);
}

#[test]
fn reads_a_file_and_checks_its_meaning_too() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.ron");
    let check = |run: &Run| {
        let mut found = Checks::default();
        found.unless(run.train.lr <= 1.0, "train.lr", "lr is above 1", "try 1e-3");
        found.unless(false, "seed", "never seen", "");
        found.faults()
    };
    std::fs::write(&file, "(seed: -1,\n train: (lr: 2))").unwrap();
    let found = list(read::<Run>(&file, check).map(|_| ()));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("x.ron:1:8, `seed` | `-1` is out of range"), "{found:?}");
    assert!(found[1].contains("x.ron:2:14, `train.lr` | lr is above 1 | try 1e-3"), "{found:?}");
    let none = list(read::<Run>(&dir.path().join("none.ron"), check).map(|_| ()));
    assert!(none[0].ends_with("check the path"), "{none:?}");
}

#[test]
fn sets_and_gets_one_field() {
    let run = Run::default();
    let run = set(&run, "train.lr", "1e-4").unwrap();
    let run = set(&run, "train.limit", "100 // all").unwrap();
    let run = set(&run, "name", "a toy").unwrap();
    let run = set(&run, "source", "Shards(train: [\"a\"], val: [])").unwrap();
    let run = set(&run, "source.val", "[\"b\"]").unwrap();
    let run = set(&run, "ratio.1", "0.5").unwrap();
    assert_eq!(run.train, Train { lr: 1e-4, limit: Some(100), warmup: 7 });
    assert_eq!((run.name.as_str(), run.ratio), ("a toy", (0.7, 0.5)));
    assert_eq!(get(&run, "source.val").unwrap(), "[\"b\"]");
    assert_eq!(get(&run, "train.limit").unwrap(), "100");
    assert!(paths(&run).starts_with(&["name", "seed", "train", "train.lr"].map(String::from)));
}

#[test]
fn a_wrong_setting_names_path_and_hint() {
    let set = |path: &str, value: &str| list(set(&Run::default(), path, value).map(|_| ()));
    assert_eq!(set("train.lrr", "1"), [" | unknown field `train.lrr` | did you mean `train.lr`?"]);
    assert_eq!(set("lr", "1"), [" | unknown field `lr` | did you mean `train.lr`?"]);
    assert_eq!(
        set("train.x", "1"),
        [" | unknown field `train.x` | the fields here: train.lr, train.warmup, train.limit"]
    );
    assert!(set("model.lr", "1")[0].contains("`model` is `None`: set it as a whole"));
    assert_eq!(
        set("train.lr", "fast"),
        ["`train.lr` | expected a number, got `fast` | the default is `0.001`"]
    );
    assert_eq!(
        set("seed", "1, flag: true"),
        ["`seed` | unexpected `,` after the end | a bracket may close too early"]
    );
    assert_eq!(set("seed", ""), ["`seed` | expected a value, got the end of the text | "]);
    assert!(set("source", "fashion")[0].contains("did you mean `Fashion`?"));
    assert!(
        set("train", "(lrr: 1)")[0]
            .starts_with("`train.lrr` | unknown field `lrr` | did you mean `lr`?")
    );
}

#[test]
fn prints_what_differs() {
    assert_eq!(minimal_ron(&Run::default()), "()");
    let mut run = Run::default();
    run.train.lr = 0.5;
    run.train.warmup = 100; // Train's own default, not Run's: must survive
    run.seed = 3;
    let text = minimal_ron(&run);
    assert_eq!(text, "(\n    seed: 3,\n    train: (\n        lr: 0.5,\n    ),\n)");
    let row = |path: &str, from: &str, to: &str| Change {
        path: path.to_string(),
        from: from.to_string(),
        to: to.to_string(),
    };
    let rows =
        [row("seed", "0", "3"), row("train.lr", "0.001", "0.5"), row("train.warmup", "7", "100")];
    assert_eq!(diff(&Run::default(), &run), rows);
    run.model = Some(Train::default());
    let (a, b) = (diff(&Run::default(), &run), diff(&run, &Run::default()));
    assert_eq!((a.len(), a[3].path.as_str(), a[3].from.as_str()), (4, "model", "None"));
    assert_eq!((b.len(), b[3].path.as_str(), b[3].to.as_str()), (4, "model", "None"));
}
