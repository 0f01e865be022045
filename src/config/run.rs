//! The config of a run: every stage's own config, gathered.

use crate::checkpoint::Phase;
use crate::data::DataConfig;
use crate::device::DeviceChoice;
use crate::dist::DistConfig;
use crate::error::Result;
use crate::model::PaellaConfig;
use crate::model::clip::ClipConfig;
use crate::model::prior::{PriorConfig, PriorSampleConfig};
use crate::recipe::{EvalConfig, PriorTrainConfig, TokenizerTrainConfig, TrainConfig};
use crate::sample::SampleConfig;
use crate::tokens::text::TextConfig;
use crate::tokens::vqgan::VqConfig;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Everything that makes a run what it is. A file lists only what differs from the defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Names the run's folder.
    pub name: String,
    /// Every draw of the run follows from it.
    pub seed: u64,
    pub device: DeviceChoice,
    /// What the run trains, one after the other. A tokenizer whose weights are given is not trained.
    pub stages: Vec<Phase>,
    pub weights: WeightsConfig,
    pub data: DataConfig,
    pub tokenizer: TokenizerConfig,
    pub text: TextConfig,
    /// A frozen CLIP, whose vectors the denoiser is given besides the text's; none: there is no CLIP.
    pub clip: Option<ClipConfig>,
    /// Makes a picture's CLIP vector of the text's, for sampling; none: sampling goes without.
    pub prior: Option<PriorStageConfig>,
    pub model: PaellaConfig,
    pub train: TrainConfig,
    pub dist: DistConfig,
    pub sample: SampleConfig,
    pub eval: EvalConfig,
}

/// Weights to start from: `.safetensors` or `torch.save` files with the published names. A tokenizer that is
/// given is not trained, nor is a prior.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WeightsConfig {
    pub tokenizer: Option<PathBuf>,
    pub text: Option<PathBuf>,
    /// Random weights if none, which is of use for measuring speed.
    pub clip: Option<PathBuf>,
    pub prior: Option<PathBuf>,
    pub denoiser: Option<PathBuf>,
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

/// The tokenizer: its sizes and how it is trained.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenizerConfig {
    pub model: VqConfig,
    pub train: TokenizerTrainConfig,
}

/// The prior: its sizes, how it is trained, and how it is sampled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PriorStageConfig {
    pub model: PriorConfig,
    pub train: PriorTrainConfig,
    pub sample: PriorSampleConfig,
}

impl RunConfig {
    /// Read and check a file.
    ///
    /// Errors: every fault at once, with line, column, field and hint.
    pub fn read(path: &Path) -> Result<Self> {
        Ok(super::read(path, Self::check)?)
    }

    /// The stages, without those whose weights are given.
    pub fn to_train(&self) -> Vec<Phase> {
        let given = |phase: &Phase| match phase {
            Phase::Tokenizer => self.weights.tokenizer.is_some(),
            Phase::Prior => self.weights.prior.is_some(),
            Phase::Denoiser => false,
        };
        self.stages.iter().copied().filter(|phase| !given(phase)).collect()
    }
}
