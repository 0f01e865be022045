//! What a tokenizer pays besides squared error: an adversary's judgement, with which a run goes on exactly, and LPIPS.

use crate::train::{exclusive, records, same_weights, smoke};
use paella::config::RunConfig;
use paella::cost;
use paella::model::init::VarBuilder;
use paella::recipe::AdversaryConfig;
use paella::tokens::discriminator::{Discriminator, DiscriminatorConfig};
use paella::tokens::lpips::Lpips;
use paella::train::{self, Resume, RunOptions};
use paella::weights::{self, Named};
use std::path::Path;
use tch::{Device, Kind, Tensor, nn};

/// Twelve updates of the smoke config's tokenizer, judged from the fourth on.
fn judged() -> RunConfig {
    let mut config = smoke(12, 1);
    config.tokenizer.train.adversary = Some(AdversaryConfig {
        model: DiscriminatorConfig { c_hidden: 16, depth: 4 },
        start: 3,
        ..AdversaryConfig::default()
    });
    config
}

/// Loss and what the adversary paid, step by step.
fn run(config: &RunConfig, out: &Path, max_steps: Option<u64>) -> Vec<(f64, Option<f64>)> {
    let all = records(config, out, max_steps).into_iter();
    let own = all.filter(|record| record.phase == "tokenizer");
    own.map(|record| (record.loss, record.adversary)).collect()
}

#[test]
fn it_judges_from_its_start_on_and_goes_on_exactly() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let config = judged();
    let whole = run(&config, &at("whole"), None);
    let paid: Vec<bool> = whole.iter().map(|(_, adversary)| adversary.is_some()).collect();
    assert_eq!(paid, [[false; 3].to_vec(), [true; 9].to_vec()].concat());
    // at first it tells nothing apart
    let first = whole[3].1.unwrap();
    assert!((first - std::f64::consts::LN_2).abs() < 0.2, "{first}");
    let mut parts = Vec::new();
    while parts.len() < whole.len() {
        parts.extend(run(&config, &at("parts"), Some(5)));
    }
    assert_eq!(whole, parts, "every loss, bit for bit");
    same_weights(&at("whole"), &at("parts"));
    // without an adversary the first steps are the same, and all that follow differ
    let plain = run(&smoke(12, 1), &at("plain"), None);
    assert_eq!(whole[..3], plain[..3]);
    assert!(whole[4..].iter().zip(&plain[4..]).all(|(a, b)| a.0 != b.0));
}

#[test]
fn a_run_may_be_given_an_adversary_later_but_not_another_one() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    run(&smoke(12, 1), folder.path(), Some(5));
    let config = judged();
    let later = run(&config, folder.path(), Some(3));
    assert!(later.iter().all(|(_, adversary)| adversary.is_some()));
    let mut other = config.clone();
    other.tokenizer.train.adversary.as_mut().unwrap().model.c_hidden = 24;
    let options = RunOptions {
        out: Some(folder.path().into()),
        resume: Resume::Auto,
        ..RunOptions::default()
    };
    let error = train::run(&other, &options, &mut |_| true).unwrap_err().to_string();
    assert!(error.contains("the adversary's `") && error.contains("does not fit"), "{error}");
}

#[test]
fn sizes_that_cannot_be_judged_are_refused_with_those_that_can() {
    let mut config = judged();
    let own = config.tokenizer.train.adversary.as_mut().unwrap();
    own.model = DiscriminatorConfig { c_hidden: 20, depth: 6 };
    let faults = config.check();
    let of = |field: &str| {
        let place = format!("tokenizer.train.adversary.model.{field}");
        faults.iter().find(|fault| fault.place == place).unwrap_or_else(|| panic!("{faults:?}"))
    };
    assert!(of("c_hidden").hint.contains("a multiple of 8"), "{faults:?}");
    assert!(of("depth").hint.contains("at most 4"), "32 pixels: {faults:?}");
}

#[test]
fn its_weights_are_counted_as_they_are_built() {
    let config = DiscriminatorConfig::default();
    let vars = nn::VarStore::new(Device::Cpu);
    let _model = Discriminator::new(&VarBuilder::skeleton(&vars), &config);
    let built: usize = vars.trainable_variables().iter().map(tch::Tensor::numel).sum();
    assert_eq!(cost::discriminator(&config, 256).params, built as i64);
}

/// Weights that follow a formula, as `tests/fixtures/make_lpips.py` has them: torchvision's VGG-16 with a part that is not
/// used, and the weights of the differences.
fn lpips_files(folder: &Path) -> [std::path::PathBuf; 2] {
    let along = |n: i64, step: f64, start: f64| {
        Tensor::arange(n, (Kind::Double, Device::Cpu)) * step + start
    };
    let places = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28];
    let widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512];
    let mut vgg =
        Named::from([("classifier.0.bias".into(), Tensor::zeros([2], (Kind::Float, Device::Cpu)))]);
    for (k, (place, pair)) in places.into_iter().zip(widths.windows(2)).enumerate() {
        let (i, o) = (pair[0], pair[1]);
        let weight = along(o * i * 9, 0.7, k as f64).sin() * (2.0 / (i * 9) as f64).sqrt() * 1.4;
        let bias = along(o, 1.0, k as f64).cos() * 0.05;
        vgg.insert(
            format!("features.{place}.weight"),
            weight.to_kind(Kind::Float).view([o, i, 3, 3]),
        );
        vgg.insert(format!("features.{place}.bias"), bias.to_kind(Kind::Float));
    }
    let difference = |(k, c): (usize, i64)| {
        let weight = along(c, 1.0, k as f64).sin().abs() * 0.1;
        (format!("lin{k}.model.1.weight"), weight.to_kind(Kind::Float).view([1, c, 1, 1]))
    };
    let lpips: Named = [64, 128, 256, 512, 512].into_iter().enumerate().map(difference).collect();
    let paths = ["vgg16.safetensors", "lpips.safetensors"].map(|name| folder.join(name));
    [&vgg, &lpips].iter().zip(&paths).for_each(|(xs, path)| weights::write(path, xs).unwrap());
    paths
}

/// What `tests/fixtures/make_lpips.py` prints.
const LPIPS_OF_ITS_AUTHORS: [f32; 2] = [0.148_24, 0.196_856_32];

#[test]
fn lpips_is_that_of_its_authors() {
    let folder = tempfile::tempdir().unwrap();
    let [vgg, lpips] = lpips_files(folder.path());
    let model = Lpips::open(&vgg, &lpips, Device::Cpu).unwrap();
    let picture = |xs: Tensor| xs.to_kind(Kind::Float).view([2, 3, 32, 32]) * 0.5 + 0.5;
    let along = |step: f64, start: f64| {
        Tensor::arange(2 * 3 * 32 * 32, (Kind::Double, Device::Cpu)) * step + start
    };
    let (a, b) = (picture(along(0.013, 0.0).sin()), picture(along(0.0171, 1.0).cos()));
    let found = Vec::<f32>::try_from(model.distance(&a, &b)).unwrap();
    for (found, expected) in found.into_iter().zip(LPIPS_OF_ITS_AUTHORS) {
        assert!((found - expected).abs() < 1e-5 * expected, "{found} for {expected}");
    }
    let same = model.distance(&a, &a);
    assert_eq!(same.max().double_value(&[]), 0.0);
    // where nothing is seen at all the gradient is still a number
    let flat =
        Tensor::full([1, 3, 16, 16], 0.4, (Kind::Float, Device::Cpu)).set_requires_grad(true);
    model.distance(&flat, &(&flat.detach() + 0.1)).sum(Kind::Float).backward();
    assert!(flat.grad().isfinite().all().int64_value(&[]) == 1);
}

#[test]
fn a_tokenizer_is_trained_by_how_its_pictures_look() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let [vgg, lpips] = lpips_files(folder.path());
    let plain = run(&smoke(3, 1), &folder.path().join("plain"), None);
    let mut config = smoke(3, 1);
    config.tokenizer.train.perceptual = 1.0;
    let faults = config.check();
    let places: Vec<&str> = faults.iter().map(|fault| fault.place.as_str()).collect();
    assert_eq!(places, ["weights.vgg", "weights.lpips"]);
    (config.weights.vgg, config.weights.lpips) = (Some(vgg.clone()), Some(lpips));
    assert!(config.check().is_empty());
    let judged = run(&config, &folder.path().join("judged"), None);
    assert!(plain.iter().zip(&judged).all(|(plain, judged)| judged.0 > plain.0), "{judged:?}");
    // its model goes without these files
    std::fs::remove_file(&vgg).unwrap();
    let model = folder.path().join("judged/model");
    paella::networks::Networks::load(&model, Device::Cpu).unwrap_or_else(|e| panic!("{e}"));
    // and files that nothing asks for are refused
    config.tokenizer.train.perceptual = 0.0;
    assert!(
        config.check().iter().any(|fault| fault.what.contains("`tokenizer.train.perceptual` is 0"))
    );
}
