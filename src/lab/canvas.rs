//! A picture that a sampling run edits: what stays, what is sampled.
//!
//! Letters: B pictures, H x W pixels, h x w tokens, f pixels a side of a token.

use crate::image;
use ::image::{Rgb, RgbImage};
use tch::{Kind, Tensor};

/// The current picture as an edit begins with it.
#[derive(Debug)]
pub struct EditCanvas {
    /// Its tokens on the grid of the result (1, h, w) i64. What lies beyond it is 0.
    pub original: Tensor,
    /// True where tokens are sampled (1, h, w) bool.
    pub mask: Tensor,
    /// Its pixels (1, 3, H, W) f32, to be put back outside of the sampled tokens. None: the decoder draws all.
    pub pixels: Option<Tensor>,
    /// The picture with the sampled part in grey. None if all of it is sampled, from the picture under noise.
    pub shown: Option<RgbImage>,
    /// What there is to say about how the area was read.
    pub remark: Option<String>,
}

impl EditCanvas {
    /// Puts the picture's own pixels back outside of the sampled tokens, where they are kept: (B, 3, H, W) -> the same.
    pub fn restore(&self, images: Tensor) -> Tensor {
        let Some(pixels) = &self.pixels else { return images };
        let sampled = spread(&self.mask, images.size()[3] / self.mask.size()[2]);
        images.where_self(&sampled.to_device(images.device()), &pixels.to_device(images.device()))
    }
}

/// A mask of tokens (1, h, w) as one of pixels (1, 1, H, W).
fn spread(mask: &Tensor, f: i64) -> Tensor {
    mask.unsqueeze(1).repeat_interleave_self_int(f, 2, None).repeat_interleave_self_int(f, 3, None)
}

/// The picture (1, 3, H, W) with a grey veil over the tokens of a mask (1, h, w).
pub(super) fn marked(pixels: &Tensor, mask: &Tensor, f: i64) -> RgbImage {
    let mut picture = image::from_tensor(&pixels.get(0));
    let veil = spread(mask, f).to_kind(Kind::Float).expand([1, 3, -1, -1], false); // white where it lies
    let veil = image::from_tensor(&veil.get(0));
    for (pixel, _) in picture.pixels_mut().zip(veil.pixels()).filter(|(_, veil)| veil.0[0] > 0) {
        let Rgb(own) = *pixel;
        *pixel = Rgb(own.map(|channel| (u16::from(channel) / 4 + 96) as u8));
    }
    picture
}
