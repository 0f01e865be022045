//! Several processes over Gloo on this machine: all have the same weights, and the same as a single process.

use crate::ranks::{Ranks, child, world};
use crate::stream::training::emoji;
use crate::train::{same_weights, small_clip, small_prior, smoke, trained_clip};
use paella::checkpoint::{Phase, SaveConfig};
use paella::config::{RunConfig, to_ron};
use paella::data::stream::StreamConfig;
use paella::dist::{Reducer, World};
use paella::recipe::AdversaryConfig;
use paella::tokens::discriminator::DiscriminatorConfig;
use std::path::{Path, PathBuf};
use tch::nn::{self, Module};
use tch::{Device, Kind, Tensor};

/// The smoke config as a file: batch 8 in passes of 2, a checkpoint every 5 steps.
pub fn config(folder: &Path, change: impl Fn(&mut RunConfig)) -> PathBuf {
    let mut config = smoke(6, 12);
    (config.train.global_batch, config.train.micro_batch) = (8, Some(2));
    config.tokenizer.train.batch = 8;
    config.train.save = SaveConfig { every: 5, ..SaveConfig::default() };
    config.dist.timeout_s = 60;
    // the reference's rate: AdamW can turn rounding of a small gradient into a difference of a whole rate
    (config.train.optim.lr, config.train.optim.warmup) = (1e-4, 0);
    change(&mut config);
    let path = folder.join("run.ron");
    std::fs::write(&path, to_ron(&config)).unwrap();
    path
}

/// Trains the tokenizer once for all tests, so that runs on any number of ranks have the same tokens.
pub fn shared_tokenizer(config: &mut RunConfig) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/models/fashion");
    let shipped = RunConfig::read(&root.join("config.ron")).unwrap();
    config.tokenizer.model = shipped.tokenizer.model;
    config.model.num_labels = config.tokenizer.model.codebook_size;
    config.weights.tokenizer = Some(root.join("tokenizer.safetensors"));
}

fn numbers(out: &Path, field: &str) -> Vec<f64> {
    let log = std::fs::read_to_string(out.join("log.jsonl")).unwrap();
    let records = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let denoiser = records.filter(|record| record["phase"] == "denoiser");
    denoiser.map(|record| record[field].as_f64().unwrap()).collect()
}

fn weights(out: &Path) -> Tensor {
    let read =
        paella::weights::read(&out.join("checkpoints/denoiser-0000012/denoiser.safetensors"));
    let flat: Vec<Tensor> = read.unwrap().into_values().map(|xs| xs.view(-1)).collect();
    Tensor::cat(&flat, 0)
}

/// Trains on one rank and on each of `counts` ranks, into folders `ranks-N`. The numbers of every step and the final
/// weights must agree.
fn train_alike(folder: &Path, config: &Path, counts: &[usize], fields: &[&str]) {
    let out = |ranks: usize| folder.join(format!("ranks-{ranks}"));
    let train = |ranks: usize| Ranks::train(ranks, config, &out(ranks), &[]).succeed();
    train(1);
    let theta = weights(&out(1));
    for &ranks in counts {
        train(ranks);
        for field in fields {
            let (one, several) = (numbers(&out(1), field), numbers(&out(ranks), field));
            assert_eq!((one.len(), several.len()), (12, 12));
            let pairs = one.into_iter().zip(several);
            let apart = pairs.map(|(a, b)| (a - b).abs() / a.abs().max(1.0)).fold(0.0, f64::max);
            assert!(apart < 2e-6, "{field} of {ranks} ranks: {apart:e}");
        }
        let apart = (weights(&out(ranks)) - &theta).abs().max().double_value(&[]);
        assert!(apart < 2e-6, "weights of {ranks} ranks: {apart:e}");
    }
}

#[test]
fn two_and_four_ranks_train_as_one_process_does() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), shared_tokenizer);
    train_alike(folder.path(), &config, &[2, 4], &["loss", "grad_norm"]);
}

#[test]
fn captions_are_as_long_as_the_longest_of_all_ranks() {
    let folder = tempfile::tempdir().unwrap();
    let shards = emoji(folder.path());
    let config = config(folder.path(), |config| {
        shared_tokenizer(config);
        config.text.length = None;
        let shards = vec![shards.clone()];
        config.data.stream = Some(StreamConfig { shards, lanes: 4, ..StreamConfig::default() });
    });
    train_alike(folder.path(), &config, &[2], &["loss"]);
}

#[test]
fn two_ranks_are_given_the_same_clip_vectors_as_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), |config| {
        shared_tokenizer(config);
        small_clip(config);
        small_prior(config, 6);
        config.prior.as_mut().unwrap().train.micro_batch = Some(2);
    });
    train_alike(folder.path(), &config, &[2], &["loss"]);
    let out = |ranks: usize| folder.path().join(format!("ranks-{ranks}"));
    // a rate of 1e-3: AdamW can turn rounding of a small gradient into a fraction of it
    let prior = |ranks: usize| {
        paella::weights::read(&out(ranks).join("checkpoints/denoiser-0000012/prior.safetensors"))
    };
    for ((name, a), b) in prior(1).unwrap().into_iter().zip(prior(2).unwrap().into_values()) {
        let apart = (a - b).abs().max().double_value(&[]);
        assert!(apart < 2e-5, "{name}: {apart:e}");
    }
}

#[test]
fn a_clip_is_trained_by_two_ranks_that_stay_equal_and_go_on_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), |config| {
        small_clip(config);
        trained_clip(config, 6);
        config.stages = vec![Phase::Clip];
    });
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    Ranks::train(2, &config, &whole, &[]).succeed(); // a checkpoint compares the weights of all ranks
    Ranks::train(2, &config, &parts, &["--steps", "3"]).succeed();
    Ranks::train(2, &config, &parts, &["--resume"]).succeed();
    let read = |out: &Path, name: &str| {
        paella::weights::read(&out.join(format!("checkpoints/clip-0000006/{name}.safetensors")))
    };
    for name in ["clip", "optim", "ema"] {
        assert_eq!(read(&whole, name).unwrap(), read(&parts, name).unwrap(), "{name}");
    }
}

#[test]
fn a_tokenizer_is_trained_by_two_ranks_and_a_run_goes_on_with_four() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), |_| {});
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    Ranks::train(2, &config, &whole, &[]).succeed();
    // stopped within the tokenizer and within the denoiser, always on two ranks: identical bit for bit
    for _ in 0..3 {
        Ranks::train(2, &config, &parts, &["--steps", "7", "--resume", "auto"]).succeed();
    }
    same_weights(&whole, &parts);
    // resumed at step 5 with four ranks: the same draws and rows, so nearly the same weights
    let four = folder.path().join("four");
    Ranks::train(2, &config, &four, &["--steps", "11"]).succeed();
    Ranks::train(4, &config, &four, &["--resume"]).succeed();
    let apart = (weights(&four) - weights(&whole)).abs().max().double_value(&[]);
    assert!(apart < 2e-6, "{apart:e}");
}

#[test]
fn an_adversary_of_two_ranks_stays_equal_and_goes_on_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), |config| {
        let model = DiscriminatorConfig { c_hidden: 16, depth: 4 };
        let adversary = AdversaryConfig { model, start: 2, ..AdversaryConfig::default() };
        config.tokenizer.train.adversary = Some(adversary);
        config.stages = vec![Phase::Tokenizer];
    });
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    Ranks::train(2, &config, &whole, &[]).succeed(); // a checkpoint compares the weights of all ranks
    Ranks::train(2, &config, &parts, &["--steps", "4"]).succeed();
    Ranks::train(2, &config, &parts, &["--resume"]).succeed();
    let read = |out: &Path, name: &str| {
        let file = out.join(format!("checkpoints/tokenizer-0000006/{name}.safetensors"));
        paella::weights::read(&file).unwrap()
    };
    for name in ["tokenizer", "optim"] {
        assert_eq!(read(&whole, name), read(&parts, name), "{name}");
    }
    assert!(read(&whole, "optim").keys().any(|name| name.starts_with("adversary.")));
    // it was trained on both ranks' pictures: on the rows of one process, the batch of both gives the same mean
    let one = folder.path().join("one");
    Ranks::train(1, &config, &one, &[]).succeed();
    let paid = |out: &Path| -> Vec<f64> {
        let log = std::fs::read_to_string(out.join("log.jsonl")).unwrap();
        let records =
            log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        records.filter_map(|record| record["adversary"].as_f64()).collect()
    };
    let (one, two) = (paid(&one), paid(&whole));
    assert_eq!((one.len(), two.len()), (4, 4));
    let apart = one.iter().zip(&two).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(apart < 0.02, "{one:?} {two:?}");
}

/// Two linear layers. The second is not always used.
struct Net {
    first: nn::Linear,
    second: nn::Linear,
    extra: nn::Linear,
}

impl Net {
    fn new(vars: &nn::VarStore) -> Self {
        let (p, plain) = (vars.root(), nn::LinearConfig::default());
        Self {
            first: nn::linear(&p / "first", 6, 8, plain),
            second: nn::linear(&p / "second", 8, 3, plain),
            extra: nn::linear(&p / "extra", 8, 3, plain),
        }
    }

    fn loss(&self, xs: &Tensor, ys: &Tensor, extra: bool) -> Tensor {
        let hidden = self.first.forward(xs).tanh();
        let out = self.second.forward(&hidden);
        let out = if extra { out + self.extra.forward(&hidden) } else { out };
        (out - ys).square().mean(Kind::Float)
    }
}

fn params(vars: &nn::VarStore) -> Vec<(String, Tensor)> {
    let mut all: Vec<_> = vars.variables().into_iter().collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn gradients(params: &[(String, Tensor)]) -> Vec<Tensor> {
    let grad =
        |xs: &Tensor| Some(xs.grad()).filter(Tensor::defined).unwrap_or_else(|| xs.zeros_like());
    params.iter().map(|(_, xs)| grad(xs).detach()).collect()
}

/// Runs on every rank. `use_extra(rank)` says which ranks use the extra layer; `passes` micro batches of 4 rows per
/// rank.
fn gradients_agree(world: &World, use_extra: impl Fn(usize) -> bool, passes: i64) {
    let (rank, size) = (world.rank() as i64, world.size() as i64);
    tch::manual_seed(100 + rank); // different weights on every rank: those of rank 0 must win
    let vars = nn::VarStore::new(Device::Cpu);
    let (net, own) = (Net::new(&vars), params(&vars));
    let reducer = Reducer::new(world, &own).unwrap();
    let weights = |own: &[(String, Tensor)]| -> Vec<Tensor> {
        own.iter().map(|(_, xs)| xs.shallow_clone()).collect()
    };
    world.same(&weights(&own), "after the start").unwrap();
    let mut single = nn::VarStore::new(Device::Cpu);
    let twin = Net::new(&single);
    single.copy(&vars).unwrap();
    let theirs = params(&single);
    for step in 0..4 {
        for named in [&own, &theirs] {
            paella::torch::reset_grads(&weights(named)).unwrap();
        }
        for pass in 0..passes {
            tch::manual_seed(1000 * step + pass);
            let xs = Tensor::randn([size * 4, 6], (Kind::Float, Device::Cpu));
            let ys = Tensor::randn([size * 4, 3], (Kind::Float, Device::Cpu));
            let part = |of: &Tensor, k: i64| of.narrow(0, k * 4, 4);
            reducer.forward(pass + 1 == passes).unwrap();
            let loss = net.loss(&part(&xs, rank), &part(&ys, rank), use_extra(rank as usize));
            reducer.backward(&(loss / passes as f64), pass + 1 == passes).unwrap();
            // a single process with the combined batch
            let losses =
                (0..size).map(|k| twin.loss(&part(&xs, k), &part(&ys, k), use_extra(k as usize)));
            let joined = losses.reduce(|a, b| a + b).unwrap() / (size * passes) as f64;
            joined.backward();
        }
        let (mine, joined) = (gradients(&own), gradients(&theirs));
        world.same(&mine, "gradients").unwrap();
        for (a, b) in mine.iter().zip(&joined) {
            let apart = (a - b).abs().max().double_value(&[]);
            assert!(apart < 2e-6, "step {step}: {apart:e}");
        }
        for (mut xs, grad) in
            weights(&own).into_iter().chain(weights(&theirs)).zip(mine.iter().chain(&joined))
        {
            tch::no_grad(|| {
                let _ = xs.g_sub_(&(grad * 0.1));
            });
        }
    }
    assert!(!reducer.buckets().unwrap().is_empty());
}

#[test]
#[ignore = "one of the processes that `ranks_agree_with_the_joined_batch` starts"]
fn child_reduces() {
    let world = &world();
    gradients_agree(world, |_| true, 1);
    gradients_agree(world, |_| true, 3);
    gradients_agree(world, |_| false, 1);
    gradients_agree(world, |rank| rank % 2 == 0, 1);
    gradients_agree(world, |rank| rank == 1, 2);
}

#[test]
fn ranks_agree_with_the_joined_batch() {
    for size in [2, 4] {
        child("dist::child_reduces", size).succeed();
    }
}

#[test]
#[ignore = "one of the processes that `exchanges_say_what_was_said` starts"]
fn child_exchanges() {
    let world = world();
    let (rank, size) = (world.rank(), world.size());
    let xs = Tensor::from_slice(&[rank as f32, 1.0]);
    world.sum(&xs).unwrap();
    assert_eq!(Vec::<f32>::try_from(&xs).unwrap(), [(size * (size - 1) / 2) as f32, size as f32]);
    assert_eq!(world.any([rank == 1, false]), Ok([true, false]));
    let words = world.gather(&"ä".repeat(rank)).unwrap();
    assert_eq!(words, (0..size).map(|n| "ä".repeat(n)).collect::<Vec<_>>());
    // weights that differ on one rank are detected on all ranks, and the rank is named
    let xs = Tensor::from_slice(&[if rank == 1 { 1.0f32 + f32::EPSILON } else { 1.0 }]);
    let error = world.same(&[xs], "step 7").unwrap_err().to_string();
    assert!(
        error.contains("rank 1 and rank 0 have come apart") && error.contains("step 7"),
        "{error}"
    );
    // another network on one rank
    let vars = nn::VarStore::new(Device::Cpu);
    let _odd = nn::linear(vars.root(), 4, 4 + i64::from(rank == 1), nn::LinearConfig::default());
    let error = Reducer::new(&world, &params(&vars)).err().unwrap().to_string();
    assert!(error.contains("rank 1 and rank 0 train different networks"), "{error}");
}

#[test]
fn exchanges_say_what_was_said() {
    child("dist::child_exchanges", 3).succeed();
}
