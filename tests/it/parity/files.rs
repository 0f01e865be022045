//! Weight files, and the names in the published ones.

use super::paella::{cond, paella_config};
use super::vqgan::vq_config;
use super::{int, ints};
use crate::fixture::{Fixture, Outcome, device};
use paella::model::clip::{Clip, ClipConfig};
use paella::model::init::VarBuilder;
use paella::model::prior::{PriorConfig, PriorModel};
use paella::model::{Paella, PaellaConfig};
use paella::tokens::text::{TextConfig, TextEncoder};
use paella::tokens::vqgan::{VqConfig, VqModel};
use paella::weights;
use paella::weights::fit::Rules;
use serde_json::Value;
use tch::{Device, Kind, nn};

/// Reads the `torch.save` files beside this fixture, and reads them again after writing them as `.safetensors`.
pub fn torch_files(fixture: &Fixture) -> Outcome {
    let _no_grad = tch::no_grad_guard();
    let mut outcome = Outcome::default();
    let folder = tempfile::tempdir().unwrap();
    for (file, about) in fixture.config["files"].as_object().unwrap() {
        let path = fixture.path.with_file_name(file);
        let again = folder.path().join("again.safetensors");
        weights::write(&again, &weights::read(&path).unwrap_or_else(|e| panic!("{e}"))).unwrap();
        for path in [&path, &again] {
            // the iteration counter of a training checkpoint is beside the state dict and is not read
            let tensors = weights::read(path).unwrap();
            let vars = nn::VarStore::new(device());
            if about["cls"] == "Paella" {
                let model =
                    Paella::new(&VarBuilder::skeleton(&vars), &paella_config(&about["init"]));
                weights::fill(&vars, &tensors, &Rules::default(), file).unwrap();
                let (x, r) = (fixture.input("paella.x"), fixture.input("paella.r"));
                let logits = model.forward(&x, &r, &cond(fixture, "paella."), false);
                fixture.check(&mut outcome, "paella.logits", &logits);
            } else {
                let model = VqModel::new(&VarBuilder::skeleton(&vars), &vq_config(&about["init"]));
                weights::fill(&vars, &tensors, &Rules::default(), file).unwrap();
                let encoded = model.encode(&fixture.input("vqgan.img"), false);
                fixture.check(&mut outcome, "vqgan.x", &encoded.latents);
                fixture.check(&mut outcome, "vqgan.indices", &encoded.tokens);
                fixture.check(&mut outcome, "vqgan.decoded", &model.decode(&encoded.qe));
            }
        }
    }
    outcome
}

/// Names, shapes and types of the full-size networks, listed without touching their memory.
pub fn state_dicts(value: &Value) -> Outcome {
    let mut outcome = Outcome::default();
    for (name, network) in value.as_object().unwrap() {
        let vars = nn::VarStore::new(Device::Cpu);
        let place = VarBuilder::skeleton(&vars);
        match name.as_str() {
            "Paella(byt5_embd=2560)" => drop(Paella::new(&place, &PaellaConfig::default())),
            "VQModel()" => drop(VqModel::new(&place, &VqConfig::default())),
            "PriorModel()" => drop(PriorModel::new(&place, &PriorConfig::default())),
            "open_clip ViT-H-14" => drop(Clip::new(&place, &ClipConfig::default())),
            "google/byt5-xl encoder" => drop(TextEncoder::new(&place, &TextConfig::default())),
            _ => {
                outcome.faults.push(format!("{name}: no check knows this network"));
                continue;
            }
        }
        compare_state_dict(name, network, &vars, &mut outcome);
    }
    outcome
}

fn compare_state_dict(name: &str, network: &Value, vars: &nn::VarStore, outcome: &mut Outcome) {
    let expected = network["state_dict"].as_object().unwrap();
    let variables = vars.variables();
    outcome.compared.push(format!("{name}: {} tensors", expected.len()));
    for (key, entry) in expected {
        let kind = if entry[1] == "int64" { Kind::Int64 } else { Kind::Float };
        match variables.get(key) {
            None => outcome.faults.push(format!("{name}: `{key}` is missing")),
            Some(xs) if xs.size() != ints(&entry[0]) || xs.kind() != kind => {
                outcome.faults.push(format!("{name}: `{key}` is {:?} {:?}", xs.size(), xs.kind()));
            }
            Some(_) => {}
        }
    }
    let extra = variables.keys().filter(|key| !expected.contains_key(*key));
    outcome
        .faults
        .extend(extra.map(|key| format!("{name}: `{key}` is not in the published weights")));
    let mut seen = std::collections::HashSet::new();
    let distinct =
        vars.trainable_variables().into_iter().filter(|xs| seen.insert(xs.data_ptr() as usize));
    let parameters: usize = distinct.map(|xs| xs.numel()).sum();
    if parameters as i64 != int(&network["parameters"]) {
        outcome
            .faults
            .push(format!("{name}: {parameters} parameters, expected {}", network["parameters"]));
    }
}
