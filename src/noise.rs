//! The noise: all that Paella knows about `t`.
//!
//! Letters: B pictures, h rows and w columns of tokens, K codes.
//! `t` is the noise ratio of a picture: 0 marks no token, 1 marks every token.

use tch::{Device, Kind, Tensor};

/// Uniform numbers in (0, 1], f32. Zero is left out, so that `t = 0` marks nothing and `t = 1` everything.
pub fn uniform(size: &[i64], device: Device) -> Tensor {
    1.0 - Tensor::rand(size, (Kind::Float, device))
}

/// Noise for a whole grid: tokens (B, h, w) i64, each of the `num_labels` codes equally likely.
pub fn random_tokens(size: &[i64], num_labels: i64, device: Device) -> Tensor {
    Tensor::randint(num_labels, size, (Kind::Int64, device))
}

/// Where noise will stand: true where the uniform number is at most `t`.
///
/// Shapes:  u (B, h, w) f32, t (B,) f32 -> mask (B, h, w) bool.
/// Source:  dome272/Paella src/modules.py `add_noise`.
pub fn draw_mask(u: &Tensor, t: &Tensor) -> Tensor {
    // `<=`, since u is never 0: t = 0 marks nothing, t = 1 everything
    u.le_tensor(&t.view([-1, 1, 1])) // (B, h, w)
}

/// tokens, noise (B, h, w) i64, mask (B, h, w) bool -> (B, h, w) i64.
pub fn add_noise(tokens: &Tensor, noise: &Tensor, mask: &Tensor) -> Tensor {
    noise.where_self(mask, tokens)
}

/// A batch of tokens under noise: what the denoiser sees, and where it has to guess.
#[derive(Debug)]
pub struct Noised {
    /// Noise ratio of each picture (B,) f32.
    pub t: Tensor,
    /// Where noise stands (B, h, w) bool.
    pub mask: Tensor,
    /// Tokens with noise (B, h, w) i64.
    pub tokens: Tensor,
}

impl Noised {
    /// Put `noise` (B, h, w) where `mask` (B, h, w) was drawn at the ratios `t` (B,).
    pub fn new(tokens: &Tensor, noise: &Tensor, mask: Tensor, t: Tensor) -> Self {
        Self { tokens: add_noise(tokens, noise, &mask), mask, t }
    }

    /// Noise ratio of the first picture, as f32: 0.7 prints as 0.7.
    pub fn ratio(&self) -> f32 {
        self.t.double_value(&[0]) as f32
    }
}

/// Noise a batch with fresh draws: tokens (B, h, w) i64 at ratios `t` (B,) f32.
pub fn corrupt(tokens: &Tensor, t: Tensor, num_labels: i64) -> Noised {
    let mask = draw_mask(&uniform(&tokens.size(), tokens.device()), &t); // (B, h, w)
    let noise = random_tokens(&tokens.size(), num_labels, tokens.device()); // (B, h, w)
    Noised::new(tokens, &noise, mask, t)
}

/// How much each token counts in the loss: 1 where noise stands, less on clean tokens, least in clean pictures.
///
/// Formula: 1 - (1 - mask) (1 - t) (1 - min_val).
/// Shapes:  mask (B, h, w) bool, t (B,) f32 -> (B, h, w) f32.
/// Source:  dome272/Paella src/modules.py `get_loss_weight`, min_val 0.3.
pub fn loss_weight(mask: &Tensor, t: &Tensor, min_val: f64) -> Tensor {
    let clean = mask.logical_not().to_kind(Kind::Float); // (B, h, w)
    // The model copies clean tokens easily. At full weight they would outweigh the noised ones, most in clean pictures.
    1.0 - clean * (1f64 - t).view([-1, 1, 1]) * (1.0 - min_val)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t_zero_keeps_and_t_one_replaces() {
        let tokens = Tensor::full([2, 8, 8], 5, (Kind::Int64, Device::Cpu));
        let noise = Tensor::full([2, 8, 8], 9, (Kind::Int64, Device::Cpu));
        let mask = draw_mask(&uniform(&[2, 8, 8], Device::Cpu), &Tensor::from_slice(&[0f32, 1.0]));
        let noised = add_noise(&tokens, &noise, &mask);
        assert!(noised.get(0).eq(5).all().int64_value(&[]) == 1);
        assert!(noised.get(1).eq(9).all().int64_value(&[]) == 1);
    }

    #[test]
    fn the_share_of_noise_is_t() {
        tch::manual_seed(1);
        let t = 0.3;
        let mask =
            draw_mask(&uniform(&[1, 200, 200], Device::Cpu), &Tensor::from_slice(&[t as f32]));
        // 40,000 Bernoulli draws: 5 sigma = 5 sqrt(0.3 * 0.7 / 40000) = 0.0115
        let share = mask.to_kind(Kind::Float).mean(None).double_value(&[]);
        assert!((share - t).abs() < 0.0115, "{share}");
    }
}
