//! Extreme numbers in configs: each is refused by name, or the config can be planned. None overflows.

use crate::cli::Workspace;
use crate::configs::shipped;
use paella::Error;
use paella::config::{self, RunConfig};
use paella::cost::{self, DEVICES, EstimateRequest};
use paella::data::Source;
use paella::face::cli;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Written into every field that holds a number, whole or not.
const NUMBERS: [&str; 8] = [
    "0",
    "-1",
    "2147483648",
    "9223372036854775807",
    "18446744073709551615",
    "1e308",
    "1e-320",
    "NaN",
];

/// How many of the configs also go through the program as processes of their own.
const PROCESSES: usize = 40;

/// Checks and plans a config, as `paella config check` and `paella plan` do. Returns whether it has no faults.
fn planned(config: &RunConfig) -> bool {
    let faults = config.check();
    assert!(
        faults.iter().all(|fault| !fault.what.is_empty() && !fault.place.is_empty()),
        "{faults:?}"
    );
    if !faults.is_empty() {
        return false;
    }
    let request = EstimateRequest {
        gpu: &DEVICES[0],
        gpus: 8,
        per_node: None,
        utilisation: 0.35,
        micro_batch: None,
        text_bytes: None,
    };
    for phase in config.to_train() {
        if let Ok(budget) = cost::budget(config, phase, &request) {
            let figures = [budget.step(), budget.days(), budget.images_per_s()];
            assert!(figures.iter().all(|x| x.is_finite() && *x >= 0.0), "{phase}: {figures:?}");
            assert!(budget.work.trained() >= 0 && budget.memory.total() >= 0, "{budget:?}");
        }
    }
    true
}

/// The fields of a config that hold a number, or None, which may be one: also in tuples, lists and enums. `seen` are the
/// fields of earlier configs, which are left out.
fn numeric(config: &RunConfig, seen: &mut BTreeSet<String>) -> Vec<String> {
    let all = config::paths(config);
    let branch = |path: &String| all.iter().any(|other| other.starts_with(&format!("{path}.")));
    let mut todo: Vec<String> = all.iter().filter(|path| !branch(path)).cloned().collect();
    let mut found = Vec::new();
    while let Some(path) = todo.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let Ok(value) = config::get(config, &path) else { continue };
        if value == "None" || value.parse::<f64>().is_ok() {
            found.push(path);
        } else if value.contains(['(', '[']) {
            let words = value.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
            let names: BTreeSet<&str> = words.filter(|word| word.len() > 2).collect();
            let numbers = (0..4).map(|i| i.to_string());
            let below = names.into_iter().map(String::from).chain(numbers);
            todo.extend(below.map(|name| format!("{path}.{name}")));
        }
    }
    found
}

/// A shipped config that needs no files beside the program, so that only its numbers can be at fault.
fn alone(path: &Path) -> RunConfig {
    let mut config = RunConfig::read(path).unwrap_or_else(|e| panic!("{e}"));
    config.weights = Default::default();
    if let Some(stream) = &mut config.data.stream {
        stream.shards = vec!["pipe:true".into()];
    }
    if matches!(config.data.source, Source::Shards { .. } | Source::Folder(_) | Source::Idx(_)) {
        config.data.source = Source::Emoji;
    }
    // the names of groups are read from the shards: that takes longer than all the rest
    (config.data.groups, config.data.styles) = (vec![], vec![]);
    config
}

/// All shipped configs with one number replaced, each field once: (field, number, text).
fn changed() -> Vec<(String, &'static str, String)> {
    let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
    for path in shipped() {
        let base = alone(&path);
        for field in numeric(&base, &mut seen) {
            let text = |value| config::text_with(&base, &field, value).unwrap();
            all.extend(NUMBERS.map(|value| (field.clone(), value, text(value))));
        }
    }
    all
}

#[test]
fn fuzz_every_number_of_the_shipped_configs_is_refused_or_can_be_planned() {
    let (mut fields, mut broken, mut sound) = (BTreeSet::new(), Vec::new(), 0);
    for (field, value, text) in changed() {
        let read = config::parse::<RunConfig>(&text, "x.ron");
        let fine = |config: &RunConfig| catch_unwind(AssertUnwindSafe(|| planned(config)));
        match read.map(|(config, _)| fine(&config)) {
            // a number that does not go into the field is refused at the field
            Err(faults) => assert!(
                faults.iter().all(|fault| fault.place.starts_with("x.ron:")),
                "{field} = {value}: {faults:?}"
            ),
            Ok(Ok(is_sound)) => sound += usize::from(is_sound),
            Ok(Err(_)) => broken.push(format!("{field} = {value}")),
        }
        fields.insert(field);
    }
    for known in
        ["train.optim.betas.1", "sample.cfg_scale.0", "model.levels.0.c_hidden", "data.limit"]
    {
        assert!(fields.contains(known), "{known} is not in {fields:?}");
    }
    assert!(fields.len() > 100 && sound > 100, "{} fields, {sound} sound", fields.len());
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The arguments of `config check` and of `plan` for a config.
fn commands(file: &str) -> [Vec<&str>; 2] {
    let check = vec!["config", "check", file, "--json"];
    let plan = vec!["plan", file, "--gpus", "8", "--device", DEVICES[0].name, "--json"];
    [check, plan]
}

#[test]
fn fuzz_config_check_and_plan_answer_every_number_of_the_shipped_configs() {
    let workspace = Workspace::new();
    let file = workspace.file("x.ron").display().to_string();
    let (all, mut broken, mut refused) = (changed(), Vec::new(), [0, 0]);
    for (field, value, text) in &all {
        std::fs::write(&file, text).unwrap();
        for (i, args) in commands(&file).into_iter().enumerate() {
            let call = || cli::call(["paella"].into_iter().chain(args));
            match catch_unwind(AssertUnwindSafe(call)) {
                Ok(Ok(code)) => assert_eq!(code, 0),
                Ok(Err(error)) => {
                    refused[i] += 1;
                    let named = |fault: &paella::Fault| !fault.what.is_empty();
                    assert!(error.faults().iter().all(named), "{field} = {value}: {error:?}");
                    if let (0, Error::Config(faults)) = (i, &error) {
                        let placed = faults.iter().all(|fault| fault.place.contains("x.ron:"));
                        assert!(placed, "{field} = {value}: {faults:?}");
                    }
                }
                Err(_) => broken.push(format!("{:?}: {field} = {value}", ["check", "plan"][i])),
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    let some = |n: usize| (all.len() / 20..all.len() - 20).contains(&n);
    assert!(refused.iter().all(|&n| some(n)), "{refused:?} of {} refused", all.len());
    // the same by the program: its exit code, and no trace of a panic
    let step = all.len() / PROCESSES;
    for (i, (field, value, text)) in all.iter().step_by(step).enumerate() {
        std::fs::write(&file, text).unwrap();
        let output = workspace.run(&commands(&file)[i % 2]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{field} = {value}: {said}");
        assert!(!said.contains("panicked") && !said.contains("internal error"), "{said}");
    }
}

/// Values that cannot train, each in a config that is otherwise fine, and one at the bound that can.
#[test]
fn numbers_that_cannot_train_are_faults_of_their_field() {
    let path = shipped().into_iter().find(|path| path.ends_with("smoke.ron")).unwrap();
    let base = RunConfig::read(&path).unwrap();
    let check = |field: &str, value: &str| {
        let changed = config::set(&base, field, value).unwrap_or_else(|e| panic!("{field}: {e:?}"));
        changed.check().into_iter().map(|fault| fault.place).collect::<Vec<_>>()
    };
    for (field, value) in [
        ("tokenizer.model.levels", "62"),
        ("sample.cfg_scale", "(NaN, 1.0)"),
        ("sample.cfg_scale", "(1.0, 1e308)"),
        ("sample.temperature", "(1e-320, 1.0)"),
        ("sample.temperature", "(1.0, NaN)"),
        ("train.optim.betas", "(1.0, 1.0)"),
        ("train.optim.betas", "(0.9, NaN)"),
        ("train.optim.decay", "Cosine(NaN)"),
        ("train.optim.decay", "Cosine(1e308)"),
        ("train.optim.lr", "1e39"),
        ("train.optim.lr", "1e4"),
        ("train.optim.max_norm", "1e-320"),
        ("train.optim.max_norm", "-1.0"),
        ("train.optim.max_norm", "NaN"),
        ("train.optim.lr", "NaN"),
        ("train.noise_ratio", "Power(1e-320)"),
        ("data.limit", "Some(0)"),
        ("train.save.minutes", "NaN"),
        ("train.label_smoothing", "1.0"),
        ("train.micro_batch", "Some(0)"),
    ] {
        let places = check(field, value);
        assert!(places.iter().any(|place| place == field), "{field} = {value}: {places:?}");
    }
    for (field, value) in [
        ("train.optim.lr", "1e3"),
        ("train.optim.max_norm", "0.0"),
        ("train.optim.max_norm", "1e-12"),
        ("train.label_smoothing", "0.99"),
    ] {
        assert_eq!(check(field, value), Vec::<String>::new(), "{field}");
    }
}

#[test]
fn a_name_is_a_name_and_not_a_path() {
    let long = "a".repeat(300);
    let blank = [" ", " a", "a ", "a\n", "a\tb", "\u{1b}[2J", "\u{a0}"];
    for name in ["..", ".", "../../x", "/abs", "a/b", "a/", "./a", &long].into_iter().chain(blank) {
        let config = RunConfig { name: name.into(), ..RunConfig::default() };
        let faults = config.check();
        assert!(faults.iter().any(|fault| fault.place == "name"), "{name}: {faults:?}");
        let error = paella::train::run(&config, &Default::default(), &mut |_| true);
        assert!(error.is_err_and(|e| e.to_string().contains("no name")), "{name}");
    }
    // without a name a config is fine, but a run then needs a folder
    let error = paella::train::run(&RunConfig::default(), &Default::default(), &mut |_| true);
    assert!(error.is_err_and(|e| e.to_string().contains("--out")));
}
