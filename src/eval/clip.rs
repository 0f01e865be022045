//! Pictures as a CLIP sees them, the model's own or another: how well they fit their captions, and how far they are from real ones.
//!
//! Letters: N pictures, C different captions, e width of a CLIP vector.

use super::distance::{frechet, kernel};
use crate::error::{Error, Fault, Result};
use crate::model::clip::{ClipConfig, directions};
use crate::networks::Network;
use crate::tokens::clip::ClipEncoder;
use crate::weights;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// Scores of some pictures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClipScore {
    /// What they are.
    pub pictures: &'static str,
    /// Number of pictures.
    pub count: usize,
    /// Mean over the pictures of 100 cos(picture, its caption), no less than 0.
    pub score: f64,
    /// Fraction of the pictures to which no other caption is nearer than their own.
    pub rank1: f64,
    /// Fraction to which at most four others are nearer.
    pub rank5: f64,
    /// Number of different captions.
    pub captions: usize,
    /// Distances to the real pictures. None for real ones.
    pub frechet: Option<f64>,
    pub kernel: Option<f64>,
}

/// The CLIP that scores pictures, and its view of the real ones.
pub struct ClipJudge<'a> {
    clip: &'a ClipEncoder,
    /// (M, e) f32, CPU.
    real: Tensor,
}

impl<'a> ClipJudge<'a> {
    /// `real`: the pictures that distances are measured to, (M, 3, S, S) u8.
    ///
    /// Errors: pictures without three channels.
    pub fn new(clip: &'a ClipEncoder, real: &Tensor) -> Result<Self> {
        let real = vectors(clip, &(real.to_kind(Kind::Float) / 255.0))?;
        Ok(Self { clip, real })
    }

    /// Scores pictures (N, 3, S, S) f32 in 0..=1 with their captions. `generated` ones are also compared with the real ones.
    ///
    /// Errors: no pictures; pictures whose vectors are not finite.
    pub fn score(
        &self,
        pictures: &'static str,
        images: &Tensor,
        captions: &[String],
        generated: bool,
    ) -> Result<ClipScore> {
        if captions.is_empty() {
            return Err(Error::data(
                "no captions to score pictures with",
                "`eval.captions`",
                "1 or more",
            ));
        }
        let images = vectors(self.clip, images)?; // (N, e)
        let (own, all) = different(captions);
        let texts = all.chunks(CHUNK).map(|some| self.clip.texts(some).to_device(Device::Cpu));
        let texts = Tensor::cat(&texts.collect::<Vec<_>>(), 0); // (C, e)
        let cosines = directions(&images).matmul(&directions(&texts).tr()); // (N, C)
        let mine = cosines.gather(1, &Tensor::from_slice(&own).unsqueeze(1), false); // (N, 1)
        let nearer = cosines.gt_tensor(&mine).sum_dim_intlist(&[1i64][..], false, Kind::Int64); // (N)
        let share = |xs: Tensor| xs.to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
        let enough = generated && images.size()[0] > 1 && self.real.size()[0] > 1;
        let distance = |measure: fn(&Tensor, &Tensor) -> Result<f64>| {
            enough.then(|| measure(&images, &self.real)).transpose()
        };
        Ok(ClipScore {
            pictures,
            count: captions.len(),
            score: share(mine.clamp_min(0.0) * 100.0),
            rank1: share(nearer.lt(1)),
            rank5: share(nearer.lt(5)),
            captions: all.len(),
            frechet: distance(frechet)?,
            kernel: distance(kernel)?,
        })
    }
}

/// ViT-H-14 with the weights of open_clip.
///
/// Errors: no such file; weights of another network, whose tensors are listed; numbers that are not finite.
pub fn read_vit_h(path: &Path, device: Device) -> Result<ClipEncoder> {
    let mut clip = ClipEncoder::new(&ClipConfig::default(), device, true);
    let place = path.display().to_string();
    clip.fill(&weights::map(path)?, &Network::Clip.rules(), &place)
        .map_err(|e| of_others(e, "open_clip's ViT-H-14", "`paella pull paella-v3 --only clip`"))?;
    weights::finite(clip.vars(), &place).map(|()| clip)
}

/// The error for a file of weights that are not those of `network`.
pub(super) fn of_others(error: Error, network: &str, hint: &str) -> Error {
    error.map(|fault| {
        let what = format!("these are not the weights of {network}: {}", fault.what);
        Fault::new(what, fault.place, hint)
    })
}

/// Pictures or texts that CLIP reads at once.
const CHUNK: usize = 128;

/// images (N, 3, S, S) f32 in 0..=1 -> (N, e) f32, CPU.
fn vectors(clip: &ClipEncoder, images: &Tensor) -> Result<Tensor> {
    let some = images.split(CHUNK as i64, 0).into_iter();
    let all: Vec<Tensor> =
        some.map(|some| Ok(clip.images(&some)?.to_device(Device::Cpu))).collect::<Result<_>>()?;
    Ok(Tensor::f_cat(&all, 0)?)
}

/// Each caption once, and for every caption its place among them.
fn different(captions: &[String]) -> (Vec<i64>, Vec<String>) {
    let mut places = BTreeMap::new();
    let mut all = Vec::new();
    let own = captions.iter().map(|caption| {
        *places.entry(caption).or_insert_with(|| {
            all.push(caption.clone());
            all.len() as i64 - 1
        })
    });
    (own.collect(), all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_that_repeat_are_one_candidate() {
        let captions = ["a", "b", "a"].map(String::from);
        assert_eq!(different(&captions), (vec![0, 1, 0], vec!["a".into(), "b".into()]));
    }
}
