//! One network of a model: its name, its variables, and what weights of it may have and lack.

use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::model::Paella;
use crate::model::clip::Clip;
use crate::model::init::VarBuilder;
use crate::model::prior::PriorModel;
use crate::tokens::text::TextEncoder;
use crate::tokens::vqgan::VqModel;
use crate::weights::fit::Rules;
use std::fmt;
use std::path::Path;
use tch::{Device, nn};

/// A network of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Tokenizer,
    Text,
    Denoiser,
    Clip,
    Prior,
}

impl Network {
    /// All of them, first those that every model has.
    pub const ALL: [Self; 5] =
        [Self::Tokenizer, Self::Text, Self::Denoiser, Self::Clip, Self::Prior];

    /// The networks of a config.
    pub fn of(config: &RunConfig) -> Vec<Self> {
        let there = |network: &Self| match network {
            Self::Clip => config.clip.is_some(),
            Self::Prior => config.prior.is_some(),
            Self::Tokenizer | Self::Text | Self::Denoiser => true,
        };
        Self::ALL.into_iter().filter(there).collect()
    }

    /// The file of its weights that a config names.
    pub fn given(self, config: &RunConfig) -> Option<&Path> {
        let weights = &config.weights;
        let path = match self {
            Self::Tokenizer => &weights.tokenizer,
            Self::Text => &weights.text,
            Self::Denoiser => &weights.denoiser,
            Self::Clip => &weights.clip,
            Self::Prior => &weights.prior,
        };
        path.as_deref()
    }

    /// The stem of its file in a model folder.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tokenizer => "tokenizer",
            Self::Text => "text",
            Self::Denoiser => "denoiser",
            Self::Clip => "clip",
            Self::Prior => "prior",
        }
    }

    /// What its published weights have besides, and what weights of it may lack.
    pub fn rules(self) -> Rules<'static> {
        let (ignore, may_lack): (&[&str], &[&str]) = match self {
            // byt5-xl comes with a decoder that is not used here
            Self::Text => (&["decoder.", "lm_head."], &[]),
            // a denoiser that was trained without CLIP may go on with one
            Self::Denoiser => (&[], &["clip_mapper", "clip_image_mapper"]),
            Self::Clip => (&["attn_mask"], &[]),
            Self::Tokenizer | Self::Prior => (&[], &[]),
        };
        Rules { ignore, may_lack, inside: self.name(), averaged: false }
    }

    /// The variables of this network: names and shapes, in memory that is not touched.
    ///
    /// Errors: the config has no such network.
    pub fn variables(self, config: &RunConfig) -> Result<nn::VarStore> {
        let vars = nn::VarStore::new(Device::Cpu);
        let p = VarBuilder::skeleton(&vars);
        let none = || {
            let hint = format!("`{self}: ()` in the config is the published one");
            Error::command(format!("the config has no network `{self}`"), &config.name, hint)
        };
        match self {
            Self::Tokenizer => drop(VqModel::new(&p, &config.tokenizer.model)),
            Self::Text => drop(TextEncoder::new(&p, &config.text)),
            Self::Denoiser => drop(Paella::new(&p, &config.model)),
            Self::Clip => drop(Clip::new(&p, &config.clip.as_ref().ok_or_else(none)?.model)),
            Self::Prior => {
                drop(PriorModel::new(&p, &config.prior.as_ref().ok_or_else(none)?.model))
            }
        }
        Ok(vars)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
