//! CLIP: a text and a picture as vectors that point the same way when they belong together.
//!
//! Letters: B texts or pictures, S tokens or patches, c width of a tower, e width of the shared vectors.
//!
//! Source: mlfoundations/open_clip, ViT-H-14 layout; weights carry the names of its state dict, the text tower at the
//! top level, the picture tower under `visual`. Features are not normalised.

use super::init::{Init, VarBuilder};
use super::layers::{Conv2d, LayerNorm, Linear, Window};
use ron_faults::{Checks, Fault};
use serde::{Deserialize, Serialize};
use tch::Tensor;

/// What a token of the text tower stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TextPieces {
    /// Subwords of CLIP's own vocabulary, as in all published models.
    Subwords,
    /// Bytes of UTF-8, for small models: a table of 49,408 subwords would be most of their weights.
    Bytes,
}

impl TextPieces {
    /// Size of the vocabulary, including the start and end tokens.
    pub fn count(self) -> i64 {
        match self {
            Self::Subwords => 49_408,
            Self::Bytes => 258,
        }
    }
}

/// Sizes of the text tower; the default is ViT-H-14's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClipTextConfig {
    /// Tokens of the longest text, including the start and end tokens. Longer texts are cut.
    pub context_length: i64,
    /// What texts are divided into.
    pub pieces: TextPieces,
    /// Rows of the token table: at least 49408 for subwords, 258 for bytes.
    pub vocab_size: i64,
    pub width: i64,
    pub heads: i64,
    pub layers: i64,
    /// Width of the feed-forward layer in widths of the tower.
    pub mlp_ratio: f64,
}

impl Default for ClipTextConfig {
    fn default() -> Self {
        Self {
            context_length: 77,
            pieces: TextPieces::Subwords,
            vocab_size: 49408,
            width: 1024,
            heads: 16,
            layers: 24,
            mlp_ratio: 4.0,
        }
    }
}

/// Sizes of the picture tower; the default is ViT-H-14's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClipVisionConfig {
    /// Pixels a side.
    pub image_size: i64,
    /// Pixels a side of one patch.
    pub patch_size: i64,
    pub width: i64,
    /// Width of one head; there are width / head_width.
    pub head_width: i64,
    pub layers: i64,
    /// Width of the feed-forward layer in widths of the tower.
    pub mlp_ratio: f64,
}

impl Default for ClipVisionConfig {
    fn default() -> Self {
        Self {
            image_size: 224,
            patch_size: 14,
            width: 1280,
            head_width: 80,
            layers: 32,
            mlp_ratio: 4.0,
        }
    }
}

/// Both towers; the default is ViT-H-14, 986,109,441 parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClipConfig {
    /// Width of the shared vectors, e.
    pub embed_dim: i64,
    pub text: ClipTextConfig,
    pub vision: ClipVisionConfig,
    /// Weights lie in memory in 16 bits, and both towers compute so; else f32.
    pub bf16: bool,
    /// Widen the filter that shrinks pictures, as newer versions of torchvision do.
    pub antialias: bool,
}

impl Default for ClipConfig {
    fn default() -> Self {
        Self {
            embed_dim: 1024,
            text: ClipTextConfig::default(),
            vision: ClipVisionConfig::default(),
            bf16: false,
            antialias: true,
        }
    }
}

impl ClipConfig {
    /// Everything that is wrong though well formed.
    pub fn check(&self) -> Vec<Fault> {
        let (text, vision) = (&self.text, &self.vision);
        let mut found = Checks::default();
        found.within("embed_dim", self.embed_dim, 1, 1 << 16);
        found.within("text.context_length", text.context_length, 2, 1 << 12);
        found.within("text.vocab_size", text.vocab_size, text.pieces.count(), 1 << 20);
        found.within("text.width", text.width, 1, 1 << 16);
        found.within("text.heads", text.heads, 1, 1 << 10);
        found.within("text.layers", text.layers, 1, 1000);
        found.within("vision.image_size", vision.image_size, 1, 4096);
        found.within("vision.patch_size", vision.patch_size, 1, vision.image_size.max(1));
        found.within("vision.width", vision.width, 1, 1 << 16);
        found.within("vision.head_width", vision.head_width, 1, 1 << 16);
        found.within("vision.layers", vision.layers, 1, 1000);
        for (name, width, unit) in [
            ("text.heads", text.width, text.heads),
            ("vision.head_width", vision.width, vision.head_width),
        ] {
            let what = format!("{unit} does not divide a width of {width}");
            found.unless(width % unit.max(1) == 0, name, what, "a divisor");
        }
        found.number("text.mlp_ratio", text.mlp_ratio, 0.01, 100.0);
        found.number("vision.mlp_ratio", vision.mlp_ratio, 0.01, 100.0);
        found.faults()
    }
}

/// Both towers under one root, with the learned sharpness of their agreement.
#[derive(Debug)]
pub struct Clip {
    pub text: ClipText,
    pub vision: ClipVision,
    /// Logarithm of the factor on cosines, a scalar.
    pub logit_scale: Tensor,
}

impl Clip {
    pub fn new(p: &VarBuilder, config: &ClipConfig) -> Self {
        Self {
            text: ClipText::new(p, &config.text, config.embed_dim),
            vision: ClipVision::new(&(p / "visual"), &config.vision, config.embed_dim),
            logit_scale: logit_scale(p), // at the top level, as in a published file
        }
    }
}

/// Vectors of length 1 in the same directions: features (B, e) -> (B, e). Their products are cosines.
pub fn directions(features: &Tensor) -> Tensor {
    let length = features.norm_scalaropt_dim(2.0, &[-1i64][..], true); // (B, 1)
    features / length.clamp_min(1e-12) // a vector of zeros stays one
}

/// The sharpness that stands beside the text tower, fresh at ln(1 / 0.07).
pub fn logit_scale(p: &VarBuilder) -> Tensor {
    let mut scale = p.var("logit_scale", &[], Init::Zeros);
    tch::no_grad(|| scale.fill_((1.0 / 0.07f64).ln())) // the logarithm is trained: the factor itself stays above 0
}

/// The text tower: a causal transformer, read at the end-of-text token.
#[derive(Debug)]
pub struct ClipText {
    token_embedding: Tensor,      // (vocab_size, c)
    positional_embedding: Tensor, // (context_length, c)
    blocks: Vec<ResidualAttentionBlock>,
    ln_final: LayerNorm,
    text_projection: Tensor, // (c, e)
}

impl ClipText {
    /// `p` is the root of the whole model.
    pub fn new(p: &VarBuilder, config: &ClipTextConfig, embed_dim: i64) -> Self {
        let ClipTextConfig { context_length, vocab_size, width: c, .. } = *config;
        let table = p / "token_embedding";
        Self {
            token_embedding: table.var("weight", &[vocab_size, c], Init::Normal(0.02)),
            positional_embedding: p.var(
                "positional_embedding",
                &[context_length, c],
                Init::Normal(0.01),
            ),
            blocks: transformer(p, c, config.heads, config.mlp_ratio, config.layers),
            ln_final: LayerNorm::new(&(p / "ln_final"), c),
            text_projection: p.var("text_projection", &[c, embed_dim], scaled(c)),
        }
    }

    /// tokens (B, S) i64, S at most `context_length` -> (B, e) f32.
    ///
    /// The end of the text is where the largest token id stands.
    pub fn encode(&self, tokens: &Tensor) -> Tensor {
        let s = tokens.size()[1];
        let xs = Tensor::embedding(&self.token_embedding, tokens, -1, false, false); // (B, S, c)
        let xs = xs + self.positional_embedding.narrow(0, 0, s); // (B, S, c): a short text uses the first places
        let xs = self.blocks.iter().fold(xs, |xs, block| block.forward(&xs, true)); // (B, S, c)
        // The mark of the end has the largest number. It sees all that comes before it, so it stands for the text.
        let end = tokens.argmax(1, false).view([-1, 1, 1]).expand([-1, 1, xs.size()[2]], false);
        let last = xs.gather(1, &end, false).squeeze_dim(1); // (B, c): a norm sees each place by itself
        self.ln_final.forward(&last).matmul(&self.text_projection) // (B, e)
    }
}

/// The picture tower: patches and a class token, read at the class token.
#[derive(Debug)]
pub struct ClipVision {
    conv1: Conv2d,
    class_embedding: Tensor,      // (c)
    positional_embedding: Tensor, // (1 + patches, c)
    ln_pre: LayerNorm,
    blocks: Vec<ResidualAttentionBlock>,
    ln_post: LayerNorm,
    proj: Tensor, // (c, e)
}

impl ClipVision {
    /// `p` is the root of the whole model / "visual".
    pub fn new(p: &VarBuilder, config: &ClipVisionConfig, embed_dim: i64) -> Self {
        let ClipVisionConfig { patch_size, width: c, .. } = *config;
        let side = config.image_size / patch_size; // patches a side
        let window = Window::strided(patch_size, patch_size, 0);
        let fan_in = 3 * patch_size * patch_size;
        Self {
            conv1: Conv2d::without_bias(&(p / "conv1"), 3, c, window, scaled(fan_in)),
            class_embedding: p.var("class_embedding", &[c], scaled(c)),
            positional_embedding: p.var("positional_embedding", &[side * side + 1, c], scaled(c)),
            ln_pre: LayerNorm::new(&(p / "ln_pre"), c),
            blocks: transformer(p, c, c / config.head_width, config.mlp_ratio, config.layers),
            ln_post: LayerNorm::new(&(p / "ln_post"), c),
            proj: p.var("proj", &[c, embed_dim], scaled(c)),
        }
    }

    /// pixels (B, 3, image_size, image_size) f32, from [`super::preprocess`] -> (B, e) f32.
    pub fn encode(&self, pixels: &Tensor) -> Tensor {
        let patches = self.conv1.forward(pixels).flatten(2, 3).transpose(1, 2); // (B, patches, c)
        let (b, _, c) = patches.size3().expect("patches are (B, S, c)");
        // one more place that belongs to no patch: it gathers what the picture is
        let class = self.class_embedding.view([1, 1, c]).expand([b, 1, c], false);
        let xs = Tensor::cat(&[class, patches], 1) + &self.positional_embedding; // (B, S, c)
        let xs = self.ln_pre.forward(&xs); // (B, 1 + patches, c)
        // a picture has no order: every patch sees all
        let xs = self.blocks.iter().fold(xs, |xs, block| block.forward(&xs, false));
        self.ln_post.forward(&xs.select(1, 0)).matmul(&self.proj) // (B, e)
    }
}

/// A normal init that keeps the size of what it multiplies.
fn scaled(fan_in: i64) -> Init {
    Init::Normal((fan_in as f64).powf(-0.5))
}

/// The blocks under `transformer.resblocks`.
fn transformer(
    p: &VarBuilder,
    c: i64,
    heads: i64,
    mlp_ratio: f64,
    layers: i64,
) -> Vec<ResidualAttentionBlock> {
    let hidden = (c as f64 * mlp_ratio) as i64; // cut off, as in Python
    let blocks = p / "transformer" / "resblocks";
    let block = |i| ResidualAttentionBlock::new(&(&blocks / i), c, heads, hidden, layers);
    (0..layers).map(block).collect()
}

/// Self-attention, then a feed-forward layer with the exact GELU, each behind a norm.
///
/// Source:  open_clip `ResidualAttentionBlock` round `torch.nn.MultiheadAttention`.
/// Differs: open_clip initialises the text tower so, the picture tower as PyTorch does by default.
#[derive(Debug)]
struct ResidualAttentionBlock {
    ln_1: LayerNorm,
    in_proj: Linear, // c -> 3c: queries, keys, values
    out_proj: Linear,
    heads: i64,
    ln_2: LayerNorm,
    c_fc: Linear,
    c_proj: Linear,
}

impl ResidualAttentionBlock {
    /// One of `layers` blocks.
    fn new(p: &VarBuilder, c: i64, heads: i64, hidden: i64, layers: i64) -> Self {
        let (attn, mlp) = (p / "attn", p / "mlp");
        // each block adds twice to its input: the sum of all of them keeps its size
        let added = scaled(c * 2 * layers);
        Self {
            ln_1: LayerNorm::new(&(p / "ln_1"), c),
            in_proj: Linear {
                weight: attn.var("in_proj_weight", &[3 * c, c], scaled(c)),
                bias: Some(attn.var("in_proj_bias", &[3 * c], Init::Zeros)),
            },
            out_proj: Linear::new(&(&attn / "out_proj"), c, c, added),
            heads,
            ln_2: LayerNorm::new(&(p / "ln_2"), c),
            c_fc: Linear::new(&(&mlp / "c_fc"), c, hidden, scaled(2 * c)),
            c_proj: Linear::new(&(&mlp / "c_proj"), hidden, c, added),
        }
    }

    /// xs (B, S, c) -> (B, S, c); `causal` hides what comes later.
    fn forward(&self, xs: &Tensor, causal: bool) -> Tensor {
        let xs = xs + self.attend(&self.ln_1.forward(xs), causal); // (B, S, c)
        let ys = self.c_fc.forward(&self.ln_2.forward(&xs)).gelu("none"); // (B, S, hidden)
        xs + self.c_proj.forward(&ys) // (B, S, c)
    }

    fn attend(&self, xs: &Tensor, causal: bool) -> Tensor {
        let (b, s, c) = xs.size3().expect("xs is (B, S, c)");
        let qkv = self.in_proj.forward(xs).view([b, s, 3, self.heads, c / self.heads]); // all three in one product
        let head = |i: i64| qkv.select(2, i).transpose(1, 2); // (B, heads, S, c / heads)
        let (q, k, v) = (head(0), head(1), head(2)); // the order of the published weights
        let none = None::<Tensor>;
        let ys = Tensor::scaled_dot_product_attention(&q, &k, &v, none, 0.0, causal, None, false);
        self.out_proj.forward(&ys.transpose(1, 2).reshape([b, s, c])) // heads side by side again
    }
}
