//! Pictures as CLIP was trained to see them.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use tch::Tensor;

/// Resize the shorter side, then normalise each channel; the default is that of the published CLIP models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClipPixels {
    /// Pixels of the shorter side, at least 1.
    pub size: i64,
    /// Of red, green and blue, taken off.
    pub mean: [f64; 3],
    /// Of red, green and blue, divided by.
    pub std: [f64; 3],
    /// Widen the filter when shrinking. torchvision does so by default from 0.17 on, on tensors not before.
    pub antialias: bool,
}

impl Default for ClipPixels {
    fn default() -> Self {
        Self {
            size: 224,
            mean: [0.48145466, 0.4578275, 0.40821073],
            std: [0.26862954, 0.26130258, 0.27577711],
            antialias: true,
        }
    }
}

impl ClipPixels {
    /// Resized and normalised: images (B, 3, H, W) f32 in 0..=1 -> (B, 3, h, w) f32, nothing cropped.
    ///
    /// Errors: as [`ClipPixels::resize`].
    pub fn prepare(&self, images: &Tensor) -> Result<Tensor> {
        Ok(self.normalise(&self.resize(images)?))
    }

    /// Bicubic, the shorter side to `size`, the longer to the whole part of size long / short.
    ///
    /// Values may leave 0..=1: nothing is clamped. With antialiasing the cubic has a = -0.5, without a = -0.75.
    ///
    /// Shapes:  images (B, 3, H, W) f32 -> (B, 3, h, w) f32.
    /// Source:  torchvision `Resize(size, BICUBIC)` on float tensors.
    /// Errors:  not three channels, a side of no pixels, a size below 1.
    pub fn resize(&self, images: &Tensor) -> Result<Tensor> {
        let to = self.resized(&images.size())?;
        // pictures of CLIP's own size, as small models have them
        if images.size()[2..] == to {
            return Ok(images.shallow_clone());
        }
        Ok(match self.antialias {
            true => images.f_internal_upsample_bicubic2d_aa(to, false, None, None)?, // (B, 3, h, w)
            false => images.f_upsample_bicubic2d(to, false, None, None)?,
        })
    }

    /// [B, 3, H, W] -> [h, w].
    fn resized(&self, dims: &[i64]) -> Result<[i64; 2]> {
        match *dims {
            [_, 3, height, width] if height > 0 && width > 0 && self.size > 0 => {
                // whole numbers, cut off: torchvision does so too
                let longer = |long: i64, short: i64| self.size * long / short;
                Ok(if height <= width {
                    [self.size, longer(width, height)]
                } else {
                    [longer(height, width), self.size]
                })
            }
            _ => Err(Error::model(
                format!("expected pictures (B, 3, H, W), got {dims:?} for size {}", self.size),
                "CLIP preprocessing",
                "three channels, and sides of 1 pixel or more",
            )),
        }
    }

    /// (images - mean) / std for each channel: (B, 3, h, w) f32 -> the same.
    pub fn normalise(&self, images: &Tensor) -> Tensor {
        let channels = |values: &[f64; 3]| {
            Tensor::from_slice(values)
                .to_kind(images.kind())
                .to_device(images.device())
                .view([3, 1, 1])
        };
        (images - channels(&self.mean)) / channels(&self.std) // (B, 3, h, w): about -2..=2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn the_shorter_side_becomes_the_size() {
        let pixels = ClipPixels { size: 4, ..ClipPixels::default() };
        let shape = |h: i64, w: i64| {
            let images = Tensor::zeros([1, 3, h, w], (Kind::Float, Device::Cpu));
            pixels.prepare(&images).map(|images| images.size())
        };
        assert_eq!(shape(8, 11), Ok(vec![1, 3, 4, 5]));
        assert_eq!(shape(11, 8), Ok(vec![1, 3, 5, 4]));
        assert!(shape(0, 8).is_err());
    }
}
