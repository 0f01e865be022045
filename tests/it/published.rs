//! The released weights: converted, looked at, brought from a hub that a test speaks for.

mod convert;
mod doctor;
mod hub;

use crate::cli::{Workspace, smoke, text};
use crate::train::{exclusive, small_clip, small_prior, smoke as small};
use paella::checkpoint::Phase;
use paella::config::RunConfig;
use paella::data::scenes::ScenesConfig;
use paella::dist::World;
use paella::lab::watch::Quiet;
use paella::lab::{Lab, Origin, SampleRequest};
use paella::model::{Cond, Denoiser};
use paella::networks::{Network, Networks};
use paella::train::{DenoiserTrainer, Feed};
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
    let _turn = exclusive();
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

#[test]
fn networks_that_are_used_in_turn_make_the_same_picture_and_give_memory_back() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let mut config = small(1, 1);
    small_clip(&mut config);
    small_prior(&mut config, 1);
    let nets = Networks::new(&config, Device::Cpu).unwrap();
    // a fresh denoiser scores all tokens alike, whatever conditions it
    for mut xs in nets.denoiser_vars.variables().into_values() {
        let _ = tch::no_grad(|| xs.normal_(0.0, 0.2));
    }
    nets.save(folder.path(), false).unwrap();
    let numbers = |nets: &Networks| {
        Network::ALL.map(|network| -> usize {
            nets.vars(network).unwrap().variables().values().map(Tensor::numel).sum()
        })
    };
    let picture = |once: bool| {
        let mut lab = Lab::new(Origin::Folder(folder.path().into()), Device::Cpu).unwrap();
        if once {
            lab.sample_once();
        }
        let text = "red apple".to_string();
        let request = SampleRequest { text, steps: Some(2), seed: Some(1), ..Default::default() };
        let run = lab.walk(&request, &mut Quiet).unwrap_or_else(|e| panic!("{e}"));
        (lab.images(&run).unwrap(), lab.networks(numbers).unwrap())
    };
    let ((kept, all), (same, left)) = (picture(false), picture(true));
    assert_eq!(kept, same);
    let [tokenizer, _, denoiser, ..] = all;
    assert_eq!(left, [tokenizer, 0, denoiser, 0, 0], "of {all:?}");

    // the denoiser's file is read after the conditions
    let file = folder.path().join("denoiser.safetensors");
    let mut late = Networks::loaded(folder.path(), Device::Cpu, true).unwrap();
    let zeros = read(&file).into_iter().map(|(name, xs)| (name, xs.zeros_like())).collect();
    weights::write(&file, &zeros).unwrap();
    late.end_reading().unwrap_or_else(|e| panic!("{e}"));
    let largest = |xs: &Tensor| xs.abs().max().double_value(&[]);
    assert!(late.denoiser_vars.variables().values().all(|xs| largest(xs) == 0.0));
    // one that does not fit is refused before that
    let part: Named = zeros.into_iter().skip(1).collect();
    weights::write(&file, &part).unwrap();
    let error = Networks::loaded(folder.path(), Device::Cpu, true).unwrap_err().to_string();
    assert!(error.contains("is missing"), "{error}");
}

#[test]
fn frozen_networks_in_bf16_take_half_and_say_nearly_the_same() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let mut config = small(1, 1);
    small_clip(&mut config);
    small_prior(&mut config, 1);
    config.stages = vec![Phase::Prior];
    Networks::new(&config, Device::Cpu).unwrap().save(folder.path(), false).unwrap();
    // all weights are given now
    for network in Network::ALL {
        let file = folder.path().join(format!("{network}.safetensors"));
        let weights = &mut config.weights;
        *(match network {
            Network::Tokenizer => &mut weights.tokenizer,
            Network::Text => &mut weights.text,
            Network::Denoiser => &mut weights.denoiser,
            Network::Clip => &mut weights.clip,
            Network::Prior => &mut weights.prior,
        }) = Some(file);
    }
    config.train.train_text = false;
    let whole = Networks::new(&config, Device::Cpu).unwrap();
    config.text.bf16 = true;
    config.prior.as_mut().unwrap().model.bf16 = true;
    let half = Networks::new(&config, Device::Cpu).unwrap_or_else(|e| panic!("{e}"));
    let texts = ["red apple".to_string(), "a fox".to_string()];
    let (a, b) = (whole.condition(&texts), half.condition(&texts));
    for (a, b) in [(&a.byt5, &b.byt5), (&a.clip_image[0], &b.clip_image[0])] {
        assert_eq!((a.kind(), b.kind(), a.size()), (Kind::Float, Kind::Float, b.size()));
        // 8 bits of a number are kept, over a few layers
        let apart = (a - b).abs().max().double_value(&[]) / a.abs().max().double_value(&[]);
        assert!(apart > 0.0 && apart < 0.05, "{apart}");
    }
    let bytes = |nets: &Networks, network: Network| -> usize {
        let all = nets.all_vars();
        let (_, vars) = all.iter().find(|(name, _)| *name == network.name()).unwrap();
        let products = vars.variables().into_iter().filter(|(name, xs)| {
            xs.dim() == 2
                && !["shared", "embed_tokens", "relative"].iter().any(|it| name.contains(it))
        });
        products.map(|(_, xs)| xs.numel() * xs.kind().elt_size_in_bytes()).sum()
    };
    for network in [Network::Text, Network::Prior] {
        assert_eq!(bytes(&half, network) * 2, bytes(&whole, network), "{network}");
    }
    // what is kept so cannot be trained
    config.train.train_text = true;
    config.weights.prior = None;
    let places: Vec<String> = config.check().into_iter().map(|fault| fault.place).collect();
    assert_eq!(places, ["text.bf16", "prior.model.bf16"]);
}

#[test]
fn a_denoiser_in_bf16_takes_half_and_guesses_nearly_the_same() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let mut config = small(1, 1);
    small_clip(&mut config);
    config.weights.clip = None;
    let whole = Networks::new(&config, Device::Cpu).unwrap();
    let draw = |mut xs: Tensor| tch::no_grad(|| drop(xs.uniform_(-0.2, 0.2)));
    // a fresh network has no opinion: its last layer is zeros
    whole.denoiser_vars.trainable_variables().into_iter().for_each(draw);
    whole.save(folder.path(), false).unwrap();

    (config.model.bf16, config.train.train_text) = (true, false);
    let places = |config: &RunConfig| -> Vec<String> {
        config.check().into_iter().map(|fault| fault.place).collect()
    };
    assert_eq!(places(&config), ["model.bf16"], "what is kept so cannot be trained");
    config.stages = Vec::new();
    assert_eq!(places(&config), [""; 0]);
    let own = paella::config::to_ron(&config);
    std::fs::write(folder.path().join("config.ron"), own).unwrap();

    let bytes = |nets: &Networks| -> usize {
        let all = nets.denoiser_vars.variables().into_values();
        all.map(|xs| xs.numel() * xs.kind().elt_size_in_bytes()).sum()
    };
    let texts = ["red apple".to_string(), "a fox".to_string()];
    let tokens = Tensor::randint(config.model.num_labels, [2, 8, 8], (Kind::Int64, Device::Cpu));
    let t = Tensor::from_slice(&[0.3f32, 0.9]);
    let (cond, null) = (whole.condition(&texts), whole.null(2));
    let exact = whole.denoiser.logits(&tokens, &t, &cond);
    for in_turn in [false, true] {
        let mut half = Networks::loaded(folder.path(), Device::Cpu, in_turn).unwrap();
        half.end_reading().unwrap();
        let share = bytes(&half) as f64 / bytes(&whole) as f64;
        assert!((0.5..0.6).contains(&share), "{share}: what no product multiplies stays f32");
        let reader = half.denoiser.reader(&cond, &null).unwrap();
        let both = reader.guidance_logits(&tokens, &t, &cond, &null).0;
        for guess in [half.denoiser.logits(&tokens, &t, &cond), both] {
            assert_eq!(guess.kind(), Kind::Float);
            let apart = (&guess - &exact).abs().max() / exact.abs().max();
            let apart = apart.double_value(&[]);
            assert!(apart > 0.0 && apart < 0.05, "{apart}");
        }
    }
    let half = Networks::load(folder.path(), Device::Cpu).unwrap();
    // the paths of `attention` and of weights by part
    let one = Tensor::narrow(&tokens, 0, 0, 1);
    let looks = half.denoiser.attention(&one, &t.narrow(0, 0, 1), &whole.condition(&texts[..1]));
    assert!(!looks.is_empty());
    let attn_weights = Some(Tensor::from_slice(&[0.5f32, 2.0]));
    let weighed = Cond { attn_weights, ..whole.condition(&texts) };
    let [a, b] = [&whole, &half].map(|nets| nets.denoiser.logits(&tokens, &t, &weighed));
    assert!(((&a - &b).abs().max() / a.abs().max()).double_value(&[]) < 0.05);
    // saved and read again
    let again = tempfile::tempdir().unwrap();
    half.save(again.path(), true).unwrap();
    let again = Networks::load(again.path(), Device::Cpu).unwrap();
    let [a, b] = [&half, &again].map(|nets| nets.denoiser.logits(&tokens, &t, &cond));
    assert!(((&a - &b).abs().max() / a.abs().max()).double_value(&[]) < 0.05);
    let feed = Feed::fresh(&ScenesConfig::default(), config.data.size);
    let error = DenoiserTrainer::new(&half, feed, &World::solo()).err().unwrap().to_string();
    assert!(error.contains("in 16 bits cannot be trained"), "{error}");
    let error = config.has_work().unwrap_err().to_string();
    assert!(error.contains("makes pictures and trains nothing"), "{error}");
}

#[test]
fn layers_that_given_weights_lack_are_drawn() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let mut config = small(1, 1);
    small_clip(&mut config);
    config.stages = vec![Phase::Clip];
    let nets = Networks::new(&config, Device::Cpu).unwrap();
    nets.save(folder.path(), false).unwrap();
    let mut old = paella::weights::named(&nets.denoiser_vars, false);
    old.retain(|name, _| !name.starts_with("clip_"));
    weights::write(&folder.path().join("denoiser.safetensors"), &old).unwrap();
    let file = |name: &str| Some(folder.path().join(format!("{name}.safetensors")));
    config.weights.tokenizer = file("tokenizer");
    config.weights.text = file("text");
    config.weights.clip = file("clip");
    config.weights.denoiser = file("denoiser");
    let again = Networks::new(&config, Device::Cpu).unwrap();
    assert_eq!(again.begun_fresh, ["clip_mapper", "clip_image_mapper"]);
    for (name, xs) in paella::weights::named(&again.denoiser_vars, false) {
        match old.get(&name) {
            Some(given) => assert_eq!(xs, *given, "{name}"),
            // the first draws of the same seed
            None => {
                assert_eq!(xs, paella::weights::named(&nets.denoiser_vars, false)[&name], "{name}")
            }
        }
    }
}
