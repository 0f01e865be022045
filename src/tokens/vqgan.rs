//! The VQGAN: encodes a picture as a grid of tokens, and decodes a grid of tokens.
//!
//! Letters: B pictures of H x W pixels, h x w tokens (H = f h, f = 2^levels), c channels, K codes.

use super::codebook::Codebook;
use crate::model::init::{Init, VarBuilder};
use crate::model::layers::{
    Conv2d, ConvTranspose2d, Linear, Window, channels_first, channels_last, layer_norm,
};
use ron_faults::{Checks, Fault};
use serde::{Deserialize, Serialize};
use tch::Tensor;

/// Sizes of the autoencoder. The default is the published `vqgan_f4`, with 18,406,894 parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VqConfig {
    /// Number of halvings: 2 levels give f4.
    pub levels: i64,
    /// Residual blocks of the decoder at the deepest level.
    pub bottleneck_blocks: i64,
    /// Channels at the deepest level. Each level above has half as many.
    pub c_hidden: i64,
    /// Width of a code vector.
    pub c_latent: i64,
    pub codebook_size: i64,
    /// The encoder's latents are divided by this.
    pub scale_factor: f64,
    /// The encoder sees each token's own pixels alone. Equal patches then get equal tokens: flat ground is one code, at
    /// the border and beside an object too. The published model looks beyond.
    pub patchwise: bool,
}

impl Default for VqConfig {
    fn default() -> Self {
        Self {
            levels: 2,
            bottleneck_blocks: 12,
            c_hidden: 384,
            c_latent: 4,
            codebook_size: 8192,
            scale_factor: 0.3764,
            patchwise: false,
        }
    }
}

impl VqConfig {
    /// Side of a token in pixels. `levels` outside the range that `check` allows is clamped to it.
    pub fn factor(&self) -> i64 {
        1 << self.levels.clamp(1, 8)
    }

    fn width(&self, level: i64) -> i64 {
        self.c_hidden >> (self.levels - 1 - level)
    }
}

impl VqConfig {
    /// Checks the values. Returns all faults.
    pub fn check(&self) -> Vec<Fault> {
        let mut found = Checks::default();
        found.within("levels", self.levels, 1, 8);
        found.within("bottleneck_blocks", self.bottleneck_blocks, 0, 100);
        found.within("c_latent", self.c_latent, 1, 4096);
        found.within("codebook_size", self.codebook_size, 2, 1 << 20);
        found.within("c_hidden", self.c_hidden, 1, 1 << 16);
        let halves = 1i64 << self.levels.clamp(1, 8).saturating_sub(1);
        found.unless(
            self.c_hidden % halves == 0,
            "c_hidden",
            format!("{} channels cannot be halved for {} levels", self.c_hidden, self.levels),
            &format!("a multiple of {halves}"),
        );
        found.number("scale_factor", self.scale_factor, 1e-6, 1e6);
        found.faults()
    }
}

/// The result of encoding.
#[derive(Debug)]
pub struct Encoded {
    /// Nearest codes / scale_factor (B, c_latent, h, w). Gradients pass straight through.
    pub qe: Tensor,
    /// Latents / scale_factor, before quantising (B, c_latent, h, w).
    pub latents: Tensor,
    pub tokens: Tensor, // (B, h, w) i64
    /// Codebook loss + 0.25 commitment loss, a scalar.
    pub vq_loss: Tensor,
}

/// The VQGAN.
///
/// Source:  dome272/Paella, paella-v3 branch, `VQModel`; weights have the names of its state dict.
#[derive(Debug)]
pub struct VqModel {
    config: VqConfig,
    in_block: Conv2d,
    down_blocks: Vec<Stage>,
    to_latent: Conv2d,
    norm: BatchNorm,
    pub vquantizer: Codebook,
    from_latent: Conv2d,
    up_blocks: Vec<Stage>,
    out_block: Conv2d,
}

impl VqModel {
    pub fn new(p: &VarBuilder, config: &VqConfig) -> Self {
        let c_hidden = config.c_hidden;
        let first = config.width(0);
        let point = |p: VarBuilder, i, o| Conv2d::new(&p, i, o, Window::POINT, Init::Xavier(1.0));
        let down_blocks = encoder_stages(&(p / "down_blocks"), config);
        let last = p / "down_blocks" / down_blocks.len();
        Self {
            in_block: point(p / "in_block" / 1, 12, first),
            to_latent: Conv2d::without_bias(
                &(&last / 0),
                c_hidden,
                config.c_latent,
                Window::POINT,
                Init::Xavier(1.0),
            ),
            norm: BatchNorm::new(&(&last / 1), config.c_latent),
            down_blocks,
            vquantizer: Codebook::new(&(p / "vquantizer"), config.codebook_size, config.c_latent),
            from_latent: point(p / "up_blocks" / 0 / 0, config.c_latent, c_hidden),
            up_blocks: decoder_stages(&(p / "up_blocks"), config),
            out_block: point(p / "out_block" / 0, first, 12),
            config: config.clone(),
        }
    }

    pub fn config(&self) -> &VqConfig {
        &self.config
    }

    /// The last weight that pictures go through (12, c, 1, 1).
    pub fn last_weight(&self) -> &Tensor {
        &self.out_block.weight
    }

    /// Sets the gains of both branches of every residual block, at the start of training.
    pub fn set_gains(&self, gain: f64) {
        let _no_grad = tch::no_grad_guard();
        for stage in self.down_blocks.iter().chain(&self.up_blocks) {
            if let Stage::Residual(block) = stage {
                let _ = block.gammas.get(2).fill_(gain);
                let _ = block.gammas.get(5).fill_(gain);
            }
        }
    }

    /// images (B, 3, H, W) f32 in 0..=1 -> latents (B, c_latent, h, w), batch-normalised, unscaled.
    pub fn latents(&self, images: &Tensor, train: bool) -> Tensor {
        let (b, _, h, w) = images.size4().expect("images are (B, 3, H, W)");
        let f = self.config.factor();
        let patches = self.config.patchwise.then(|| patches(images, f)); // (B h w, 3, f, f)
        let xs = self.in_block.forward(&patches.as_ref().unwrap_or(images).pixel_unshuffle(2));
        let xs = self.down_blocks.iter().fold(xs, |xs, stage| stage.forward(&xs));
        let xs = self.to_latent.forward(&xs);
        let xs = match patches {
            Some(_) => xs.view([b, h / f, w / f, -1]).permute([0, 3, 1, 2]), // (B, c_latent, h, w)
            None => xs,
        };
        self.norm.forward(&xs, train)
    }

    /// images (B, 3, H, W) f32 in 0..=1 -> codes, latents, tokens, loss.
    pub fn encode(&self, images: &Tensor, train: bool) -> Encoded {
        let latents = self.latents(images, train);
        let quantized = self.vquantizer.quantize(&latents);
        let scale = self.config.scale_factor;
        Encoded {
            qe: quantized.codes / scale,
            latents: latents / scale,
            tokens: quantized.tokens,
            vq_loss: quantized.codebook_loss + quantized.commitment_loss * 0.25,
        }
    }

    /// Scaled codes or latents (B, c_latent, h, w) -> images (B, 3, H, W), not clamped.
    pub fn decode(&self, latents: &Tensor) -> Tensor {
        self.decode_unscaled(&(latents * self.config.scale_factor))
    }

    /// tokens (B, h, w) i64 -> images (B, 3, H, W), not clamped.
    pub fn decode_indices(&self, tokens: &Tensor) -> Tensor {
        self.decode_unscaled(&self.vquantizer.lookup(tokens))
    }

    /// Codes or latents (B, c_latent, h, w), not scaled -> images (B, 3, H, W), not clamped.
    pub fn decode_unscaled(&self, latents: &Tensor) -> Tensor {
        let xs = self.from_latent.forward(latents);
        let xs = self.up_blocks.iter().fold(xs, |xs, stage| stage.forward(&xs));
        self.out_block.forward(&xs).pixel_shuffle(2)
    }
}

/// images (B, c, H, W) -> squares of f x f pixels (B H/f W/f, c, f, f), row by row.
fn patches(images: &Tensor, f: i64) -> Tensor {
    let (b, c, h, w) = images.size4().expect("images are (B, c, H, W)");
    let xs = images.view([b, c, h / f, f, w / f, f]).permute([0, 2, 4, 1, 3, 5]);
    xs.reshape([-1, c, f, f])
}

/// One entry of the reference's block lists.
#[derive(Debug)]
enum Stage {
    Down(Conv2d),
    Residual(Box<ResBlock>),
    Up(ConvTranspose2d),
}

impl Stage {
    fn forward(&self, xs: &Tensor) -> Tensor {
        match self {
            Self::Down(conv) => conv.forward(xs),
            Self::Residual(block) => block.forward(xs),
            Self::Up(conv) => conv.forward(xs),
        }
    }
}

fn encoder_stages(p: &VarBuilder, config: &VqConfig) -> Vec<Stage> {
    let mut stages = Vec::new();
    for level in 0..config.levels {
        let c = config.width(level);
        if level > 0 {
            let p = p / stages.len();
            let conv = Conv2d::new(
                &p,
                config.width(level - 1),
                c,
                Window::strided(4, 2, 1),
                Init::Xavier(1.0),
            );
            stages.push(Stage::Down(conv));
        }
        stages.push(Stage::Residual(Box::new(ResBlock::new(&(p / stages.len()), c))));
    }
    stages
}

/// The stages of the decoder. Names count from 1, because entry 0 of `up_blocks` is the convolution from the latents.
fn decoder_stages(p: &VarBuilder, config: &VqConfig) -> Vec<Stage> {
    let mut stages = Vec::new();
    for level in (0..config.levels).rev() {
        let c = config.width(level);
        let deepest = level == config.levels - 1;
        for _ in 0..if deepest { config.bottleneck_blocks } else { 1 } {
            stages.push(Stage::Residual(Box::new(ResBlock::new(&(p / (stages.len() + 1)), c))));
        }
        if level > 0 {
            let p = p / (stages.len() + 1);
            stages.push(Stage::Up(ConvTranspose2d::new(
                &p,
                c,
                config.width(level - 1),
                Window::strided(4, 2, 1),
            )));
        }
    }
    stages
}

/// Depthwise convolution, then a channel MLP. Each branch is modulated and gated by its gains among g0..g5, which start
/// at zero.
///
/// Formula: x += g2 depthwise(LN(x) (1 + g0) + g1), x += g5 MLP(LN(x) (1 + g3) + g4).
/// Source:  dome272/Paella, paella-v3 branch, vqgan `ResBlock`.
#[derive(Debug)]
struct ResBlock {
    gammas: Tensor, // (6)
    depthwise: Conv2d,
    widen: Linear,
    narrow: Linear,
}

impl ResBlock {
    fn new(p: &VarBuilder, c: i64) -> Self {
        let window = Window::depthwise(3, 0, c);
        Self {
            gammas: p.var("gammas", &[6], Init::Zeros),
            depthwise: Conv2d::new(&(p / "depthwise" / 1), c, c, window, Init::Xavier(1.0)),
            widen: Linear::new(&(p / "channelwise" / 0), c, 4 * c, Init::Xavier(1.0)),
            narrow: Linear::new(&(p / "channelwise" / 2), 4 * c, c, Init::Xavier(1.0)),
        }
    }

    /// xs (B, c, H, W) -> (B, c, H, W).
    fn forward(&self, xs: &Tensor) -> Tensor {
        let g = self.gammas.unbind(0);
        let modulated =
            |xs: &Tensor, i: usize| layer_norm(&channels_last(xs)) * (1.0 + &g[i]) + &g[i + 1];
        let padded = channels_first(&modulated(xs, 0)).replication_pad2d([1, 1, 1, 1]);
        let xs = xs + self.depthwise.forward(&padded) * &g[2];
        let ys = self.narrow.forward(&self.widen.forward(&modulated(&xs, 3)).gelu("none"));
        xs + channels_first(&ys) * &g[5]
    }
}

/// `torch.nn.BatchNorm2d`, eps 1e-5, momentum 0.1, including its batch counter.
#[derive(Debug)]
struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    num_batches_tracked: Tensor,
}

impl BatchNorm {
    fn new(p: &VarBuilder, c: i64) -> Self {
        Self {
            weight: p.var("weight", &[c], Init::Ones),
            bias: p.var("bias", &[c], Init::Zeros),
            running_mean: p.buffer("running_mean", &[c], Init::Zeros),
            running_var: p.buffer("running_var", &[c], Init::Ones),
            num_batches_tracked: p.counter("num_batches_tracked"),
        }
    }

    fn forward(&self, xs: &Tensor, train: bool) -> Tensor {
        if train {
            let _ = self.num_batches_tracked.shallow_clone().g_add_scalar_(1);
        }
        let (weight, bias) = (Some(&self.weight), Some(&self.bias));
        xs.batch_norm(
            weight,
            bias,
            Some(&self.running_mean),
            Some(&self.running_var),
            train,
            0.1,
            1e-5,
            true,
        )
    }
}
