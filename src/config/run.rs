//! The config of a run, made of the configs of all stages.

use crate::checkpoint::Phase;
use crate::data::DataConfig;
use crate::device::DeviceChoice;
use crate::dist::DistConfig;
use crate::error::{Error, Result};
use crate::files;
use crate::model::PaellaConfig;
use crate::model::clip::{ClipConfig, ClipTextConfig, ClipVisionConfig};
use crate::model::prior::{PriorConfig, PriorSampleConfig};
use crate::near;
use crate::recipe::{
    ClipTrainConfig, EvalConfig, PriorTrainConfig, TokenizerTrainConfig, TrainConfig,
};
use crate::sample::SampleConfig;
use crate::tokens::text::TextConfig;
use crate::tokens::vqgan::VqConfig;
use ron_faults::Fault;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What `stages` may hold.
pub(super) const STAGES: &str = "some of [Tokenizer, Clip, Prior, Denoiser], in this order";

/// The config of a run. A file lists only what differs from the defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Name of the run's folder.
    pub name: String,
    /// Seed of every random draw of the run.
    pub seed: u64,
    pub device: DeviceChoice,
    /// The networks to train, in this order; none where a config only makes pictures. A network whose weights are given in
    /// `weights` is not trained, except the denoiser.
    pub stages: Vec<Phase>,
    pub weights: WeightsConfig,
    pub data: DataConfig,
    pub tokenizer: TokenizerConfig,
    pub text: TextConfig,
    /// A CLIP whose vectors condition the denoiser besides the text encoder's; the denoiser's training leaves it as it is.
    /// None: no CLIP.
    pub clip: Option<ClipStageConfig>,
    /// Predicts a picture's CLIP vector from its caption's, for sampling. None: sampling uses no image vector.
    pub prior: Option<PriorStageConfig>,
    pub model: PaellaConfig,
    pub train: TrainConfig,
    pub dist: DistConfig,
    pub sample: SampleConfig,
    pub eval: EvalConfig,
}

/// Initial weights: `.safetensors` or `torch.save` files with the published names. A tokenizer, CLIP or prior given here
/// is not trained.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WeightsConfig {
    pub tokenizer: Option<PathBuf>,
    pub text: Option<PathBuf>,
    /// None, and no stage that trains it: random weights, which is useful for measuring speed.
    pub clip: Option<PathBuf>,
    pub prior: Option<PathBuf>,
    pub denoiser: Option<PathBuf>,
    /// For `tokenizer.train.perceptual`: torchvision's VGG-16 (`vgg16-397923af.pth`), and LPIPS's weights of the
    /// differences (`vgg.pth`). They are no part of a model.
    pub vgg: Option<PathBuf>,
    pub lpips: Option<PathBuf>,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            seed: 0,
            device: DeviceChoice::default(),
            stages: vec![Phase::Tokenizer, Phase::Denoiser],
            weights: WeightsConfig::default(),
            data: DataConfig::default(),
            tokenizer: TokenizerConfig::default(),
            text: TextConfig::default(),
            clip: None,
            prior: None,
            model: PaellaConfig::default(),
            train: TrainConfig::default(),
            dist: DistConfig::default(),
            sample: SampleConfig::default(),
            eval: EvalConfig::default(),
        }
    }
}

/// The tokenizer: model sizes and training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenizerConfig {
    pub model: VqConfig,
    pub train: TokenizerTrainConfig,
}

/// CLIP: model sizes and training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ClipStageFields")]
pub struct ClipStageConfig {
    pub model: ClipConfig,
    pub train: ClipTrainConfig,
}

/// The fields of [`ClipStageConfig`] as they are read: those of the model may stand outside of `model`, as in configs from
/// before CLIP could be trained.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ClipStageFields {
    model: Option<ClipConfig>,
    train: ClipTrainConfig,
    embed_dim: Option<i64>,
    text: Option<ClipTextConfig>,
    vision: Option<ClipVisionConfig>,
    bf16: Option<bool>,
    antialias: Option<bool>,
}

impl TryFrom<ClipStageFields> for ClipStageConfig {
    type Error = &'static str;

    fn try_from(fields: ClipStageFields) -> std::result::Result<Self, Self::Error> {
        let ClipStageFields { model, train, embed_dim, text, vision, bf16, antialias } = fields;
        let own = ClipConfig::default();
        let outside = ClipConfig {
            embed_dim: embed_dim.unwrap_or(own.embed_dim),
            text: text.unwrap_or(own.text),
            vision: vision.unwrap_or(own.vision),
            bf16: bf16.unwrap_or(own.bf16),
            antialias: antialias.unwrap_or(own.antialias),
        };
        match model {
            Some(_) if outside != ClipConfig::default() => {
                Err("fields of `clip.model` stand inside and outside of it: put all of them inside")
            }
            model => Ok(Self { model: model.unwrap_or(outside), train }),
        }
    }
}

/// The prior: model sizes, training and sampling.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PriorStageConfig {
    pub model: PriorConfig,
    pub train: PriorTrainConfig,
    pub sample: PriorSampleConfig,
}

impl RunConfig {
    /// Reads and checks a config file.
    ///
    /// Errors: all faults at once, with line, column, field and hint.
    pub fn read(path: &Path) -> Result<Self> {
        Self::read_with(path, Self::check)
    }

    /// As [`RunConfig::read`], with other checks.
    pub fn read_with(path: &Path, check: impl Fn(&Self) -> Vec<Fault>) -> Result<Self> {
        near::there(path, "FILE")?;
        if path.is_file() && !looks_like_one(path) {
            let hint = "a config is `(field: value, ..)` in a file that ends in .ron, such as configs/fashion.ron";
            return Err(Error::command("this is no config", path.display().to_string(), hint));
        }
        Ok(ron_faults::read(path, check)?)
    }

    /// The stages to train: `stages` without those whose weights are given.
    pub fn to_train(&self) -> Vec<Phase> {
        let given = |phase: &Phase| match phase {
            Phase::Tokenizer => self.weights.tokenizer.is_some(),
            Phase::Clip => self.weights.clip.is_some(),
            Phase::Prior => self.weights.prior.is_some(),
            Phase::Denoiser => false,
        };
        self.stages.iter().copied().filter(|phase| !given(phase)).collect()
    }

    /// Checks that there is something to train.
    ///
    /// Errors: no stages, or only such whose weights are given.
    pub fn has_work(&self) -> Result<()> {
        if !self.to_train().is_empty() {
            return Ok(());
        }
        let (what, hint) = match self.stages.is_empty() {
            true => ("no stages: this config makes pictures and trains nothing", STAGES.into()),
            false => (
                "nothing to train: the weights of all these stages are given",
                format!("{STAGES}, or leave out a file of `weights`"),
            ),
        };
        Err(Error::Config(vec![Fault { place: "stages".into(), what: what.into(), hint }]))
    }
}

/// Whether a file is a config by its name or by its first letters.
fn looks_like_one(path: &Path) -> bool {
    if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("ron")) {
        return true;
    }
    let Ok(head) = files::head(path) else { return true }; // the reader says why
    let head = head.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&head).trim_ascii_start();
    let begins = |with: &[u8]| head.starts_with(with);
    // the last two begin texts in UTF-16
    head.is_empty()
        || [&b"("[..], b"//", b"/*", b"#![", b"RunConfig", b"\xff\xfe", b"\xfe\xff"]
            .into_iter()
            .any(begins)
}
