//! The released weights: converted, looked at, brought from a hub that a test speaks for.

mod convert;
mod doctor;
mod hub;

use crate::cli::{Workspace, smoke, text};
use paella::config::RunConfig;
use paella::networks::Networks;
use paella::weights::{self, Named};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Output;
use tch::{Device, Kind, Tensor};

/// A folder with the untrained smoke model in `model`.
fn with_model() -> (Workspace, PathBuf) {
    let workspace = Workspace::new();
    let folder = workspace.file("model");
    let config = RunConfig::read(Path::new(&smoke())).unwrap();
    Networks::new(&config, Device::Cpu).unwrap().save(&folder, false).unwrap();
    (workspace, folder)
}

fn read(path: &Path) -> Named {
    weights::read(path).unwrap_or_else(|e| panic!("{e}"))
}

fn bits(xs: &Tensor) -> (Kind, Vec<i64>, Vec<u8>) {
    let mut bytes = vec![0; xs.numel() * xs.kind().elt_size_in_bytes()];
    xs.contiguous().f_copy_data_u8(&mut bytes, xs.numel()).unwrap();
    (xs.kind(), xs.size(), bytes)
}

fn assert_same(a: &Named, b: &Named, what: &str) {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>(), "{what}");
    for (name, xs) in a {
        assert!(bits(xs) == bits(&b[name]), "{what}: {name}");
    }
}

fn json(output: &Output) -> Value {
    let said = text(&output.stdout);
    let line = said.lines().next().unwrap_or_else(|| panic!("{}", text(&output.stderr)));
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {said}"))
}

fn names(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}
