//! Files of earlier versions can still be read: `tests/fixtures/run-0.1` is a run of version 0.1.0.
//!
//! It was made by `paella train tiny.ron` on one thread, with the config stored in each of its checkpoints. `log.jsonl`
//! holds the records of the whole run. The checkpoints are those after two updates of each stage.

use crate::train::exclusive;
use paella::config::RunConfig;
use paella::metrics::StepRecord;
use paella::train::{self, Resume, RunOptions};
use std::path::{Path, PathBuf};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/run-0.1")
}

/// The records of a run that resumes from `checkpoint`.
fn resumed(checkpoint: &str) -> Vec<StepRecord> {
    let out = tempfile::tempdir().unwrap();
    let (from, to) =
        (fixture().join("checkpoints").join(checkpoint), out.path().join("checkpoints"));
    std::fs::create_dir_all(to.join(checkpoint)).unwrap();
    for file in std::fs::read_dir(&from).unwrap().map(|entry| entry.unwrap().path()) {
        std::fs::copy(&file, to.join(checkpoint).join(file.file_name().unwrap())).unwrap();
    }
    let config = RunConfig::read(&from.join("config.ron")).unwrap();
    let options = RunOptions {
        out: Some(out.path().to_path_buf()),
        resume: Resume::Must,
        ..RunOptions::default()
    };
    let mut records = Vec::new();
    let mut watch = |record: &StepRecord| {
        records.push(record.clone());
        true
    };
    train::run(&config, &options, &mut watch).unwrap();
    records
}

/// (phase, step, loss, gradient norm) as the earlier version logged them.
fn logged() -> Vec<(String, u64, f64, f64)> {
    let text = std::fs::read_to_string(fixture().join("log.jsonl")).unwrap();
    let row = |line: &str| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let number = |key: &str| record[key].as_f64().unwrap();
        (
            record["phase"].as_str().unwrap().to_string(),
            record["step"].as_u64().unwrap(),
            number("loss"),
            number("grad_norm"),
        )
    };
    text.lines().map(row).collect()
}

#[test]
fn a_run_of_an_earlier_version_goes_on_as_it_would_have() {
    let _turn = exclusive();
    // Two further updates of each stage. Where the tokenizer's run continues into the denoiser, a sum that is rounded
    // differently (with another number of threads) may select another code. Those losses are not compared.
    for (checkpoint, updates, expected) in
        [("tokenizer-0000002", 6, 2..4), ("denoiser-0000002", 2, 6..8)]
    {
        let (records, logged) = (resumed(checkpoint), logged());
        assert_eq!(records.len(), updates, "{checkpoint}");
        for (record, (phase, step, loss, norm)) in records.iter().zip(&logged[expected]) {
            assert_eq!((&record.phase, record.step), (phase, *step));
            // another processor may round sums differently: 1e-3 of the value
            let near = |got: f64, was: f64| (got - was).abs() < 1e-3 * was.abs();
            assert!(near(record.loss, *loss), "{phase} {step}: {} for {loss}", record.loss);
            assert!(
                near(record.grad_norm, *norm),
                "{phase} {step}: {} for {norm}",
                record.grad_norm
            );
        }
    }
}
