//! The shipped configs: each can be read, passes its check, and survives printing and reading.

use paella::config::{self, RunConfig};
use std::path::{Path, PathBuf};

pub fn shipped() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "ron"));
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

#[test]
fn all_shipped_configs_are_valid_and_survive_printing() {
    for path in shipped() {
        let config = RunConfig::read(&path).unwrap_or_else(|e| panic!("{e}"));
        let (again, _) = config::parse::<RunConfig>(&config::to_ron(&config), "printed").unwrap();
        assert_eq!(again, config, "{}", path.display());
        let (again, _) =
            config::parse::<RunConfig>(&config::minimal_ron(&config), "printed").unwrap();
        assert_eq!(again, config, "{}", path.display());
        assert_eq!(
            Some(config.name.as_str()),
            path.file_stem().unwrap().to_str(),
            "named as its file"
        );
    }
}

#[test]
fn a_clip_of_before_its_training_reads_as_it_did() {
    let read = |clip: &str| config::parse::<RunConfig>(&format!("(clip: ({clip}))"), "old");
    let (old, _) = read("bf16: true, vision: (layers: 2)").unwrap();
    let (new, _) = read("model: (bf16: true, vision: (layers: 2))").unwrap();
    assert_eq!(old, new);
    assert!(old.clip.is_some_and(|clip| clip.model.bf16 && clip.model.vision.layers == 2));
    let faults = read("model: (bf16: true), antialias: false").unwrap_err();
    assert!(faults[0].to_string().contains("inside and outside"), "{faults:?}");
}

#[test]
fn every_fault_is_listed_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.ron");
    std::fs::write(
        &path,
        "(\n  seed: 1,\n  data: (size: 30),\n  train: (stepz: 3, optim: (lr: \"fast\")),\n)\n",
    )
    .unwrap();
    let text = RunConfig::read(&path).unwrap_err().to_string();
    for part in ["stepz", "bad.ron:4:", "train.optim.lr", "steps"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn the_default_is_the_published_model_and_valid() {
    let mut config = RunConfig::default();
    config.data.size = 256;
    assert_eq!(config.check(), []);
}
