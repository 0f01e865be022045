//! Compares every fixture of the folder with this crate, at the tolerances that the file states.
//!
//! A file or an output that no check knows is a fault, and so is a file of the repository's folder that is gone.

mod clip;
mod files;
pub mod laion;
pub mod paella;
mod prior;
mod sampling;
mod text;
mod training;
mod vqgan;

use crate::fixture::{Fixture, Outcome, device, folder};
use serde_json::Value;
use std::path::Path;

type Case = fn(&Fixture) -> Outcome;

/// Files of the repository's folder that are compared here.
const OWN: usize = 27;

#[test]
fn every_fixture_of_the_folder() {
    device(); // libtorch remembers the first answer about GPUs
    let folder = folder();
    let mut paths: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let (mut passed, mut failed) = (0, 0);
    for path in &paths {
        let name = path.file_name().unwrap().to_string_lossy().to_string();
        let Some(outcome) = run(path) else { continue };
        if outcome.faults.is_empty() {
            passed += 1;
            let (outputs, worst) = (outcome.compared.len(), outcome.worst);
            eprintln!("passed   {name}: {outputs} outputs, at most {worst:.2} of a tolerance");
        } else {
            failed += 1;
            eprintln!("FAILED   {name}:\n  {}", outcome.faults.join("\n  "));
        }
    }
    assert_eq!(failed, 0, "{failed} fixtures fail, see above");
    assert!(passed > 0, "no fixture in {}", folder.display());
    if std::env::var_os("PAELLA_FIXTURES").is_none() {
        assert_eq!(passed, OWN, "fixtures of {}", folder.display());
    }
}

/// None if another test reads the file, or a fixture names it.
fn run(path: &Path) -> Option<Outcome> {
    let unknown =
        || Outcome { faults: vec!["no check knows this file".into()], ..Outcome::default() };
    let name = path.file_name()?.to_string_lossy();
    match &*name {
        "README.md" | "inception.json" | "legacy.pt" | "run-0.1" => return None,
        "tiny_paella.pt" | "tiny_vqgan.pt" => return None,
        _ => {}
    }
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("py") => None,
        Some("json") => Some(json_case(path).unwrap_or_else(unknown)),
        Some("safetensors") => {
            let fixture = Fixture::read(path);
            let Some(case) = case_of(&fixture) else { return Some(unknown()) };
            let mut outcome = case(&fixture);
            let compared = |output: &String| outcome.compared.contains(output);
            let missed: Vec<_> = fixture.outputs().into_iter().filter(|it| !compared(it)).collect();
            let said = missed.iter().map(|name| format!("`{name}`: no check knows this output"));
            outcome.faults.extend(said);
            Some(outcome)
        }
        _ => Some(unknown()),
    }
}

fn case_of(fixture: &Fixture) -> Option<Case> {
    let mode = fixture.call["mode"].as_str().unwrap_or_default();
    Some(match fixture.class.as_str() {
        "Paella" if fixture.get("in.random_x").is_some() => paella::noise,
        "Paella" if fixture.get("in.init_noise").is_some() => sampling::sampler,
        "Paella" if mode == "eval" => paella::forward,
        "Paella" if fixture.call["steps"].is_u64() => training::trajectory,
        "Paella" if mode == "train" => training::gradients,
        "VQModel" if mode == "train" => vqgan::vqgan_train,
        "VQModel" => vqgan::vqgan,
        "Discriminator" => vqgan::discriminator,
        "T5EncoderModel" => text::text_encoder,
        "PriorModel" => prior::prior,
        "CLIP" => clip::towers,
        "torchvision Resize + Normalize" => clip::preprocess,
        "checkpoints" => files::torch_files,
        _ => return None,
    })
}

fn json_case(path: &Path) -> Option<Outcome> {
    let value: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    if value["batches"].is_array() && value["source"].as_str().is_some_and(|s| s.contains("ByT5")) {
        return Some(text::byte_tokenizer(&value));
    }
    if value["sot"].is_u64() {
        return Some(clip::pieces(&value));
    }
    if value["filters"].is_array() && value["records"].is_array() {
        return Some(laion::filter(&value));
    }
    let first = value.as_object()?.values().next()?;
    first["state_dict"].is_object().then(|| files::state_dicts(&value))
}

fn int(value: &Value) -> i64 {
    value.as_i64().unwrap()
}

fn ints(value: &Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(int).collect()
}
