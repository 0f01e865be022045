//! Training: it learns, and an interrupted run resumes exactly.

use paella::checkpoint::Phase;
use paella::config::{ClipStageConfig, PriorStageConfig, RunConfig};
use paella::data::{Dataset, Part};
use paella::eval::{self, ClipJudge, ClipScore};
use paella::metrics::StepRecord;
use paella::model::clip::{ClipConfig, ClipTextConfig, ClipVisionConfig, TextPieces};
use paella::model::prior::PriorConfig;
use paella::networks::Networks;
use paella::optim::OptimConfig;
use paella::recipe::{ClipTrainConfig, DropBy, PriorTrainConfig};
use paella::train::feed::Rows;
use paella::train::gallery::gallery;
use paella::train::{self, Feed, Resume, RunOptions};
use paella::weights;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tch::Device;

/// Tests that draw from libtorch's generator take turns, because there is one per process: a test that draws outside of its
/// turn changes the draws of another, which then fails now and then.
pub fn exclusive() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `smoke.ron`, shortened to `tokenizer` and `denoiser` updates.
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

/// Adds a small CLIP, used often enough that ten steps include every case.
pub fn small_clip(config: &mut RunConfig) {
    let model = ClipConfig {
        embed_dim: 8,
        text: ClipTextConfig { width: 8, heads: 2, layers: 1, ..ClipTextConfig::default() },
        vision: ClipVisionConfig {
            image_size: 28,
            width: 16,
            head_width: 8,
            layers: 1,
            ..ClipVisionConfig::default()
        },
        ..ClipConfig::default()
    };
    config.clip = Some(ClipStageConfig { model, ..ClipStageConfig::default() });
    (config.model.clip_embd, config.model.clip_seq_len) = (8, 2);
    let train = &mut config.train;
    (train.clip_text, train.clip_image, train.drop_by) = (0.5, 0.3, DropBy::Batch);
}

/// Adds a small prior, trained for `steps` updates before the denoiser.
pub fn small_prior(config: &mut RunConfig, steps: u64) {
    let optim = OptimConfig { lr: 1e-3, warmup: 0, ..OptimConfig::default() };
    config.prior = Some(PriorStageConfig {
        model: PriorConfig { clip_r: 8, c_hidden: 16, c_r: 8, num_blocks: 2, bf16: false },
        train: PriorTrainConfig {
            steps,
            batch: 8,
            optim,
            ema_decay: 0.9,
            cond_drop: 0.1,
            ..PriorTrainConfig::default()
        },
        ..PriorStageConfig::default()
    });
    config.stages.insert(1, Phase::Prior);
}

/// Has the small CLIP trained for `steps` updates, if `Clip` is among the stages.
pub fn trained_clip(config: &mut RunConfig, steps: u64) {
    let clip = config.clip.as_mut().unwrap();
    let text = &mut clip.model.text;
    (text.pieces, text.vocab_size, text.context_length) = (TextPieces::Bytes, 258, 48);
    clip.model.vision.patch_size = 7;
    let optim = OptimConfig { lr: 5e-3, warmup: 5, ..OptimConfig::default() };
    clip.train = ClipTrainConfig { steps, batch: 16, optim, ema_decay: 0.9 };
}

pub fn run(config: &RunConfig, out: &Path, max_steps: Option<u64>) -> Vec<(u64, f64)> {
    let records = records(config, out, max_steps);
    records.into_iter().map(|record| (record.step, record.loss)).collect()
}

/// The same without the steps.
pub fn losses(config: &RunConfig, out: &Path, max_steps: Option<u64>) -> Vec<f64> {
    run(config, out, max_steps).into_iter().map(|(_, loss)| loss).collect()
}

/// Runs up to `max_steps` updates. Returns their records.
pub fn records(config: &RunConfig, out: &Path, max_steps: Option<u64>) -> Vec<StepRecord> {
    let mut records = Vec::new();
    let options = RunOptions {
        out: Some(out.to_path_buf()),
        resume: Resume::Auto,
        max_steps,
        ..RunOptions::default()
    };
    train::run(config, &options, &mut |record| {
        records.push(record.clone());
        true
    })
    .unwrap_or_else(|e| panic!("{e}"));
    records
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
    let _turn = exclusive();
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
    let _turn = exclusive();
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
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    run(&smoke(2, 2), folder.path(), None);
    let go = |config: &RunConfig, resume: Resume| {
        let options =
            RunOptions { out: Some(folder.path().to_path_buf()), resume, ..RunOptions::default() };
        train::run(config, &options, &mut |_| true).unwrap_err().to_string()
    };
    assert!(go(&smoke(2, 2), Resume::No).contains("--resume"));
    let other = RunConfig { seed: 9, ..smoke(2, 2) };
    assert!(go(&other, Resume::Auto).contains("`seed` was 1, is 9"));
}

#[test]
fn clip_vectors_are_trained_on_saved_resumed_and_shown() {
    let _turn = exclusive();
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let [whole, parts, deaf] = [0, 1, 2].map(|i| folders[i].path());
    let mut config = smoke(2, 12);
    small_clip(&mut config);
    (config.train.global_batch, config.train.micro_batch) = (8, Some(4));
    config.train.optim.warmup = 0;
    config.train.log.samples_every = 6;
    let losses = run(&config, whole, None);
    run(&config, parts, Some(7));
    run(&config, parts, None);
    same_weights(whole, parts);
    // without vectors, the mapper of pictures' vectors keeps its initial weights
    let with = |name: &str, folder: &Path| {
        let read = weights::read(&folder.join("model/denoiser.safetensors")).unwrap();
        read[name].shallow_clone()
    };
    let mut silent = config.clone();
    (silent.train.clip_text, silent.train.clip_image) = (0.0, 0.0);
    assert_ne!(run(&silent, deaf, None), losses);
    let fresh = Networks::new(&silent, Device::Cpu).unwrap();
    let name = "clip_image_mapper.weight";
    let drawn = fresh.denoiser_vars.variables()[name].to_kind(tch::Kind::Half);
    assert_eq!(with(name, deaf), drawn);
    assert_ne!(with(name, whole), drawn);
    // the model folder contains its CLIP, and captions are encoded by both encoders
    let model = Networks::load(&whole.join("model"), Device::Cpu).unwrap();
    let cond = model.condition(&["a fox".into(), "pizza".into()]);
    assert_eq!(cond.clip.unwrap().size(), [2, 8]);
    assert!(model.parameters().iter().any(|(name, n)| *name == "clip" && *n > 395_264));
}

#[test]
fn a_denoiser_without_clip_begins_the_training_of_one_with_it() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("denoiser.safetensors");
    let config = smoke(1, 1);
    let old = Networks::new(&RunConfig { seed: 9, ..config.clone() }, Device::Cpu).unwrap();
    let given = weights::named(&old.denoiser_vars, false);
    let wrapped: weights::Named =
        given.iter().map(|(name, xs)| (format!("module.{name}"), xs.shallow_clone())).collect();
    let mut config = config;
    small_clip(&mut config);
    let fresh = weights::named(&Networks::new(&config, Device::Cpu).unwrap().denoiser_vars, false);
    config.weights.denoiser = Some(file.clone());
    for tensors in [&given, &wrapped] {
        weights::write(&file, tensors).unwrap();
        let nets = Networks::new(&config, Device::Cpu).unwrap();
        assert_eq!(nets.begun_fresh, ["clip_mapper", "clip_image_mapper"]);
        for (name, xs) in weights::named(&nets.denoiser_vars, false) {
            let from = given.get(&name).unwrap_or(&fresh[&name]);
            assert_eq!(xs, *from, "{name}");
            assert_eq!(given.contains_key(&name), !name.contains("clip"), "{name}");
        }
    }
    // a run says it, once
    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let options = RunOptions {
        out: Some(folder.path().join("run")),
        note: Some(|text| SAID.lock().unwrap().push(text.into())),
        ..RunOptions::default()
    };
    train::run(&config, &options, &mut |_| true).unwrap();
    let said = SAID.lock().unwrap().join("\n");
    assert!(
        said.contains("denoiser.safetensors has no `clip_mapper` and no `clip_image_mapper`"),
        "{said}"
    );
    // half of a mapper, or none of something else, is refused
    let copy = || -> weights::Named {
        given.iter().map(|(name, xs)| (name.clone(), xs.shallow_clone())).collect()
    };
    let mut half = copy();
    half.insert("clip_mapper.bias".into(), fresh["clip_mapper.bias"].shallow_clone());
    let mut less = copy();
    less.remove("byt5_mapper.weight");
    for (tensors, name) in [(half, "clip_mapper.weight"), (less, "byt5_mapper.weight")] {
        weights::write(&file, &tensors).unwrap();
        let error = Networks::new(&config, Device::Cpu).unwrap_err().to_string();
        assert!(error.contains(&format!("`{name}` is missing")), "{error}");
    }
}

#[test]
fn a_gallery_shows_what_a_pictures_vector_adds() {
    let _turn = exclusive();
    let mut config = smoke(1, 1);
    let height = |config: &RunConfig| {
        let nets = Networks::new(config, Device::Cpu).unwrap();
        let data = Dataset::open(&config.data, Part::Train).unwrap();
        let rows = Rows { first: 0, count: 2, of: 2 };
        let batch = Feed::memory(data.into(), 1).unwrap().batch(&nets, rows, true).unwrap();
        gallery(&nets, &batch, 1).sheet.height()
    };
    let four_rows = height(&config);
    small_clip(&mut config);
    assert!(height(&config) > four_rows + 32);
}

#[test]
fn a_prior_learns_goes_on_exactly_and_makes_image_embeddings() {
    let _turn = exclusive();
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut config = smoke(2, 2);
    small_clip(&mut config);
    small_prior(&mut config, 120);
    let losses: Vec<f64> =
        run(&config, whole.path(), None).into_iter().map(|(_, loss)| loss).collect();
    assert_eq!(losses.len(), 124);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let prior = &losses[2..122];
    assert!(mean(&prior[80..]) < 0.8 * mean(&prior[..20]), "{prior:?}");
    // stopped within the prior and within the denoiser
    for steps in [50, 73, 50] {
        run(&config, parts.path(), Some(steps));
    }
    same_weights(whole.path(), parts.path());
    let file = |folder: &Path| weights::read(&folder.join("model/prior.safetensors")).unwrap();
    assert_eq!(file(whole.path()), file(parts.path()));
    // a caption is sampled with an image vector, always the same; `null` and `encode_text` have none
    let model = Networks::load(&whole.path().join("model"), Device::Cpu).unwrap();
    let texts = ["a fox".to_string(), "pizza".to_string()];
    let embedding = || model.condition(&texts).clip_image.pop().unwrap();
    assert_eq!(embedding().size(), [2, 8]);
    assert_eq!(embedding(), embedding());
    assert!(model.null(2).clip_image.is_empty() && model.encode_text(&texts).clip_image.is_empty());
    // a prior whose weights are given is not trained
    config.weights.prior = Some(whole.path().join("model/prior.safetensors"));
    assert_eq!(config.to_train(), [Phase::Tokenizer, Phase::Denoiser]);
    assert_eq!(config.check(), []);
    let nets = Networks::new(&config, Device::Cpu).unwrap();
    let given = weights::named(&nets.prior.unwrap().vars, true);
    assert_eq!(given, file(whole.path()));
}

#[test]
fn a_priors_passes_add_up_and_its_average_is_saved_and_given() {
    let _turn = exclusive();
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let [whole, parts, passes] = [0, 1, 2].map(|i| folders[i].path());
    let mut config = smoke(1, 1);
    small_clip(&mut config);
    small_prior(&mut config, 10);
    config.stages = vec![Phase::Prior];
    let losses = run(&config, whole, None);
    let mut in_parts = run(&config, parts, Some(4));
    in_parts.extend(run(&config, parts, None));
    assert_eq!(losses, in_parts, "every loss, bit for bit");
    let read = |folder: &Path, file: &str| weights::read(&folder.join(file)).unwrap();
    for file in ["prior", "optim", "ema"] {
        let file = format!("checkpoints/prior-0000010/{file}.safetensors");
        assert_eq!(read(whole, &file), read(parts, &file), "{file}");
    }
    // the model holds the averages in 16 bits; the checkpoint holds both
    let (model, ema) = (read(whole, "model/prior.safetensors"), "ema.safetensors");
    let ema = read(whole, &format!("checkpoints/prior-0000010/{ema}"));
    let last = read(whole, "checkpoints/prior-0000010/prior.safetensors");
    for (name, given) in &model {
        assert_eq!(*given, ema[&format!("prior.{name}")].to_kind(tch::Kind::Half), "{name}");
    }
    assert!(model.iter().any(|(name, xs)| *xs != last[name].to_kind(tch::Kind::Half)));
    // the same batch in four passes
    config.prior.as_mut().unwrap().train.micro_batch = Some(2);
    let apart = run(&config, passes, None).into_iter().zip(&losses);
    let apart = apart.map(|((_, a), (_, b))| (a - b).abs()).fold(0.0, f64::max);
    assert!(apart < 1e-5, "{apart:e}");
    config.prior.as_mut().unwrap().train.micro_batch = Some(3);
    assert!(config.check().iter().any(|fault| fault.place == "prior.train.micro_batch"));
}

#[test]
fn a_clip_learns_which_text_belongs_to_which_picture_and_goes_on_exactly() {
    let _turn = exclusive();
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let [whole, parts, later] = [0, 1, 2].map(|i| folders[i].path());
    let mut config = smoke(1, 2);
    small_clip(&mut config);
    config.stages = vec![Phase::Clip];
    trained_clip(&mut config, 150);
    let records = records(&config, whole, None);
    let mean = |part: &[StepRecord], what: fn(&StepRecord) -> f64| {
        part.iter().map(what).sum::<f64>() / part.len() as f64
    };
    let (first, last) = (&records[..10], &records[140..]);
    assert!(records.iter().all(|record| record.phase == "clip"));
    // at the start all 16 texts are alike: ln 16 = 2.77
    assert!(mean(last, |r| r.loss) < 0.7 * mean(first, |r| r.loss), "{last:?}");
    // rank 1 of 16 texts: chance is 6 %
    assert!(mean(last, |r| r.accuracy) > 0.25, "{last:?}");
    // stopped within the stage: every weight, average and moment is the same, bit for bit
    run(&config, parts, Some(70));
    run(&config, parts, None);
    for file in ["clip", "optim", "ema"] {
        let read = |folder: &Path| {
            let file = format!("checkpoints/clip-0000150/{file}.safetensors");
            weights::read(&folder.join(file)).unwrap()
        };
        assert_eq!(read(whole), read(parts), "{file}");
    }
    // the model has the averages, under the names of open_clip
    let file = whole.join("model/clip.safetensors");
    let (model, ema) = (weights::read(&file).unwrap(), "checkpoints/clip-0000150/ema.safetensors");
    let ema = weights::read(&whole.join(ema)).unwrap();
    for (name, given) in &model {
        assert_eq!(*given, ema[&format!("clip.{name}")].to_kind(tch::Kind::Half), "{name}");
    }
    assert!(model.contains_key("visual.conv1.weight") && model.contains_key("logit_scale"));
    // over all 64 training captions: chance is 1.6 % at rank 1, 7.8 % at rank 5
    let nets = Networks::load(&whole.join("model"), Device::Cpu).unwrap();
    let data = Dataset::open(&config.data, Part::Train).unwrap();
    let everything: Vec<i64> = (0..data.len() as i64).collect();
    let (images, captions) = (data.images(&everything), data.captions(&everything));
    let judge = ClipJudge::new(nets.clip.as_ref().unwrap(), &data.images).unwrap();
    let score = judge.score("real", &images, &captions, true).unwrap();
    assert!(score.rank1 > 0.06 && score.rank5 > 0.2 && score.score > 0.0, "{score:?}");
    assert!(score.frechet.unwrap().abs() < 1e-3, "the same pictures: {score:?}");
    let black = judge.score("black", &images.zeros_like(), &captions, true).unwrap();
    assert!(black.frechet.unwrap() > 0.1 && black.kernel > score.kernel, "{black:?}");
    assert!(black.rank1 < score.rank1 && black.score < score.score);
    // whoever names that file trains no CLIP; without it, a run of all stages begins with the tokenizer and the CLIP
    config.stages = vec![Phase::Tokenizer, Phase::Clip, Phase::Denoiser];
    config.clip.as_mut().unwrap().train.steps = 2;
    let phases = |config: &RunConfig, out: &Path| -> Vec<String> {
        self::records(config, out, None).into_iter().map(|record| record.phase).collect()
    };
    let all = ["tokenizer", "clip", "clip", "denoiser", "denoiser"];
    assert_eq!(phases(&config, later), all);
    config.weights.clip = Some(file);
    assert_eq!(config.to_train(), [Phase::Tokenizer, Phase::Denoiser]);
}

#[test]
fn a_clip_that_is_trained_asks_for_sizes_and_a_batch_that_fit() {
    let mut config = smoke(1, 1);
    config.stages = vec![Phase::Clip];
    let places = |config: &RunConfig| -> Vec<String> {
        config.check().into_iter().map(|fault| fault.place).collect()
    };
    assert_eq!(places(&config), ["clip"]);
    small_clip(&mut config);
    trained_clip(&mut config, 1);
    assert_eq!(config.check(), []);
    let clip = config.clip.as_mut().unwrap();
    (clip.train.batch, clip.model.bf16, clip.model.text.vocab_size) = (1, true, 257);
    let expected = ["clip.model.text.vocab_size", "clip.train.batch", "clip.model.bf16"];
    assert_eq!(places(&config), expected);
    // weights that are given may lie in memory in 16 bits
    let clip = config.clip.as_mut().unwrap();
    (clip.train.batch, clip.model.text.vocab_size) = (2, 258);
    config.weights.clip = Some("clip.safetensors".into());
    assert_eq!(config.check(), []);
}

#[test]
fn a_prior_asks_for_a_clip_and_for_weights() {
    let mut config = smoke(1, 1);
    small_prior(&mut config, 1);
    assert!(config.check().iter().any(|fault| fault.place == "prior.model.clip_r"));
    small_clip(&mut config);
    assert_eq!(config.check(), []);
    config.stages.remove(1);
    assert!(config.check().iter().any(|fault| fault.place == "stages"));
    config.prior = None;
    assert_eq!(config.check(), []);
    config.stages.insert(1, Phase::Prior);
    assert!(config.check().iter().any(|fault| fault.place == "prior"));
}

#[test]
fn clip_shares_ask_for_a_clip_that_fits() {
    let mut config = smoke(1, 1);
    config.train.clip_image = 0.1;
    assert!(config.check().iter().any(|fault| fault.place == "clip"));
    small_clip(&mut config);
    assert_eq!(config.check(), []);
    config.model.clip_embd = 0;
    assert!(config.check().iter().any(|fault| fault.place == "model.clip_embd"));
    config.clip.as_mut().unwrap().model.text.heads = 3;
    assert!(config.check().iter().any(|fault| fault.place == "clip.model.text.heads"));
}

#[test]
fn a_saved_model_is_the_same_model() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let nets = Networks::new(&smoke(1, 1), Device::Cpu).unwrap();
    nets.save(folder.path(), false).unwrap();
    let again = Networks::load(folder.path(), Device::Cpu).unwrap();
    for ((_, a), (_, b)) in nets.all_vars().into_iter().zip(again.all_vars()) {
        assert_eq!(weights::named(a, false), weights::named(b, false));
    }
    // a cut file is an error with its path, not a panic
    let path = folder.path().join("denoiser.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = Networks::load(folder.path(), Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("denoiser.safetensors"), "{error}");
}

#[test]
fn an_evaluation_compares_pictures_with_and_without_the_prior() {
    let _turn = exclusive();
    let mut config = smoke(1, 1);
    small_clip(&mut config);
    config.sample = config.sample.with_steps(2);
    let kinds = |config: &RunConfig| -> Vec<Vec<&str>> {
        let nets = Networks::new(config, Device::Cpu).unwrap();
        let scores = eval::run(&nets, &eval::Options::default(), &mut |_| ()).unwrap();
        for score in scores.clip_train.iter().chain(&scores.clip_held_out) {
            assert!(score.rank1 <= score.rank5 && score.captions <= score.count, "{score:?}");
            assert_eq!(score.frechet.is_some(), score.pictures != "real");
        }
        let near: Vec<&str> = scores.nearest.iter().map(|score| score.kind).collect();
        let asked = ["generated, training captions", "generated, held-out pairs"];
        assert_eq!(near, ["real, held back", asked[0], asked[1]]);
        let shares =
            scores.nearest.iter().all(|s| (0.0..=1.0).contains(&s.recited) && s.median > 0.0);
        assert!(shares, "{:?}", scores.nearest);
        let names = |all: &[ClipScore]| all.iter().map(|score| score.pictures).collect();
        vec![names(&scores.clip_train), names(&scores.clip_held_out)]
    };
    let all = ["real", "real, through the tokenizer", "generated"];
    assert_eq!(kinds(&config), [all, all]);
    small_prior(&mut config, 1);
    config.prior.as_mut().unwrap().sample.steps = 2;
    let [generated, without] = ["generated with the prior", "generated without the prior"];
    assert_eq!(kinds(&config)[0], ["real", "real, through the tokenizer", without, generated]);
    (config.clip, config.prior, config.model.clip_embd) = (None, None, 0);
    (config.train.clip_text, config.train.clip_image) = (0.0, 0.0);
    config.stages.retain(|phase| *phase != Phase::Prior);
    assert_eq!(kinds(&config), [[""; 0], [""; 0]], "no CLIP, no scores");
}
