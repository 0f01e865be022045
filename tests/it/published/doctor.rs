//! `paella doctor --weights`: found, complete, of this network, or what is wrong.

use super::{json, names, with_model};
use crate::cli::{Workspace, assert_refused, text};
use serde_json::Value;
use std::fs::{self, File};
use std::path::Path;

fn row<'a>(rows: &'a Value, network: &str) -> &'a Value {
    rows.as_array().unwrap().iter().find(|row| row["network"] == network).unwrap()
}

#[test]
fn the_doctor_says_of_each_file_what_is_wrong() {
    let (workspace, model) = with_model();
    let output = workspace.run(&["doctor", "--weights", "model"]);
    let said = text(&output.stdout);
    assert!(output.status.success() && said.matches("ok  ").count() == 3, "{said}");
    // cut off, of another network, missing
    let path = model.join("tokenizer.safetensors");
    let size = fs::metadata(&path).unwrap().len();
    File::options().write(true).open(path).unwrap().set_len(size - 1).unwrap();
    fs::copy(model.join("denoiser.safetensors"), model.join("text.safetensors")).unwrap();
    fs::remove_file(model.join("denoiser.safetensors")).unwrap();
    let output = workspace.run(&["doctor", "--weights", "model", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let rows = json(&output);
    let state = |network| {
        let row = row(&rows, network);
        ["found", "complete", "loads"].map(|key| row[key].as_bool().unwrap())
    };
    assert_eq!(state("tokenizer"), [true, false, false], "{rows}");
    assert_eq!(state("text"), [true, true, false], "{rows}");
    assert_eq!(state("denoiser"), [false; 3], "{rows}");
    assert!(names(&row(&rows, "tokenizer")["wrong"]).concat().contains("get it again"), "{rows}");
    let output = workspace.run(&["doctor", "--weights", "model"]);
    assert_refused("three wrong", &output);
    let said = text(&output.stdout);
    for mark in ["BROKEN", "OTHER", "MISSING"] {
        assert!(said.contains(mark), "{said}");
    }
    assert!(text(&output.stderr).contains("paella pull paella-v3"), "{}", text(&output.stderr));
}

#[test]
fn a_config_alone_names_the_files_to_look_at() {
    let (workspace, model) = with_model();
    let config = fs::read_to_string(crate::cli::smoke()).unwrap();
    let place = model.join("denoiser.safetensors").display().to_string();
    let named = config.trim_end().strip_suffix(')').unwrap().to_string();
    fs::write(
        workspace.file("own.ron"),
        format!("{named}\n    weights: (denoiser: {place:?}),\n)\n"),
    )
    .unwrap();
    let output = workspace.run(&["doctor", "--config", "own.ron", "--json"]);
    let rows = json(&output);
    assert!(output.status.success(), "{rows}");
    assert_eq!((rows.as_array().unwrap().len(), &rows[0]["loads"]), (1, &true.into()));
    assert_refused("no weights", &workspace.run(&["doctor", "--config", &crate::cli::smoke()]));
    assert_refused("no folder", &workspace.run(&["doctor", "--weights", "none"]));
}

/// A `.safetensors` file with these tensors, all zeros, which take no room on the disk.
fn sparse(path: &Path, tensors: &serde_json::Map<String, Value>) {
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for wide in [true, false] {
        for (name, about) in tensors.iter().filter(|(_, about)| (about[1] == "int64") == wide) {
            let numbers: u64 =
                about[0].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).product();
            let (dtype, width) = if wide { ("I64", 8) } else { ("F32", 4) };
            let start = end;
            end += numbers * width;
            let entry = serde_json::json!({ "dtype": dtype, "shape": about[0], "data_offsets": [start, end] });
            header.insert(name.clone(), entry);
        }
    }
    let mut header = Value::Object(header).to_string();
    // as all writers do: numbers begin where numbers may
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat())
        .unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.set_len(8 + header.len() as u64 + end).unwrap();
}

#[test]
fn weights_of_full_size_are_looked_at_without_being_read() {
    let workspace = Workspace::new();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/state_dict_v3.json");
    let all: Value = serde_json::from_slice(&fs::read(fixture).unwrap()).unwrap();
    for (name, place) in [
        ("Paella(byt5_embd=2560)", "paella_v3.pt"),
        ("VQModel()", "vqgan_f4.pt"),
        ("PriorModel()", "prior_v1.pt"),
        ("open_clip ViT-H-14", "clip-vit-h-14/open_clip_pytorch_model.bin"),
        ("google/byt5-xl encoder", "byt5-xl/pytorch_model.bin"),
    ] {
        let tensors = all[name]["state_dict"].as_object().unwrap_or_else(|| panic!("no {name}"));
        sparse(&workspace.file("weights").join(place), tensors);
    }
    let output = workspace.run(&["doctor", "--weights", "weights", "--json"]);
    let rows = json(&output);
    assert!(output.status.success(), "{rows} {}", text(&output.stderr));
    assert_eq!(rows.as_array().unwrap().len(), 5);
    let bytes: u64 =
        rows.as_array().unwrap().iter().map(|row| row["bytes"].as_u64().unwrap()).sum();
    assert!(bytes > 20_000_000_000, "{bytes}");
}
