//! FID: how far generated pictures are from real ones, in the features of InceptionV3.
//!
//! Letters: N and M pictures of S x S pixels.

use super::clip::of_others;
use super::distance::frechet;
use crate::error::Result;
use crate::model::inception::{FEATURES, Inception};
use crate::model::init::VarBuilder;
use crate::weights::{self, fit::Rules};
use serde::Serialize;
use std::path::Path;
use tch::{Device, Kind, Tensor, nn};

/// Where the weights come from.
const WEIGHTS: &str =
    "pt_inception-2015-12-05-6726825d.pth of https://github.com/mseitzer/pytorch-fid/releases";
/// Pictures that the network reads at once.
const CHUNK: i64 = 32;

/// FID of some pictures.
///
/// Fewer pictures give a higher one: below about 10,000 it tells how sets of equal size compare, and no more.
/// Source:  Heusel et al. 2017 (FID); Chong and Forsyth 2020, "Effectively Unbiased FID" (its bias).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FidScore {
    /// What they are.
    pub pictures: &'static str,
    /// Number of pictures.
    pub count: usize,
    /// Number of the real pictures that they are compared with.
    pub real: usize,
    /// None with fewer than two pictures on either side.
    pub fid: Option<f64>,
}

/// InceptionV3 with its weights.
#[derive(Debug)]
pub struct InceptionNet {
    network: Inception,
    device: Device,
}

impl InceptionNet {
    /// Reads the weights of pytorch-fid, a state dict.
    ///
    /// Errors: no such file; weights of another network, whose tensors are listed; numbers that are not finite.
    pub fn read(path: &Path, device: Device) -> Result<Self> {
        let vars = nn::VarStore::new(device);
        let network = Inception::new(&VarBuilder::skeleton(&vars));
        let place = path.display().to_string();
        weights::fill(&vars, &weights::map(path)?, &Rules::default(), &place)
            .map_err(|e| of_others(e, "pytorch-fid's InceptionV3", WEIGHTS))?;
        weights::finite(&vars, &place)?;
        Ok(Self { network, device })
    }

    /// images (N, 3, S, S) f32 in 0..=1 -> (N, 2048) f32, CPU. They are rounded to 8 bits, as files of pictures are.
    pub fn features(&self, images: &Tensor) -> Tensor {
        let _no_grad = tch::no_grad_guard();
        let none = Tensor::zeros([0, FEATURES], (Kind::Float, Device::Cpu));
        let of_some = |some: Tensor| {
            let images = (some.to_device(self.device) * 255.0).round() / 255.0;
            self.network.features(&images).to_device(Device::Cpu)
        };
        let parts = images.split(CHUNK, 0).into_iter().map(of_some);
        Tensor::cat(&std::iter::once(none).chain(parts).collect::<Vec<_>>(), 0)
    }
}

/// The network that scores pictures, and its view of the real ones.
pub struct FidJudge<'a> {
    inception: &'a InceptionNet,
    /// (M, 2048) f32, CPU.
    real: Tensor,
}

impl<'a> FidJudge<'a> {
    /// `real`: the pictures that the distance is measured to, (M, 3, S, S) u8.
    pub fn new(inception: &'a InceptionNet, real: &Tensor) -> Self {
        let real = real.split(CHUNK, 0).into_iter();
        let real = real.map(|some| inception.features(&(some.to_kind(Kind::Float) / 255.0)));
        Self { inception, real: Tensor::cat(&real.collect::<Vec<_>>(), 0) }
    }

    /// Scores pictures (N, 3, S, S) f32 in 0..=1.
    ///
    /// Errors: features that are not finite.
    pub fn score(&self, pictures: &'static str, images: &Tensor) -> Result<FidScore> {
        let [count, real] = [images, &self.real].map(|xs| xs.size()[0] as usize);
        let distance = || frechet(&self.inception.features(images), &self.real);
        let fid = (count > 1 && real > 1).then(distance).transpose()?;
        Ok(FidScore { pictures, count, real, fid })
    }
}
