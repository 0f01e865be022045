//! One stage of a run: which networks take part, which of them are trained, and what they do for one picture.

use super::Cost;
use super::denoiser::{DenoiserCost, denoiser};
use super::encoders::{Tokenizer, clip, prior, text, tokenizer};
use crate::checkpoint::Phase;
use crate::config::RunConfig;
use crate::model::clip::ClipConfig;
use crate::recipe::Precision;

/// Bytes of a caption where the config sets no length. A LAION caption has some 60, but a batch is as long as its
/// longest one.
pub const TEXT_BYTES: i64 = 128;

/// A network of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkCost {
    pub name: String,
    pub params: i64,
    /// Moved by this stage; else its weights are only read.
    pub trained: bool,
    /// Operations of one picture's forward pass; where only a share of the batches needs it, that share of them.
    pub flops: i64,
    /// Weights lie in memory in bf16, not in f32.
    pub bf16: bool,
}

/// A stage, for one picture.
#[derive(Clone, Debug)]
pub struct Work {
    pub phase: Phase,
    pub parts: Vec<NetworkCost>,
    pub precision: Precision,
    /// Operations that are done once more for the gradient.
    pub recomputed: i64,
    /// Operations of frozen parts outside autocast, which f32 units do.
    pub outside: i64,
    /// Bytes kept from the forward pass to the backward pass.
    pub kept: i64,
    /// Bytes of the loss's gradients when the backward pass begins, where most is in use.
    pub loss: i64,
    /// Bytes at the widest place of a frozen part, when nothing else is kept.
    pub widest: i64,
}

impl Work {
    fn params(&self, trained: bool) -> i64 {
        self.parts.iter().filter(|part| part.trained == trained).map(|part| part.params).sum()
    }

    pub fn trained(&self) -> i64 {
        self.params(true)
    }

    pub fn frozen(&self) -> i64 {
        self.params(false)
    }

    /// Frozen weights that lie in memory in f32.
    pub fn frozen_full(&self) -> i64 {
        let full = self.parts.iter().filter(|part| !part.trained && !part.bf16);
        full.map(|part| part.params).sum()
    }

    pub fn forward(&self) -> i64 {
        self.parts.iter().map(|part| part.flops).sum()
    }

    /// The gradients by inputs and by weights each take what the forward pass took; frozen parts have none.
    pub fn backward(&self) -> i64 {
        self.parts.iter().filter(|part| part.trained).map(|part| 2 * part.flops).sum()
    }

    /// What a picture needs of a method, however memory is saved: the operations that MFU counts.
    pub fn useful(&self) -> i64 {
        self.forward() + self.backward()
    }
}

/// S as the config sets it, else `assumed`.
pub fn text_bytes(config: &RunConfig, assumed: Option<i64>) -> i64 {
    config.text.length.or(assumed).unwrap_or(TEXT_BYTES)
}

/// What a stage of the config does for a picture with a caption of S bytes.
pub fn work(config: &RunConfig, phase: Phase, s: i64) -> Work {
    let images = tokenizer(&config.tokenizer.model, config.data.size);
    match phase {
        Phase::Tokenizer => train_tokenizer(config, &images),
        Phase::Prior => train_prior(config, &images),
        Phase::Denoiser => train_denoiser(config, &images, s),
    }
}

fn part(name: &str, params: i64, flops: i64, trained: bool) -> NetworkCost {
    NetworkCost { name: name.into(), params, trained, flops, bf16: false }
}

/// CLIP's towers, the text's and the picture's, each used in its share of the batches; none where there is no CLIP.
fn towers(config: &RunConfig) -> Vec<NetworkCost> {
    let used = |flops: i64, share: f64| (flops as f64 * share) as i64;
    let (recipe, Some(sizes)) = (&config.train, &config.clip) else { return Vec::new() };
    let all = clip(sizes);
    [
        ("CLIP, captions", all.text, recipe.clip_text),
        ("CLIP, pictures", all.vision, recipe.clip_image),
    ]
    .map(|(name, tower, share)| NetworkCost {
        bf16: sizes.bf16,
        ..part(name, tower.params, used(tower.flops, share), false)
    })
    .into()
}

fn train_tokenizer(config: &RunConfig, images: &Tokenizer) -> Work {
    let all = images.total();
    let waiting = denoiser(&config.model, (0, 0), 0).total() + text(&config.text, 0);
    Work {
        phase: Phase::Tokenizer,
        parts: [
            part("tokenizer", all.params, all.flops, true),
            part("networks of later stages", waiting.params, 0, false),
        ]
        .into_iter()
        .chain(towers(config).into_iter().map(|tower| NetworkCost { flops: 0, ..tower }))
        .collect(),
        precision: Precision { tf32: config.train.precision.tf32, ..Precision::default() },
        recomputed: 0,
        outside: 0,
        kept: all.kept.bytes(false),
        loss: images.widest,
        widest: 0,
    }
}

/// Both towers read every picture and caption; the other networks wait.
fn train_prior(config: &RunConfig, images: &Tokenizer) -> Work {
    let net = prior(&config.prior.clone().unwrap_or_default().model);
    let waiting =
        images.total() + denoiser(&config.model, (0, 0), 0).total() + text(&config.text, 0);
    let sizes = config.clip.clone().unwrap_or_default();
    let all = clip(&sizes);
    let tower = |name: &str, cost: Cost| NetworkCost {
        bf16: sizes.bf16,
        ..part(name, cost.params, cost.flops, false)
    };
    let encoding = all.text.flops + all.vision.flops;
    Work {
        phase: Phase::Prior,
        parts: vec![
            part("networks of other stages", waiting.params, 0, false),
            tower("CLIP, captions", all.text),
            tower("CLIP, pictures", all.vision),
            part("prior", net.params, net.flops, true),
        ],
        recomputed: 0,
        // CLIP runs outside autocast; stored in bf16 it computes so
        outside: if sizes.bf16 { 0 } else { encoding },
        kept: net.kept.bytes(config.train.precision.bf16),
        loss: 0,
        widest: 4 * widest(&sizes),
        precision: config.train.precision.clone(),
    }
}

/// Numbers of a picture inside CLIP where most are in use: a feed-forward layer, before and after its GELU.
fn widest(sizes: &ClipConfig) -> i64 {
    let side = sizes.vision.image_size / sizes.vision.patch_size;
    (side * side + 1) * (2.0 * sizes.vision.mlp_ratio * sizes.vision.width as f64) as i64
}

fn train_denoiser(config: &RunConfig, images: &Tokenizer, s: i64) -> Work {
    let (recipe, model) = (&config.train, &config.model);
    let precision = recipe.precision.clone();
    // pictures in memory become tokens once, before the first step
    let encode = if config.data.stream.is_some() { images.encode.flops } else { 0 };
    let side = config.data.size / config.tokenizer.model.factor();
    let net = denoiser(model, (side, side), s);
    let words = text(&config.text, s);
    let DenoiserCost { cond, input, levels, output } = &net;
    let mut parts = vec![
        part("tokenizer, encoding", images.total().params, encode, false),
        part("text encoder", words.params, words.flops, recipe.train_text),
        part(
            "denoiser: in and out",
            (*cond + *input + *output).params,
            (*cond + *input + *output).flops,
            true,
        ),
    ];
    parts.splice(2..2, towers(config));
    for (i, level) in levels.iter().enumerate() {
        let all = level.total();
        parts.push(part(&format!("denoiser: level {i}"), all.params, all.flops, true));
    }
    let read = if recipe.train_text { words.kept.bytes(precision.bf16) } else { 0 };
    Work {
        phase: Phase::Denoiser,
        parts,
        recomputed: net.recomputed(&precision.recompute),
        outside: encode,
        kept: net.kept(&precision.recompute, precision.bf16) + read,
        // the gradients of probabilities, twice, and of logits
        loss: 12 * model.num_labels * side * side,
        widest: images.widest,
        precision,
    }
}
