//! `paella convert`: every bit kept, what does not fit listed in full.

use super::{assert_same, bits, json, names, read, with_model};
use crate::cli::{Workspace, assert_refused, text};
use crate::weights::{Pt, dict};
use paella::weights::{Named, map_all, write};
use std::fs;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

fn renamed(tensors: &Named, rename: impl Fn(&str) -> String) -> Named {
    tensors.iter().map(|(name, xs)| (rename(name), xs.shallow_clone())).collect()
}

/// The dictionary of some tensors, in the program of a `torch.save` file.
fn dictionary(pt: &mut Pt, tensors: &Named, prefix: &str) -> Vec<u8> {
    let class = |kind| match kind {
        Kind::Float => "Float",
        Kind::Int64 => "Long",
        other => panic!("{other:?}"),
    };
    let mut pairs = Vec::new();
    for (name, xs) in tensors {
        let (kind, size, bytes) = bits(xs);
        pairs.push((format!("{prefix}{name}"), pt.tensor(class(kind), &size, bytes)));
    }
    let pairs: Vec<(&str, Vec<u8>)> = pairs.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
    dict(&pairs)
}

/// A checkpoint as training scripts of others write it: wrapped names, averages and an optimiser's state beside them.
fn checkpoint(path: &Path, last: &Named, averages: &Named) {
    let mut pt = Pt::default();
    let moments: Named =
        [("state.exp_avg".to_string(), Tensor::zeros([5], (Kind::Float, Device::Cpu)))].into();
    let program = dict(&[
        ("iter", b"K\x07".to_vec()),
        ("state_dict", dictionary(&mut pt, last, "module._orig_mod.")),
        ("ema_state_dict", dictionary(&mut pt, averages, "")),
        ("optimizer_state_dict", dictionary(&mut pt, &moments, "")),
    ]);
    pt.write(path, &program, &[]);
}

/// Converts to `out.safetensors` as the denoiser of the model's config.
fn convert(workspace: &Workspace, from: &str, more: &[&str]) -> PathBuf {
    let out = workspace.file("out.safetensors");
    let args =
        [&["convert", from, "out.safetensors", "--as", "denoiser", "--replace"], more].concat();
    let output = workspace.run(&args);
    assert!(output.status.success(), "{from}: {}{}", text(&output.stdout), text(&output.stderr));
    out
}

const CONFIG: [&str; 2] = ["--config", "model/config.ron"];

#[test]
fn converting_keeps_every_bit_whatever_lies_around_it() {
    let (workspace, model) = with_model();
    let own = model.join("denoiser.safetensors");
    let (bytes, tensors) = (fs::read(&own).unwrap(), read(&own));
    // names that wrappers changed
    for prefix in ["", "module.", "_orig_mod.", "state_dict.model.", "ema.", "denoiser."] {
        write(&workspace.file("in.bin"), &renamed(&tensors, |name| format!("{prefix}{name}")))
            .unwrap();
        assert_eq!(fs::read(convert(&workspace, "in.bin", &CONFIG)).unwrap(), bytes, "{prefix}");
    }
    // a whole folder: our model, and one with an index as transformers writes it
    assert_eq!(fs::read(convert(&workspace, "model", &[])).unwrap(), bytes);
    let shared = workspace.file("shared");
    let mut map = serde_json::Map::new();
    for (i, (name, xs)) in tensors.iter().enumerate() {
        let file = format!("pytorch_model-{}-of-2.bin", i % 2 + 1);
        map.insert(name.clone(), file.clone().into());
        let mut part = if i < 2 { Named::new() } else { read(&shared.join(&file)) };
        part.insert(name.clone(), xs.shallow_clone());
        write(&shared.join(&file), &part).unwrap();
    }
    let index = serde_json::json!({ "weight_map": map }).to_string();
    fs::write(shared.join("pytorch_model.bin.index.json"), index).unwrap();
    assert_eq!(fs::read(convert(&workspace, "shared", &CONFIG)).unwrap(), bytes);
    // there and back again
    fs::rename(workspace.file("out.safetensors"), workspace.file("once.safetensors")).unwrap();
    assert_eq!(fs::read(convert(&workspace, "once.safetensors", &CONFIG)).unwrap(), bytes);
}

#[test]
fn eight_bits_a_number_are_a_quarter_and_read_like_others() {
    let (workspace, model) = with_model();
    let own = model.join("denoiser.safetensors");
    let (bytes, whole) = (fs::metadata(&own).unwrap().len(), read(&own));
    let small = convert(&workspace, "model", &["--small"]);
    assert!(fs::metadata(&small).unwrap().len() < bytes * 4 / 10, "of {bytes} bytes in f32");
    let near = |got: &Named| {
        assert!(got.keys().eq(whole.keys()));
        let mut moved = 0;
        for (name, xs) in &whole {
            let apart = (&got[name] - xs).abs().max().double_value(&[]);
            assert!(apart <= xs.abs().max().double_value(&[]) / 253.0, "{name}: {apart}");
            moved += i32::from(apart > 0.0);
        }
        assert!(moved > 5, "{moved} tensors are not what they were");
    };
    near(&read(&small));
    // in place of the model's own file
    fs::copy(&small, &own).unwrap();
    let sampled = workspace.run(&["sample", "a fox", "--model", "model", "--out", "a.png"]);
    assert!(sampled.status.success(), "{}", text(&sampled.stderr));
    let doctor = workspace.run(&["doctor", "--weights", "model", "--config", CONFIG[1]]);
    let said = text(&doctor.stdout);
    assert!(said.contains("denoiser") && !said.contains("not of this network"), "{said}");
    // and back, for others
    near(&read(&convert(&workspace, "model", &[])));
    let back = map_all(&workspace.file("out.safetensors")).unwrap();
    assert!(back.values().all(|xs| xs.kind() == Kind::Float));
}

/// A file as safetensors has it, with two tensors of one number of 4 bytes each.
fn two(path: &Path, types: [&str; 2]) {
    let header = format!(
        r#"{{"a":{{"dtype":"{}","shape":[1],"data_offsets":[0,4]}},"b":{{"dtype":"{}","shape":[1],"data_offsets":[4,8]}}}}"#,
        types[0], types[1]
    );
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 8]].concat();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_type_that_cannot_be_kept_is_refused_rather_than_dropped() {
    let workspace = crate::cli::Workspace::new();
    two(&workspace.file("in.safetensors"), ["F32", "U32"]);
    let refused = workspace.run(&["convert", "in.safetensors", "out.safetensors"]);
    crate::cli::assert_refused("U32", &refused);
    let said = text(&refused.stderr);
    assert!(said.contains("`b` (U32) is of a type that cannot be kept"), "{said}");
    assert!(!workspace.file("out.safetensors").exists());
    two(&workspace.file("in.safetensors"), ["F32", "I32"]);
    let done = workspace.run(&["convert", "in.safetensors", "out.safetensors"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
}

#[test]
fn a_checkpoint_with_an_optimiser_gives_its_weights_or_their_averages() {
    let (workspace, model) = with_model();
    let last = read(&model.join("denoiser.safetensors"));
    let averages: Named = last.iter().map(|(name, xs)| (name.clone(), xs + 1)).collect();
    checkpoint(&workspace.file("run.pt"), &last, &averages);
    assert_same(&read(&convert(&workspace, "run.pt", &CONFIG)), &last, "weights");
    assert_same(
        &read(&convert(&workspace, "run.pt", &[&CONFIG[..], &["--ema"]].concat())),
        &averages,
        "averages",
    );
    let output = workspace.run(&[
        "convert",
        "run.pt",
        "b.safetensors",
        "--as",
        "denoiser",
        "--config",
        CONFIG[1],
        "--json",
    ]);
    let report = json(&output);
    assert_eq!(report["matched"].as_object().unwrap().len(), last.len());
    let first = last.keys().next().unwrap();
    assert_eq!(report["matched"][first], format!("state_dict.module._orig_mod.{first}"));
    assert_eq!(
        (&report["beside"]["optimizer_state_dict"], &report["beside"]["ema_state_dict"]),
        (&1.into(), &last.len().into())
    );
    // a checkpoint of this program
    let own = workspace.file("own");
    write(&own.join("denoiser.safetensors"), &last).unwrap();
    write(&own.join("ema.safetensors"), &renamed(&averages, |name| format!("denoiser.{name}")))
        .unwrap();
    fs::copy(model.join("config.ron"), own.join("config.ron")).unwrap();
    assert_same(&read(&convert(&workspace, "own", &[])), &last, "own weights");
    // averages that are not there are not made up
    let output = workspace.run(&["convert", "model", "c.safetensors", "--as", "denoiser", "--ema"]);
    assert_refused("no averages", &output);
    assert!(!workspace.file("c.safetensors").exists());
}

#[test]
fn averages_of_our_checkpoints_are_read_from_their_own_file() {
    let (workspace, model) = with_model();
    let last = read(&model.join("denoiser.safetensors"));
    let averages: Named = last.iter().map(|(name, xs)| (name.clone(), xs + 1)).collect();
    let more = [("text.shared.weight".to_string(), Tensor::zeros([2], (Kind::Float, Device::Cpu)))];
    let mut ema = renamed(&averages, |name| format!("denoiser.{name}"));
    ema.extend(more);
    write(&model.join("ema.safetensors"), &ema).unwrap();
    assert_same(&read(&convert(&workspace, "model", &["--ema"])), &averages, "averages");
}

#[test]
fn what_does_not_fit_is_listed_in_full_and_nothing_is_written() {
    let (workspace, model) = with_model();
    let mut tensors = read(&model.join("denoiser.safetensors"));
    let all: Vec<String> = tensors.keys().cloned().collect();
    let missing = &all[..30];
    missing.iter().for_each(|name| drop(tensors.remove(name)));
    let bent = &all[30];
    tensors.insert(bent.clone(), Tensor::zeros([7, 1], (Kind::Float, Device::Cpu)));
    tensors.insert("extra.weight".into(), Tensor::zeros([1], (Kind::Float, Device::Cpu)));
    tensors.insert("extra.count".into(), Tensor::zeros([1], (Kind::Int64, Device::Cpu)));
    write(&workspace.file("in.safetensors"), &renamed(&tensors, |name| format!("module.{name}")))
        .unwrap();
    let args =
        ["convert", "in.safetensors", "out.safetensors", "--as", "denoiser", "--config", CONFIG[1]];
    let output = workspace.run(&[&args[..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let report = json(&output);
    assert_eq!(names(&report["missing"]), missing);
    assert_eq!(names(&report["surplus"]), ["extra.weight"]);
    assert_eq!(names(&report["ignored"]), ["extra.count"]);
    let shape = &report["misshapen"][0];
    assert_eq!(
        (&shape["name"], &shape["found"]),
        (&bent.as_str().into(), &serde_json::json!([7, 1]))
    );
    assert_eq!(report["matched"].as_object().unwrap().len(), all.len() - 31);
    assert!(report["written"].is_null() && !workspace.file("out.safetensors").exists());
    // as text, long lists are counted
    let output = workspace.run(&args);
    assert_refused("misfit", &output);
    let said = text(&output.stdout);
    for part in
        ["30 missing: ", "and 10 more: `--json` lists them", "1 of another shape", "extra.weight"]
    {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    // surplus alone is left out, and said
    let mut more = read(&model.join("denoiser.safetensors"));
    more.insert("extra.weight".into(), Tensor::zeros([1], (Kind::Float, Device::Cpu)));
    write(&workspace.file("more.safetensors"), &more).unwrap();
    let out = convert(&workspace, "more.safetensors", &CONFIG);
    assert!(fs::read(out).unwrap() == fs::read(model.join("denoiser.safetensors")).unwrap());
}

#[test]
fn a_file_is_not_replaced_without_being_told() {
    let (workspace, model) = with_model();
    let out = workspace.file("out.safetensors");
    fs::write(&out, "mine").unwrap();
    let args = ["convert", "model", "out.safetensors", "--as", "denoiser"];
    let output = workspace.run(&args);
    assert_refused("there", &output);
    assert!(text(&output.stderr).contains("--replace"), "{}", text(&output.stderr));
    assert_eq!(fs::read(&out).unwrap(), b"mine");
    assert!(workspace.run(&[&args[..], &["--replace"]].concat()).status.success());
    assert_same(&read(&out), &read(&model.join("denoiser.safetensors")), "replaced");
    for (from, to, word) in [
        ("model", "x.pt", "only `.safetensors`"),
        ("model", "x.safetensors", "--as denoiser"),
        ("none.pt", "x.safetensors", "no file"),
        ("model/config.ron", "x.safetensors", "config.ron"),
    ] {
        let output = workspace.run(&["convert", from, to]);
        assert_refused(from, &output);
        assert!(text(&output.stderr).contains(word), "{from}: {}", text(&output.stderr));
    }
}

#[test]
fn without_a_network_all_tensors_are_copied_as_they_are() {
    let workspace = Workspace::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    for file in ["tiny_paella.pt", "tiny_vqgan.pt"] {
        let path = fixtures.join(file);
        let output = workspace.run(&[
            "convert",
            &path.display().to_string(),
            "out.safetensors",
            "--replace",
        ]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let (all, out) =
            (map_all(&path).unwrap(), map_all(&workspace.file("out.safetensors")).unwrap());
        assert!(out.len() > 10);
        assert_same(&out, &all, file);
    }
}
