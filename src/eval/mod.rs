//! Scores of a trained model: how well the tokenizer reconstructs pictures, how well noised tokens are predicted, and
//! whether generated pictures show what the caption says.

mod asked;
mod classifier;
mod clip;
mod concept;
pub mod distance;
mod fid;
mod nearest;
mod probe;
pub mod scene_reader;
pub mod scenes;

pub use classifier::Classifier;
pub use clip::{ClipJudge, ClipScore, read_vit_h};
pub use concept::{ConceptScore, Gallery, concept_accuracy};
pub use fid::{FidJudge, FidScore, InceptionNet};
pub use nearest::{NearestScore, PictureIndex};
pub use probe::probe;
pub use scenes::{SceneScore, SceneScores};

use crate::data::{Dataset, Part, Record, Source};
use crate::device::seed_step;
use crate::error::{Error, Result};
use crate::generate::generate;
use crate::model::Cond;
use crate::model::weigh::PartWeights;
use crate::networks::Networks;
use crate::sample::SampleConfig;
use crate::tokens::clip::ClipEncoder;
use asked::Asked;
use serde::Serialize;
use tch::{Device, Kind, Tensor};

/// All scores of a model.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Scores {
    /// Mean over validation pictures of 10 log10(1 / mean squared error), in dB.
    pub psnr_db: f64,
    /// Fraction of the codes that the validation pictures use.
    pub codes_used: f64,
    pub guesses: Vec<Guess>,
    /// Concept accuracy on captions of the training pictures.
    pub concepts_train: Option<ConceptScore>,
    /// Concept accuracy on captions whose concept was trained in other styles only.
    pub concepts_held_out: Option<ConceptScore>,
    pub classifier: Option<ClassifierScore>,
    /// How near pictures are to those of the training: real ones that were held back, then generated ones.
    pub nearest: Vec<NearestScore>,
    /// Pictures of scenes, read by rule.
    pub scenes: Option<SceneScores>,
    /// Pictures as CLIP sees them, with captions of training. Empty without a CLIP.
    pub clip_train: Vec<ClipScore>,
    /// The same with captions whose concept was trained in other styles only.
    pub clip_held_out: Vec<ClipScore>,
    /// FID of pictures with captions of training. Empty if it is not asked for.
    pub fid_train: Vec<FidScore>,
    /// The same with captions whose concept was trained in other styles only.
    pub fid_held_out: Vec<FidScore>,
}

/// What is scored besides.
#[derive(Debug, Default)]
pub struct Options {
    /// The network of FID.
    pub inception: Option<InceptionNet>,
    /// The CLIP that looks at pictures in place of the model's own.
    pub clip: Option<ClipEncoder>,
    /// Pictures made under these weights of the conditions are compared with the others.
    pub weights: Option<PartWeights>,
}

impl Options {
    /// The CLIP that looks at pictures.
    fn clip<'a>(&'a self, nets: &'a Networks) -> Option<&'a ClipEncoder> {
        self.clip.as_ref().or(nets.clip.as_ref())
    }

    /// Whether something is asked for besides the scores of the data's own kind.
    fn are_given(&self) -> bool {
        self.inception.is_some() || self.clip.is_some() || self.weights.is_some()
    }

    /// Errors: weights that act on nothing, or whose pictures nothing looks at.
    fn check(&self, nets: &Networks, parts: [&Dataset; 2]) -> Result<()> {
        let Some(weights) = &self.weights else { return Ok(()) };
        if self.clip(nets).is_none() && self.inception.is_none() {
            let what = "`--weights` would do nothing: this model has no CLIP to compare pictures";
            return Err(Error::command(
                what,
                "paella eval",
                "`--inception FILE` or `--clip FILE` beside it",
            ));
        }
        let captions = parts.iter().flat_map(|part| &part.records).map(|record| &record.caption);
        let text = &nets.config.text;
        let shortest: Vec<String> =
            captions.min_by_key(|caption| text.ids(caption).len()).cloned().into_iter().collect();
        let l = text.batch(&shortest, Device::Cpu).0.size()[1];
        let vector = |there: bool| if there { nets.config.model.clip_seq_len } else { 0 };
        let lengths = [l, vector(nets.clip.is_some()), vector(nets.prior.is_some())];
        match weights.remarks(lengths)?.into_iter().next() {
            Some(idle) => Err(Error::command(idle, "--weights", "leave it out")),
            None => Ok(()),
        }
    }
}

/// Prediction of noised tokens at one noise ratio, over the noised positions only.
#[derive(Clone, Debug, Serialize)]
pub struct Guess {
    pub t: f64,
    /// Nats per token.
    pub cross_entropy: f64,
    pub accuracy: f64,
}

/// Scores of a classifier trained on the real pictures.
#[derive(Clone, Debug, Serialize)]
pub struct ClassifierScore {
    /// Fraction of real validation pictures classified correctly.
    pub on_real: f64,
    /// Fraction of generated pictures classified as their captions say.
    pub on_generated: f64,
    pub pictures: usize,
}

/// Scores a model on its own data. `note` receives a message before each part.
pub fn run(nets: &Networks, options: &Options, note: &mut dyn FnMut(&str)) -> Result<Scores> {
    let config = &nets.config;
    let train = Dataset::open(&config.data, Part::Train)?;
    let val = Dataset::open(&config.data, Part::Val)?;
    options.check(nets, [&train, &val])?;
    note("tokenizer on the validation pictures");
    let (psnr_db, codes_used) = tokenizer(nets, &val);
    note("guesses at five noise ratios");
    let guesses = [0.1, 0.3, 0.5, 0.7, 0.9].map(|t| guess(nets, &val, t)).to_vec();
    let mut scores = Scores { psnr_db, codes_used, guesses, ..Scores::default() };
    let mut by_concept = false;
    // what a stream or scenes trained on is not in hand: there is nothing to recite
    let trained =
        (!config.data.is_endless()).then(|| PictureIndex::new(&[&train], config.eval.feature_size));
    let near = |kind, images: &Tensor| trained.as_ref().and_then(|all| all.score(kind, images));
    if let Source::Scenes(world) = &config.data.source {
        scores.scenes = Some(scenes::score(nets, world, note)?);
    } else {
        let step = val.len().div_ceil(config.eval.captions).max(1);
        let held_back: Vec<i64> = (0..val.len() as i64).step_by(step).collect();
        scores.nearest.extend(near("real, held back", &val.images(&held_back)));
        if config.eval.classifier {
            note("a classifier on the real pictures, then generated ones");
            let (score, images) = classify(nets, &train, &val)?;
            scores.classifier = Some(score);
            scores.nearest.extend(near("generated", &images));
        } else {
            by_concept = true;
        }
    }
    if !by_concept && !options.are_given() {
        return Ok(scores); // scenes and classes have scores of their own
    }
    let gallery = by_concept.then(|| Gallery::new(&[&train, &val], config.eval.feature_size));
    let concepts = |asked: &Asked| {
        gallery.as_ref().map(|gallery| concept_accuracy(&asked.images, &asked.records, gallery))
    };
    note("pictures for training captions");
    let asked = Asked::new(nets, &train, |_| true);
    scores.concepts_train = concepts(&asked);
    (scores.clip_train, scores.fid_train) = asked.seen(nets, &train, options, note)?;
    if by_concept {
        scores.nearest.extend(near("generated, training captions", &asked.images));
        note("pictures for held-out pairs of concept and style");
        let asked = Asked::new(nets, &val, |record| record.split == "val-style");
        scores.concepts_held_out = concepts(&asked);
        scores.nearest.extend(near("generated, held-out pairs", &asked.images));
        (scores.clip_held_out, scores.fid_held_out) = asked.seen(nets, &val, options, note)?;
    }
    Ok(scores)
}

/// PSNR in dB, and fraction of the codes used.
fn tokenizer(nets: &Networks, val: &Dataset) -> (f64, f64) {
    let everything: Vec<i64> = (0..val.len() as i64).collect();
    let (mut decibels, mut used) =
        (0.0, nets.tokenizer.vquantizer.weight.zeros_like().select(1, 0));
    for indices in everything.chunks(128) {
        let images = val.images(indices).to_device(nets.device);
        let tokens = nets.encode(&images);
        let error = (nets.decode(&tokens) - images).square().mean_dim(
            &[1i64, 2, 3][..],
            false,
            Kind::Float,
        ); // (B)
        decibels += (error.log10() * -10.0).sum(Kind::Double).double_value(&[]);
        used += tch::no_grad(|| {
            tokens.flatten(0, -1).bincount::<Tensor>(None, used.size()[0]).to_kind(Kind::Float)
        });
    }
    (
        decibels / val.len() as f64,
        used.gt(0.0).to_kind(Kind::Float).mean(Kind::Float).double_value(&[]),
    )
}

/// Cross entropy and accuracy on the noised tokens of the validation pictures.
fn guess(nets: &Networks, val: &Dataset, t: f64) -> Guess {
    seed_step(nets.config.eval.seed, (t * 1000.0) as u64);
    let tokens = nets.encode_all(&val.images);
    let (mut cross_entropy, mut accuracy) = (0.0, 0.0);
    let everything: Vec<i64> = (0..val.len() as i64).collect();
    for indices in everything.chunks(nets.config.eval.batch) {
        let cond = nets.condition(&val.captions(indices));
        let picks = Tensor::from_slice(indices).to_device(nets.device);
        let tokens = tokens.index_select(0, &picks);
        let (ce, right) = probe(&nets.denoiser, &tokens, &cond, t, nets.config.model.num_labels);
        let share = indices.len() as f64 / val.len() as f64;
        (cross_entropy, accuracy) = (cross_entropy + ce * share, accuracy + right * share);
    }
    Guess { t, cross_entropy, accuracy }
}

/// Generates one picture per caption: (N, 3, S, S) f32 on the CPU. Draws depend on `seed` only.
fn pictures(nets: &Networks, captions: &[String], sample: &SampleConfig, seed: u64) -> Tensor {
    pictures_of(nets, captions, sample, seed, &|texts| nets.condition(texts))
}

/// As [`pictures`], with the conditions that `condition` makes of the captions.
fn pictures_of(
    nets: &Networks,
    captions: &[String],
    sample: &SampleConfig,
    seed: u64,
    condition: &dyn Fn(&[String]) -> Cond,
) -> Tensor {
    let size = nets.config.data.size;
    let mut images = vec![Tensor::zeros([0, 3, size, size], (Kind::Float, Device::Cpu))];
    for (i, captions) in captions.chunks(nets.config.eval.batch).enumerate() {
        seed_step(seed, i as u64);
        let (cond, null) = (condition(captions), nets.null(captions.len()));
        let tokens = generate(nets, &cond, &null, sample);
        images.push(nets.decode(&tokens).to_device(Device::Cpu));
    }
    Tensor::cat(&images, 0)
}

/// Trains a classifier and lets it classify pictures generated from captions of all classes in turn: the score, and these
/// pictures (N, 3, S, S) f32 in 0..=1.
fn classify(nets: &Networks, train: &Dataset, val: &Dataset) -> Result<(ClassifierScore, Tensor)> {
    let config = &nets.config;
    let classifier = Classifier::train(train, config.eval.seed, nets.device)?;
    let on_real = classifier.accuracy(&val.images, &val.records);
    let classes = classifier.examples(train);
    let asked: Vec<Record> = classes.iter().cycle().take(config.eval.captions).cloned().collect();
    let captions: Vec<String> = asked.iter().map(|record| record.caption.clone()).collect();
    let images = pictures(nets, &captions, &config.sample, config.eval.seed);
    let bytes = (&images * 255.0).round().to_kind(Kind::Uint8);
    let on_generated = classifier.accuracy(&bytes, &asked);
    Ok((ClassifierScore { on_real, on_generated, pictures: asked.len() }, images))
}
