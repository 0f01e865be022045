//! What `vary` mixes: pictures, by their CLIP vectors, and texts.
//!
//! Letters: e width of a CLIP vector, L text vectors, n condition vectors of one CLIP vector.

use super::Lab;
use crate::error::Result;
use crate::model::Cond;
use crate::networks::Networks;
use std::path::PathBuf;
use std::rc::Rc;
use tch::{Kind, Tensor};

/// How one comes by a model with all five networks.
pub(super) const FULL_MODEL: &str =
    "`load emoji-64`, or `paella train configs/emoji-full.ron`, then `load runs/emoji-full/model`";

/// A picture or a text, and its weight in the mixture.
#[derive(Clone, Debug, PartialEq)]
pub struct MixPart {
    pub source: MixSource,
    /// Above 0. Only its ratio to the weights of the other parts counts.
    pub weight: f64,
}

/// What is mixed.
#[derive(Clone, Debug, PartialEq)]
pub enum MixSource {
    /// The current picture.
    Current,
    /// A picture in a file, cropped to a square.
    File(PathBuf),
    Text(String),
}

/// The parts of a mixture, ready to condition a run.
#[derive(Debug)]
pub struct Mixture {
    /// Vectors of the pictures, mixed by their weights (1, e) f32.
    image: Tensor,
    /// Sum of the pictures' weights.
    image_weight: f64,
    /// Texts with their weights.
    texts: Vec<(String, f64)>,
    /// The captions of its pictures.
    pub captions: String,
    /// What there is to say about those captions.
    pub remarks: Vec<String>,
}

impl Mixture {
    /// Its texts, joined. Empty without one.
    pub fn text(&self) -> String {
        self.texts().collect::<Vec<_>>().join(" + ")
    }

    /// Each of its texts.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(|(text, _)| text.as_str())
    }

    /// The conditions of `count` pictures. Texts are mixed by their weights, as pictures are. If texts and pictures have
    /// different weights in all, the attention to the lighter kind is scaled down by their ratio.
    pub fn condition(&self, nets: &Networks, count: i64) -> Cond {
        let (texts, weights): (Vec<String>, Vec<f64>) = match self.texts.as_slice() {
            [] => (vec![String::new()], vec![1.0]),
            texts => texts.iter().cloned().unzip(),
        };
        let mixed = nets.encode_text(&texts).mixed(&weights, count);
        let image = self.image.to_device(nets.device).expand([count, -1], false);
        let attn_weights = self.factors(mixed.byt5.size()[1], nets.config.model.clip_seq_len);
        let attn_weights = attn_weights.map(|factors| factors.to_device(nets.device));
        Cond { clip_image: vec![image], attn_weights, ..mixed }
    }

    /// Factors for the attention to L + n vectors of texts and n of the picture. None: all are 1.
    fn factors(&self, l: i64, n: i64) -> Option<Tensor> {
        let text: f64 = self.texts.iter().map(|(_, weight)| weight).sum();
        if self.texts.is_empty() || text == self.image_weight {
            return None;
        }
        let most = text.max(self.image_weight);
        let full =
            |n: i64, weight: f64| Tensor::full([n], weight / most, (Kind::Float, tch::Device::Cpu));
        Some(Tensor::cat(&[full(l + n, text), full(n, self.image_weight)], 0))
    }
}

impl Lab {
    /// Makes a mixture of parts. None without parts.
    ///
    /// Errors: the model has no CLIP; no picture among the parts; a picture that cannot be read.
    pub(super) fn mixture(&mut self, parts: &[MixPart]) -> Result<Option<Rc<Mixture>>> {
        if parts.is_empty() {
            return Ok(None);
        }
        if self.state.model.borrow().config.clip.is_none() {
            let hint = format!("a model with a CLIP: {FULL_MODEL}");
            return Err(Self::fault(
                "this model has no CLIP, which makes vectors of pictures",
                hint,
            ));
        }
        let (mut texts, mut images, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        let (mut captions, mut remarks) = (Vec::<String>::new(), Vec::new());
        for MixPart { source, weight } in parts {
            let picture = match source {
                MixSource::Text(text) => {
                    texts.push((self.as_caption(text)?, *weight));
                    continue;
                }
                MixSource::Current => self.state.workspace.picture()?,
                MixSource::File(path) => {
                    let (picture, said) = self.picture_of(path, None)?;
                    remarks.extend(said);
                    Rc::new(picture)
                }
            };
            let [h, w] = [picture.images.size()[2], picture.images.size()[3]];
            if h != w {
                remarks.push(format!(
                    "{}: of {w} x {h} pixels the middle square is read: CLIP reads squares",
                    picture.caption
                ));
            }
            images.push(square(&picture.images));
            captions.push(picture.caption.clone());
            weights.push(*weight);
        }
        if images.is_empty() {
            let hint = "`vary this` varies the current picture, `vary FILE` one in a file";
            return Err(Self::fault("no picture to vary", hint));
        }
        let model = self.model()?;
        let model = model.borrow();
        let Some(clip) = &model.nets().clip else { return Ok(None) };
        let vectors: Vec<Tensor> =
            images.iter().map(|image| clip.images(image)).collect::<Result<_>>()?;
        let image = Cond::text(Tensor::cat(&vectors, 0)).mixed(&weights, 1).byt5; // (1, e)
        let image_weight = weights.iter().sum();
        let captions = captions.join(" + ");
        Ok(Some(Rc::new(Mixture { image, image_weight, texts, captions, remarks })))
    }
}

/// The middle of a picture (1, 3, H, W), as wide as high: CLIP reads squares.
fn square(images: &Tensor) -> Tensor {
    let [h, w] = [images.size()[2], images.size()[3]];
    let side = h.min(w);
    images.narrow(2, (h - side) / 2, side).narrow(3, (w - side) / 2, side)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lighter_kind_gets_less_attention() {
        let mixture = |text: &[f64], image_weight| Mixture {
            image: Tensor::zeros([1, 2], (Kind::Float, tch::Device::Cpu)),
            image_weight,
            texts: text.iter().map(|weight| ("x".to_string(), *weight)).collect(),
            captions: String::new(),
            remarks: Vec::new(),
        };
        assert!(mixture(&[], 3.0).factors(2, 1).is_none());
        assert!(mixture(&[0.5, 0.5], 1.0).factors(2, 1).is_none());
        let factors = |mixture: Mixture| {
            let factors = mixture.factors(2, 1).expect("some").to_kind(Kind::Double);
            Vec::<f64>::try_from(factors).expect("numbers")
        };
        assert_eq!(factors(mixture(&[0.5], 1.0)), [0.5, 0.5, 0.5, 1.0]);
        assert_eq!(factors(mixture(&[3.0, 1.0], 1.0)), [1.0, 1.0, 1.0, 0.25]);
    }
}
