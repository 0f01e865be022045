//! The CLIP of a model: captions and pictures as vectors in a shared space.
//!
//! Letters: B texts or pictures, e width of a vector.

use super::pieces;
use crate::error::Result;
use crate::model::clip::{Clip, ClipConfig, ClipTextConfig};
use crate::model::init::VarBuilder;
use crate::model::preprocess::ClipPixels;
use crate::weights::fit::Rules;
use crate::weights::{self, Named};
use std::cell::OnceCell;
use tch::{Device, Kind, Tensor, nn};

/// Both CLIP towers, their weights, and the image preprocessing. Vectors have no gradient; only the stage that trains CLIP
/// calls the towers themselves.
#[derive(Debug)]
pub struct ClipEncoder {
    config: ClipConfig,
    clip: Clip,
    pixels: ClipPixels,
    vars: nn::VarStore,
    /// The vector of the empty text (1, e) f32, computed on first use.
    empty: OnceCell<Tensor>,
}

impl ClipEncoder {
    /// Makes the encoder. With `skeleton`, the weights are allocated but not initialised, because they are loaded next.
    pub fn new(config: &ClipConfig, device: Device, skeleton: bool) -> Self {
        let mut vars = nn::VarStore::new(device);
        let place = if skeleton { VarBuilder::skeleton(&vars) } else { VarBuilder::root(&vars) };
        let clip = Clip::new(&place, config);
        if config.bf16 {
            vars.bfloat16();
        }
        let (size, antialias) = (config.vision.image_size, config.antialias);
        let pixels = ClipPixels { size, antialias, ..ClipPixels::default() };
        Self { config: config.clone(), clip, pixels, vars, empty: OnceCell::new() }
    }

    pub fn vars(&self) -> &nn::VarStore {
        &self.vars
    }

    /// Loads weights with the names of open_clip.
    ///
    /// Errors: names or shapes that do not fit this network.
    pub fn fill(&mut self, tensors: &Named, rules: &Rules, place: &str) -> Result<()> {
        self.empty = OnceCell::new();
        weights::fill(&self.vars, tensors, rules, place).map(|_| ())
    }

    /// texts -> (B, e) f32.
    pub fn texts(&self, texts: &[String]) -> Tensor {
        let _no_grad = tch::no_grad_guard();
        self.clip.text.encode(&self.ids(texts)).to_kind(Kind::Float)
    }

    /// The vector of the empty text, `count` times: (count, e) f32.
    pub fn empty(&self, count: i64) -> Tensor {
        let vector = self.empty.get_or_init(|| self.texts(&[String::new()]));
        vector.expand([count, -1], false)
    }

    /// images (B, 3, S, S) f32 in 0..=1, on any device -> (B, e) f32.
    ///
    /// Errors: not three channels.
    pub fn images(&self, images: &Tensor) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        Ok(self.clip.vision.encode(&self.pixels(images)?).to_kind(Kind::Float))
    }

    /// Both towers.
    pub fn towers(&self) -> &Clip {
        &self.clip
    }

    /// texts -> (B, S) i64, what the text tower reads.
    pub fn ids(&self, texts: &[String]) -> Tensor {
        let ClipTextConfig { pieces, context_length, .. } = self.config.text;
        pieces::batch(texts, pieces, context_length, self.vars.device())
    }

    /// images (B, 3, S, S) f32 in 0..=1, on any device -> what the picture tower reads.
    ///
    /// Errors: not three channels.
    pub fn pixels(&self, images: &Tensor) -> Result<Tensor> {
        let kind = if self.config.bf16 { Kind::BFloat16 } else { Kind::Float };
        Ok(self.pixels.prepare(&images.to_device(self.vars.device()))?.to_kind(kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clip::ClipVisionConfig;

    fn small(bf16: bool) -> ClipConfig {
        ClipConfig {
            embed_dim: 8,
            text: ClipTextConfig { width: 8, heads: 2, layers: 1, ..ClipTextConfig::default() },
            vision: ClipVisionConfig {
                image_size: 28,
                width: 16,
                head_width: 8,
                layers: 1,
                ..ClipVisionConfig::default()
            },
            bf16,
            ..ClipConfig::default()
        }
    }

    #[test]
    fn vectors_are_f32_without_a_gradient_and_almost_the_same_in_16_bits() {
        let full = ClipEncoder::new(&small(false), Device::Cpu, false);
        let mut half = ClipEncoder::new(&small(true), Device::Cpu, true);
        let own = weights::named(full.vars(), false);
        half.fill(&own, &Rules::default(), "the full one").expect("the same names");
        let kinds = half.vars().variables().into_values().map(|xs| xs.kind());
        assert!(kinds.into_iter().all(|kind| kind == Kind::BFloat16));
        let images = Tensor::ones([2, 3, 40, 40], (Kind::Float, Device::Cpu)) * 0.3;
        let texts = ["a fox".to_string(), String::new()];
        let all = |clip: &ClipEncoder| {
            [clip.texts(&texts), clip.empty(3), clip.images(&images).expect("three channels")]
        };
        for (a, b) in all(&full).into_iter().zip(all(&half)) {
            assert_eq!((a.kind(), a.requires_grad(), &a.size()), (Kind::Float, false, &b.size()));
            assert!(
                (&a - b).abs().max().double_value(&[]) < 0.05 * a.abs().max().double_value(&[])
            );
        }
        // the empty text is the empty text
        let apart = full.texts(&texts).get(1) - full.empty(1).get(0);
        assert!(apart.abs().max().double_value(&[]) < 1e-6);
    }
}
