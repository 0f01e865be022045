//! Cost of the tokenizer, the text encoder, CLIP and the prior, counted as the networks build them.

use super::Cost;
use super::layers::{
    attention, conv, conv_transpose, layer_norm, linear, product, remember, weights,
};
use crate::model::clip::{ClipConfig, ClipTextConfig, ClipVisionConfig};
use crate::model::prior::PriorConfig;
use crate::tokens::discriminator::DiscriminatorConfig;
use crate::tokens::lpips::SLICES;
use crate::tokens::text::TextConfig;
use crate::tokens::vqgan::VqConfig;

/// The cost of the VQGAN for one picture.
#[derive(Clone, Copy, Debug)]
pub struct Tokenizer {
    /// Picture to tokens, including the nearest-code search.
    pub encode: Cost,
    pub codebook: Cost,
    /// Codes to picture.
    pub decode: Cost,
    /// Peak bytes of an encoding that keeps nothing for a backward pass.
    pub widest: i64,
}

impl Tokenizer {
    /// Encoder, codebook and decoder together.
    pub fn total(&self) -> Cost {
        self.encode + self.codebook + self.decode
    }
}

/// Counts the VQGAN for pictures of `size` x `size` pixels.
pub fn tokenizer(config: &VqConfig, size: i64) -> Tokenizer {
    let VqConfig { levels, bottleneck_blocks, c_hidden, c_latent, codebook_size, .. } = *config;
    let width = |level: i64| c_hidden >> (levels - 1 - level);
    let places = |level: i64| ((size / 2) * (size / 2)) >> (2 * level);
    let deepest = levels - 1;
    let (first, tokens) = (width(0), places(deepest));
    let step = |level: i64| (width(level - 1), width(level), places(level - 1), places(level));
    let down: Cost = (1..levels)
        .map(|level| {
            let (above, c, wide, n) = step(level);
            conv(above, c, 4, 1, wide, n)
        })
        .sum();
    let up: Cost = (1..levels)
        .map(|level| {
            let (above, c, _, n) = step(level);
            conv_transpose(c, above, 4, n)
        })
        .sum();
    let blocks = |at_the_bottom: i64| -> Cost {
        let times = |level| if level == deepest { at_the_bottom } else { 1 };
        (0..levels).map(|level| block(width(level), places(level)) * times(level)).sum()
    };
    let nearest = Cost { flops: 2 * codebook_size * c_latent * tokens, ..Cost::default() };
    let batch_norm = weights(2 * c_latent) + remember(0, c_latent * tokens);
    Tokenizer {
        encode: linear(12, first, places(0))
            + blocks(1)
            + down
            + product(c_hidden, c_latent, tokens)
            + batch_norm
            + nearest,
        codebook: weights(codebook_size * c_latent),
        decode: linear(c_latent, c_hidden, tokens)
            + blocks(bottleneck_blocks)
            + up
            + linear(first, 12, places(0)),
        widest: 4 * 2 * 4 * first * places(0),
    }
}

/// Counts one judgement of a picture of `size` x `size` pixels.
pub fn discriminator(config: &DiscriminatorConfig, size: i64) -> Cost {
    let halved = |side: i64| side - side / 2; // rounded up
    let sides = std::iter::successors(Some(size), |side| Some(halved(*side)));
    let sides: Vec<i64> = sides.take(config.depth as usize + 1).collect();
    let widths = config.widths();
    let convs = widths
        .windows(2)
        .zip(sides.windows(2))
        .map(|(c, side)| conv(c[0], c[1], 3, 1, side[0] * side[0], side[1] * side[1]));
    let deepest = sides[config.depth as usize];
    convs.sum::<Cost>() + linear(config.c_hidden, 1, deepest * deepest)
}

/// Counts the features of LPIPS for one picture of `size` x `size` pixels, and what their differences keep.
pub fn lpips(size: i64) -> Cost {
    let (mut i, mut side, mut all) = (3, size, Cost::default());
    for (at, (count, c)) in SLICES.into_iter().enumerate() {
        side = if at > 0 { side / 2 } else { side };
        let n = side * side;
        for _ in 0..count {
            all = all + conv(i, c, 3, 1, n, n); // an activation keeps what the next convolution reads
            i = c;
        }
        all = all + remember(0, 4 * c * n); // the length of a vector, its quotient, the difference, its square
    }
    all
}

/// A residual block. Gains keep their input, and so does the padding.
fn block(c: i64, n: i64) -> Cost {
    let modulated = layer_norm(c, n) + remember(0, c * n);
    weights(6)
        + modulated * 2
        + remember(0, c * n)
        + conv(c, c, 3, c, n, n)
        + remember(0, c * n)
        + linear(c, 4 * c, n)
        + remember(4 * c * n, 0)
        + linear(4 * c, c, n)
        + remember(0, c * n)
}

/// Counts the text encoder for texts of S bytes.
pub fn text(config: &TextConfig, s: i64) -> Cost {
    let TextConfig { vocab_size, d_model: d, d_kv, d_ff, num_layers, num_heads, .. } = *config;
    let inner = num_heads * d_kv;
    let scores = num_heads * s * s;
    let norm = weights(d) + remember(0, 2 * d * s);
    let attend = Cost { flops: 4 * inner * s * s, ..remember(3 * inner * s + scores, scores) };
    let layer = norm
        + product(d, inner, s) * 3
        + attend
        + product(inner, d, s)
        + norm
        + product(d, d_ff, s) * 2
        + remember(3 * d_ff * s, 0)
        + product(d_ff, d, s);
    weights(vocab_size * d)
        + weights(config.relative_attention_num_buckets * num_heads)
        + layer * num_layers
        + norm
}

/// The cost of CLIP for one caption and one picture.
#[derive(Clone, Copy, Debug)]
pub struct Towers {
    pub text: Cost,
    pub vision: Cost,
}

/// Counts both towers. The shared logit scale is counted with the text tower.
pub fn clip(config: &ClipConfig) -> Towers {
    Towers {
        text: text_tower(&config.text, config.embed_dim) + weights(1),
        vision: vision_tower(&config.vision, config.embed_dim),
    }
}

fn text_tower(config: &ClipTextConfig, e: i64) -> Cost {
    let ClipTextConfig { context_length: s, vocab_size, width: c, heads, layers, .. } = *config;
    weights(vocab_size * c)
        + weights(s * c)
        + clip_layer(c, heads, config.mlp_ratio, s) * layers
        + weights(2 * c)
        + product(c, e, 1)
}

fn vision_tower(config: &ClipVisionConfig, e: i64) -> Cost {
    let ClipVisionConfig { image_size, patch_size: p, width: c, head_width, layers, .. } = *config;
    let patches = (image_size / p) * (image_size / p);
    product(3 * p * p, c, patches)
        + weights(c)
        + weights((patches + 1) * c)
        + weights(2 * c)
        + clip_layer(c, c / head_width, config.mlp_ratio, patches + 1) * layers
        + weights(2 * c)
        + product(c, e, 1)
}

/// Attention and feed-forward at `s` positions, with two norms.
fn clip_layer(c: i64, heads: i64, mlp_ratio: f64, s: i64) -> Cost {
    let hidden = (c as f64 * mlp_ratio) as i64;
    weights(4 * c)
        + linear(c, 3 * c, s)
        + attention(c, heads, s, s)
        + linear(c, c, s)
        + linear(c, hidden, s)
        + linear(hidden, c, s)
}

/// Counts the prior for one vector.
pub fn prior(config: &PriorConfig) -> Cost {
    let PriorConfig { clip_r: r, c_hidden: c, c_r, num_blocks, .. } = *config;
    let block = product(c + r + c_r, 4 * c, 1)
        + weights(8 * c)
        + layer_norm(4 * c, 1)
        + remember(0, 4 * c)
        + product(4 * c, c, 1)
        + weights(2 * c)
        + layer_norm(c, 1);
    linear(r, c, 1) + block * num_blocks + linear(c, r, 1)
}
