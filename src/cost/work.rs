//! The work of one training stage: which networks take part, which are trained, and their cost per picture.

use super::Cost;
use super::denoiser::{DenoiserCost, denoiser};
use super::encoders::{Tokenizer, clip, discriminator, lpips, prior, text, tokenizer};
use crate::checkpoint::Phase;
use crate::config::RunConfig;
use crate::model::clip::ClipConfig;
use crate::recipe::Precision;

/// Caption length in bytes if the config sets none. A LAION caption has about 60, but a batch is padded to its longest
/// caption.
pub const TEXT_BYTES: i64 = 128;

/// One network of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkCost {
    pub name: String,
    pub params: i64,
    /// Trained in this stage; otherwise frozen.
    pub trained: bool,
    /// Operations of one picture's forward pass, scaled by the fraction of batches that use the network.
    pub flops: i64,
    /// Weights are stored in bf16, not f32.
    pub bf16: bool,
}

/// The work of a stage, for one picture.
#[derive(Clone, Debug)]
pub struct Work {
    pub phase: Phase,
    pub parts: Vec<NetworkCost>,
    pub precision: Precision,
    /// Operations that are done again in the backward pass.
    pub recomputed: i64,
    /// Operations of frozen networks outside autocast, which run on f32 units.
    pub outside: i64,
    /// Bytes kept from the forward pass to the backward pass.
    pub kept: i64,
    /// Bytes of the loss's gradients at the start of the backward pass, the moment of peak memory.
    pub loss: i64,
    /// Peak bytes of a frozen network, when nothing else is kept.
    pub widest: i64,
}

impl Work {
    fn params(&self, trained: bool) -> i64 {
        self.parts.iter().filter(|part| part.trained == trained).map(|part| part.params).sum()
    }

    /// Number of trained weights.
    pub fn trained(&self) -> i64 {
        self.params(true)
    }

    /// Number of frozen weights.
    pub fn frozen(&self) -> i64 {
        self.params(false)
    }

    /// Number of frozen weights stored in f32.
    pub fn frozen_full(&self) -> i64 {
        let full = self.parts.iter().filter(|part| !part.trained && !part.bf16);
        full.map(|part| part.params).sum()
    }

    /// Operations of the forward pass of all networks.
    pub fn forward(&self) -> i64 {
        self.parts.iter().map(|part| part.flops).sum()
    }

    /// Operations of the backward pass: twice the forward pass for trained networks, none for frozen ones.
    pub fn backward(&self) -> i64 {
        self.parts.iter().filter(|part| part.trained).map(|part| 2 * part.flops).sum()
    }

    /// Operations that the method needs per picture, without recomputation. MFU counts these.
    pub fn useful(&self) -> i64 {
        self.forward() + self.backward()
    }
}

/// S as the config sets it, else `assumed`, else `TEXT_BYTES`.
pub fn text_bytes(config: &RunConfig, assumed: Option<i64>) -> i64 {
    config.text.length.or(assumed).unwrap_or(TEXT_BYTES)
}

/// The work of a stage for a picture with a caption of S bytes.
pub fn work(config: &RunConfig, phase: Phase, s: i64) -> Work {
    let images = tokenizer(&config.tokenizer.model, config.data.size);
    match phase {
        Phase::Tokenizer => train_tokenizer(config, &images),
        Phase::Clip => train_clip(config, &images),
        Phase::Prior => train_prior(config, &images),
        Phase::Denoiser => train_denoiser(config, &images, s),
    }
}

fn part(name: &str, params: i64, flops: i64, trained: bool) -> NetworkCost {
    NetworkCost { name: name.into(), params, trained, flops, bf16: false }
}

/// CLIP's text and image towers, each scaled by the fraction of batches that use it. Empty without CLIP.
fn towers(config: &RunConfig) -> Vec<NetworkCost> {
    let used = |flops: i64, share: f64| (flops as f64 * share) as i64;
    let (recipe, Some(stage)) = (&config.train, &config.clip) else { return Vec::new() };
    let (sizes, all) = (&stage.model, clip(&stage.model));
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
    let adversary = config.tokenizer.train.adversary.as_ref();
    // three judgements forward and backward: one that teaches, whose gradient is taken twice, two that learn
    let adversary = adversary.map(|own| discriminator(&own.model, config.data.size));
    // features of two pictures, and the gradient of one; the weights have none
    let seen = (config.tokenizer.train.perceptual > 0.0).then(|| lpips(config.data.size));
    let seen_kept = seen.map_or(0, |cost| cost.kept.bytes(false));
    let judged = adversary.map_or(0, |cost| 2 * cost.kept.bytes(false)); // at most two are kept at once
    Work {
        phase: Phase::Tokenizer,
        parts: [
            part("tokenizer", all.params, all.flops, true),
            part("networks of later stages", waiting.params, 0, false),
        ]
        .into_iter()
        .chain(adversary.map(|cost| part("adversary", cost.params, 3 * cost.flops, true)))
        .chain(seen.map(|cost| part("VGG-16 of LPIPS", cost.params, 3 * cost.flops, false)))
        .chain(towers(config).into_iter().map(|tower| NetworkCost { flops: 0, ..tower }))
        .collect(),
        precision: Precision { tf32: config.train.precision.tf32, ..Precision::default() },
        recomputed: 0,
        outside: 0,
        kept: all.kept.bytes(false) + judged + seen_kept,
        loss: images.widest,
        widest: 0,
    }
}

/// Work of training CLIP. Both towers read every picture and caption; the other networks are idle.
fn train_clip(config: &RunConfig, images: &Tokenizer) -> Work {
    let all = clip(&config.clip.clone().unwrap_or_default().model);
    let tower = |name: &str, cost: Cost| part(name, cost.params, cost.flops, true);
    Work {
        phase: Phase::Clip,
        parts: vec![
            part("networks of other stages", idle(config, images).params, 0, false),
            tower("CLIP, captions", all.text),
            tower("CLIP, pictures", all.vision),
        ],
        recomputed: 0,
        outside: 0,
        kept: (all.text + all.vision).kept.bytes(config.train.precision.bf16),
        loss: 0,
        widest: 0,
        precision: config.train.precision.clone(),
    }
}

/// The networks that take no part in training CLIP or the prior.
fn idle(config: &RunConfig, images: &Tokenizer) -> Cost {
    images.total() + denoiser(&config.model, (0, 0), 0).total() + text(&config.text, 0)
}

/// Work of training the prior. Both towers read every picture and caption; the other networks are idle.
fn train_prior(config: &RunConfig, images: &Tokenizer) -> Work {
    let net = prior(&config.prior.clone().unwrap_or_default().model);
    let sizes = config.clip.clone().unwrap_or_default().model;
    let all = clip(&sizes);
    let tower = |name: &str, cost: Cost| NetworkCost {
        bf16: sizes.bf16,
        ..part(name, cost.params, cost.flops, false)
    };
    let encoding = all.text.flops + all.vision.flops;
    Work {
        phase: Phase::Prior,
        parts: vec![
            part("networks of other stages", idle(config, images).params, 0, false),
            tower("CLIP, captions", all.text),
            tower("CLIP, pictures", all.vision),
            part("prior", net.params, net.flops, true),
        ],
        recomputed: 0,
        // CLIP runs outside autocast; stored in bf16 it also computes in bf16
        outside: if sizes.bf16 { 0 } else { encoding },
        kept: net.kept.bytes(config.train.precision.bf16),
        loss: 0,
        widest: 4 * widest(&sizes),
        precision: config.train.precision.clone(),
    }
}

/// Peak numbers of a picture inside CLIP: a feed-forward layer, before and after its GELU.
fn widest(sizes: &ClipConfig) -> i64 {
    let side = sizes.vision.image_size / sizes.vision.patch_size;
    (side * side + 1) * (2.0 * sizes.vision.mlp_ratio * sizes.vision.width as f64) as i64
}

fn train_denoiser(config: &RunConfig, images: &Tokenizer, s: i64) -> Work {
    let (recipe, model) = (&config.train, &config.model);
    let precision = recipe.precision.clone();
    let encode = if config.data.is_encoded_every_step() { images.encode.flops } else { 0 };
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
        // gradients of the probabilities, twice, and of the logits
        loss: 12 * model.num_labels * side * side,
        widest: images.widest,
        precision,
    }
}
