//! FID beside pytorch-fid, whose numbers `tests/fixtures/inception.py` has written; and pictures under other weights of their
//! conditions, which the same table compares.

use crate::cli::{Workspace, assert_refused, smoke, text};
use crate::fixture::folder;
use crate::train::{exclusive, small_clip, small_prior, smoke as smoke_config};
use paella::eval::distance::frechet;
use paella::eval::{self, ClipScore, FidJudge, InceptionNet};
use paella::model::inception::Inception;
use paella::model::init::VarBuilder;
use paella::networks::Networks;
use paella::weights::{self, Named};
use serde_json::Value;
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor, nn};

fn fixture() -> Value {
    serde_json::from_slice(&std::fs::read(folder().join("inception.json")).unwrap()).unwrap()
}

/// Numbers `start..` of those that `dice` of the script makes: in -1..1, f64.
fn dice(start: i64, size: &[i64]) -> Tensor {
    let count: i64 = size.iter().product();
    let at = Tensor::arange_start(start, start + count, (Kind::Double, Device::Cpu));
    let xs = (at * 12.9898).sin() * 43758.5453;
    ((&xs - xs.floor()) * 2.0 - 1.0).view(size)
}

/// The weights of the script.
fn weights_by_formula() -> Named {
    let vars = nn::VarStore::new(Device::Cpu);
    Inception::new(&VarBuilder::skeleton(&vars));
    let variables: BTreeMap<String, Tensor> = vars.variables().into_iter().collect();
    let mut at = 0;
    let filled = variables.into_iter().map(|(name, xs)| {
        let (size, ys) = (xs.size(), dice(at, &xs.size()));
        at += xs.numel() as i64;
        let ys = match name.rsplit('.').next().unwrap() {
            "weight" if name.ends_with("conv.weight") => {
                ys * (6.0 / size[1..].iter().product::<i64>() as f64).sqrt()
            }
            "running_var" => 1.0 + ys / 2.0,
            "weight" if name.ends_with("bn.weight") => 1.0 + ys / 5.0,
            _ => ys / 5.0,
        };
        (name, ys.to_kind(Kind::Float))
    });
    filled.collect()
}

#[test]
fn the_network_and_its_file_are_those_of_pytorch_fid() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("inception.safetensors");
    let mut named = weights_by_formula();
    // PyTorch counts batches beside the statistics
    named.insert("Conv2d_1a_3x3.bn.num_batches_tracked".into(), Tensor::from(0i64));
    weights::write(&file, &named).unwrap();
    let inception = InceptionNet::read(&file, Device::Cpu).unwrap_or_else(|e| panic!("{e}"));
    let picture = ((dice(0, &[1, 3, 20, 24]) + 1.0) / 2.0).to_kind(Kind::Float);
    let network = {
        let vars = nn::VarStore::new(Device::Cpu);
        let network = Inception::new(&VarBuilder::skeleton(&vars));
        weights::fill(&vars, &named, &Default::default(), "here").unwrap();
        network
    };
    let found = tch::no_grad(|| network.features(&picture)); // (1, 2048)
    let fixture = &fixture()["inception"];
    let (places, values) = (&fixture["places"], &fixture["values"]);
    let places: Vec<i64> = serde_json::from_value(places.clone()).unwrap();
    let values: Vec<f64> = serde_json::from_value(values.clone()).unwrap();
    assert!(places.len() == values.len() && values.iter().filter(|x| **x > 0.1).count() > 25);
    for (at, value) in places.into_iter().zip(values) {
        let got = found.double_value(&[0, at]);
        // values reach 17; two kernels differ by less than a millionth of that, and pooling as torchvision has it by 2e-2
        assert!((got - value).abs() < 2e-4, "{at}: {got}, expected {value}");
    }
    // what is scored is what the file would hold: 8 bits
    let seen = inception.features(&picture);
    let apart = (&seen - &found).abs().max().double_value(&[]);
    assert!(apart > 1e-4 && apart < 0.5, "{apart}");
    let rounded = (&picture * 255.0).round().to_kind(Kind::Uint8);
    let again = inception.features(&(rounded.to_kind(Kind::Float) / 255.0));
    assert_eq!(seen, again);
    // one set beside itself; two pictures are the fewest
    let both = Tensor::cat(&[&rounded, &rounded.flip([3])], 0);
    let judge = FidJudge::new(&inception, &both);
    let images = both.to_kind(Kind::Float) / 255.0;
    let score = judge.score("the same", &images).unwrap();
    assert!((score.count, score.real) == (2, 2) && score.fid.unwrap().abs() < 1e-2, "{score:?}");
    assert_eq!(judge.score("one", &images.narrow(0, 0, 1)).unwrap().fid, None);

    // torchvision's own weights have these differences
    named.insert("fc.weight".into(), Tensor::zeros([1000, 2048], (Kind::Float, Device::Cpu)));
    named
        .insert("AuxLogits.conv0.bn.bias".into(), Tensor::zeros([128], (Kind::Float, Device::Cpu)));
    named.remove("Mixed_7c.branch_pool.conv.weight");
    weights::write(&file, &named).unwrap();
    let error = InceptionNet::read(&file, Device::Cpu).unwrap_err().to_string();
    for part in [
        "not the weights of pytorch-fid's InceptionV3",
        "`fc.weight`: expected [1008, 2048], got [1000, 2048]",
        "`Mixed_7c.branch_pool.conv.weight` is missing",
        "`AuxLogits.conv0.bn.bias` is not of this network",
        "hint: pt_inception-2015-12-05",
    ] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
}

#[test]
fn the_distance_is_that_of_pytorch_fid_with_many_and_with_few_features() {
    for (name, about) in fixture()["distances"].as_object().unwrap() {
        let [n, m] = [0, 1].map(|i| about["sizes"][i].as_i64().unwrap());
        let (a, b) = (dice(0, &[n, 8]), dice(1000, &[m, 8]) * 1.5 + 0.3);
        let (got, expected) = (frechet(&a, &b).unwrap(), about["value"].as_f64().unwrap());
        // the square root of a singular product is known to half the digits
        let slack = if name == "few" { 1e-6 } else { 1e-10 };
        assert!((got - expected).abs() < slack, "{name}: {got}, expected {expected}");
    }
}

#[test]
fn weights_that_are_not_there_or_of_something_else_are_refused_before_anything_is_scored() {
    let workspace = Workspace::new();
    let tensors = Named::from([("a".to_string(), Tensor::zeros([2], (Kind::Float, Device::Cpu)))]);
    weights::write(&workspace.file("inception.pth"), &tensors).unwrap();
    let refused_as = |option: &str, file: &str, parts: &[&str]| {
        let output = workspace.run(&["eval", "emoji-64", option, file]);
        assert_refused(file, &output);
        let said = text(&output.stderr);
        parts.iter().for_each(|part| assert!(said.contains(part), "{part} is not in {said}"));
        assert!(!said.contains(" ..."), "{said}");
    };
    let refused = |file: &str, parts: &[&str]| refused_as("--inception", file, parts);
    refused("inceptoin.pth", &["there is no file", "did you mean `inception.pth`?"]);
    refused("inception.pth", &["not the weights", "`Conv2d_1a_3x3.bn.bias` is missing", " more"]);
    refused_as("--clip", "clip.pth", &["there is no file `clip.pth`"]);
    refused_as("--clip", "inception.pth", &["not the weights of open_clip's ViT-H-14", "pull"]);
    let over = ["eval", "emoji-64", "--inception", "inception.pth", "--over", "steps"];
    assert_eq!(workspace.run(&over).status.code(), Some(2));
    let smoke = smoke();
    assert_eq!(
        workspace.run(&["sample", "x", "--model", &smoke, "--inception", "x"]).status.code(),
        Some(2)
    );
}

#[test]
fn one_table_has_the_text_alone_the_prior_and_other_weights() {
    let _turn = exclusive();
    let mut config = smoke_config(1, 1);
    small_clip(&mut config);
    small_prior(&mut config, 1);
    config.sample = config.sample.with_steps(2);
    config.prior.as_mut().unwrap().sample.steps = 2;
    config.data.limit = Some(12);
    let mut nets = Networks::new(&config, Device::Cpu).unwrap_or_else(|e| panic!("{e}"));
    // a fresh denoiser scores all tokens alike, whatever conditions it
    for mut xs in nets.denoiser_vars.variables().into_values() {
        let _ = tch::no_grad(|| xs.normal_(0.0, 0.2));
    }
    let scores = |nets: &Networks, weights: &str| -> Result<Vec<ClipScore>, String> {
        let weights = Some(weights.parse().unwrap());
        let options = eval::Options { weights, ..Default::default() };
        eval::run(nets, &options, &mut |_| ()).map(|all| all.clip_train).map_err(|e| e.to_string())
    };
    let same = scores(&nets, "clip_text=1").unwrap();
    let kinds: Vec<&str> = same.iter().map(|score| score.pictures).collect();
    let [without, with] = ["generated without the prior", "generated with the prior"];
    let real = ["real", "real, through the tokenizer"];
    assert_eq!(kinds, [&real[..], &[without, with, "generated, re-weighted"]].concat());
    let number = |all: &[ClipScore], at: usize| (all[at].score, all[at].frechet, all[at].kernel);
    assert_eq!(number(&same, 3), number(&same, 4), "weights of 1 are the prior's row");
    let other = scores(&nets, "text=0 clip_text=4 clip_image=0").unwrap();
    assert_eq!(number(&other, 3), number(&same, 3));
    assert_ne!(number(&other, 3), number(&other, 4));

    let tail = scores(&nets, &["1"; 200].join(",")).unwrap_err();
    assert!(tail.contains("200 weights for"), "{tail}");
    nets.prior = None;
    let idle = scores(&nets, "text=2 clip_image=0.4").unwrap_err();
    assert!(idle.contains("`clip_image=0.4` has no effect"), "{idle}");
    let clip = nets.clip.take();
    let unseen = scores(&nets, "text=2").unwrap_err();
    assert!(unseen.contains("would do nothing") && unseen.contains("--inception FILE"), "{unseen}");
    // another CLIP looks in its place
    let options = eval::Options { clip, ..Default::default() };
    let all = eval::run(&nets, &options, &mut |_| ()).unwrap();
    assert!(all.clip_train.len() == 3 && all.fid_train.is_empty(), "{:?}", all.clip_train);
}
