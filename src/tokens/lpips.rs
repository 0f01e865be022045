//! LPIPS: how different two pictures look, by the features of VGG-16.
//!
//! Letters: B pictures of H x W pixels, c channels of a slice.

use crate::data::home;
use crate::error::Result;
use crate::model::init::{Init, VarBuilder};
use crate::model::layers::{Conv2d, Window};
use crate::weights;
use crate::weights::fit::Rules;
use std::path::Path;
use tch::{Device, Kind, Tensor, nn};

/// Convolutions of each slice and their width. A slice after the first begins with a pooling.
pub const SLICES: [(usize, i64); 5] = [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)];
/// Side of the smallest picture: four poolings leave one position.
pub const SMALLEST: i64 = 16;
/// Mean and deviation of the pictures that VGG was trained on, in -1..=1.
const SHIFT: [f32; 3] = [-0.030, -0.088, -0.188];
const SCALE: [f32; 3] = [0.458, 0.448, 0.450];

/// The features of VGG-16 and the weights of their differences. Nothing of it is trained.
///
/// Source:  richzhang/PerceptualSimilarity, `LPIPS(net="vgg")`, version 0.1; the features have the names of torchvision's
///          `vgg16`, the differences those of the repository's `vgg.pth`.
#[derive(Debug)]
pub struct Lpips {
    slices: Vec<Vec<Conv2d>>,
    differences: Vec<Tensor>, // (1, c, 1, 1) each
    shift: Tensor,            // (1, 3, 1, 1)
    scale: Tensor,            // (1, 3, 1, 1)
}

impl Lpips {
    /// Reads both files: torchvision's VGG-16, and the weights of the differences.
    ///
    /// Errors: files that cannot be read, or hold other tensors.
    pub fn open(vgg: &Path, lpips: &Path, device: Device) -> Result<Self> {
        let (features, weighed) = (nn::VarStore::new(device), nn::VarStore::new(device));
        let slices = slices(&VarBuilder::skeleton(&features));
        let p = VarBuilder::skeleton(&weighed);
        let difference = |(i, (_, c)): (usize, &(usize, i64))| {
            (&p / format!("lin{i}") / "model" / 1).buffer("weight", &[1, *c, 1, 1], Init::Zeros)
        };
        let differences = SLICES.iter().enumerate().map(difference).collect();
        let rules = Rules { ignore: &["classifier."], inside: "vgg", ..Rules::default() };
        fill(&features, vgg, &rules)?;
        fill(&weighed, lpips, &Rules::default())?;
        features.trainable_variables().iter().for_each(|xs| drop(xs.set_requires_grad(false)));
        let row = |xs: [f32; 3]| Tensor::from_slice(&xs).view([1, 3, 1, 1]).to_device(device);
        Ok(Self { slices, differences, shift: row(SHIFT), scale: row(SCALE) })
    }

    /// Distance of two batches of pictures (B, 3, H, W) in 0..=1 -> (B). 0: they look the same.
    pub fn distance(&self, a: &Tensor, b: &Tensor) -> Tensor {
        let [mut a, mut b] = [a, b].map(|xs| (xs * 2.0 - 1.0 - &self.shift) / &self.scale);
        let mut sum = Tensor::zeros([a.size()[0]], (Kind::Float, a.device()));
        for (i, (convs, weights)) in self.slices.iter().zip(&self.differences).enumerate() {
            (a, b) = (features(&a, convs, i > 0), features(&b, convs, i > 0));
            let apart = (unit(&a) - unit(&b)).square(); // (B, c, h, w)
            let weighed = (apart * weights).sum_dim_intlist(1, false, None); // (B, h, w)
            sum += weighed.mean_dim(&[-2i64, -1][..], false, None);
        }
        sum
    }
}

/// The convolutions of torchvision's `vgg16().features`, up to the last activation.
fn slices(p: &VarBuilder) -> Vec<Vec<Conv2d>> {
    let (mut place, mut i) = (0, 3);
    let mut slice = |(n, (count, c)): (usize, &(usize, i64))| {
        place += usize::from(n > 0); // the pooling
        let conv = |_| {
            let p = p / "features" / place;
            place += 2; // the convolution, its activation
            Conv2d::new(
                &p,
                std::mem::replace(&mut i, *c),
                *c,
                Window::strided(3, 1, 1),
                Init::Zeros,
            )
        };
        (0..*count).map(conv).collect()
    };
    SLICES.iter().enumerate().map(&mut slice).collect()
}

/// xs (B, i, H, W) -> (B, c, h, w), half the height and width where `pools`.
fn features(xs: &Tensor, convs: &[Conv2d], pools: bool) -> Tensor {
    let start = match pools {
        true => xs.max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false),
        false => xs.shallow_clone(),
    };
    convs.iter().fold(start, |xs, conv| conv.forward(&xs).relu())
}

/// Each position's vector over its length.
fn unit(xs: &Tensor) -> Tensor {
    // a root has no gradient at 0, where a position has no feature at all
    let length = (xs.square().sum_dim_intlist(1, true, None) + 1e-20).sqrt(); // (B, 1, h, w)
    xs / (length + 1e-10)
}

fn fill(vars: &nn::VarStore, path: &Path, rules: &Rules) -> Result<()> {
    let path = home(path);
    weights::fill(vars, &weights::read(&path)?, rules, &path.display().to_string())?;
    Ok(())
}
