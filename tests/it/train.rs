//! Training: it learns, and a run that was stopped goes on exactly.

use paella::config::RunConfig;
use paella::networks::Networks;
use paella::train::{self, Options, Resume};
use paella::weights;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tch::Device;

/// Libtorch has one generator for the process: tests that draw from it take turns.
pub fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `smoke.ron`, cut to `tokenizer` and `denoiser` updates.
pub fn smoke(tokenizer: u64, denoiser: u64) -> RunConfig {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/smoke.ron");
    let mut config = RunConfig::read(&path).unwrap_or_else(|e| panic!("{e}"));
    config.tokenizer.train.steps = tokenizer;
    config.tokenizer.train.quantize_after = 2;
    config.tokenizer.train.revive_every = 3;
    config.train.steps = denoiser;
    config.device = "cpu".parse().unwrap();
    config
}

fn run(config: &RunConfig, out: &Path, max_steps: Option<u64>) -> Vec<(u64, f64)> {
    let mut losses = Vec::new();
    let options = Options {
        out: Some(out.to_path_buf()),
        resume: Resume::Auto,
        max_steps,
        ..Options::default()
    };
    train::run(config, &options, &mut |record| {
        losses.push((record.step, record.loss));
        true
    })
    .unwrap_or_else(|e| panic!("{e}"));
    losses
}

pub fn same_weights(a: &Path, b: &Path) {
    for name in ["tokenizer", "text", "denoiser"] {
        let read = |folder: &Path| {
            weights::read(&folder.join(format!("model/{name}.safetensors"))).unwrap()
        };
        assert_eq!(read(a), read(b), "{name}");
    }
}

#[test]
fn ten_steps_equal_five_an_exit_and_five_more() {
    let _turn = alone();
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = smoke(10, 10);
    let at_once = run(&config, whole.path(), None);
    // stops inside the tokenizer, inside the denoiser, and at the end
    let mut in_parts = Vec::new();
    for _ in 0..4 {
        in_parts.extend(run(&config, parts.path(), Some(5)));
    }
    assert_eq!(at_once.len(), 20);
    assert_eq!(at_once, in_parts, "every loss, bit for bit");
    same_weights(whole.path(), parts.path());
}

#[test]
fn the_loss_falls() {
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
    let losses = run(&smoke(40, 60), folder.path(), None);
    let mean =
        |part: &[(u64, f64)]| part.iter().map(|(_, loss)| loss).sum::<f64>() / part.len() as f64;
    let (tokenizer, denoiser) = losses.split_at(40);
    assert!(mean(&tokenizer[35..]) < 0.5 * mean(&tokenizer[..5]), "{losses:?}");
    assert!(mean(&denoiser[55..]) < mean(&denoiser[..5]) - 0.5, "{losses:?}");
}

#[test]
fn a_changed_config_or_an_occupied_folder_is_refused() {
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
    run(&smoke(2, 2), folder.path(), None);
    let go = |config: &RunConfig, resume: Resume| {
        let options =
            Options { out: Some(folder.path().to_path_buf()), resume, ..Options::default() };
        train::run(config, &options, &mut |_| true).unwrap_err().to_string()
    };
    assert!(go(&smoke(2, 2), Resume::No).contains("--resume"));
    let other = RunConfig { seed: 9, ..smoke(2, 2) };
    assert!(go(&other, Resume::Auto).contains("`seed` was 1, is 9"));
}

#[test]
fn a_saved_model_is_the_same_model() {
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
    let nets = Networks::new(&smoke(1, 1), Device::Cpu).unwrap();
    nets.save(folder.path(), false).unwrap();
    let again = Networks::load(folder.path(), Device::Cpu).unwrap();
    for (a, b) in nets.vars().into_iter().zip(again.vars()) {
        assert_eq!(weights::named(a, false), weights::named(b, false));
    }
    // a cut file is an error with its path, not a panic
    let path = folder.path().join("denoiser.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = Networks::load(folder.path(), Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("denoiser.safetensors"), "{error}");
}
