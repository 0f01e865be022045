//! The denoiser: looks at noised tokens and text, says for every place which token it believes in.
//!
//! Beside it stand the networks that the published model was conditioned with: [`clip`] and [`prior`].
//!
//! Letters: B pictures, h x w tokens, K codes, S condition vectors, p patch size.

pub mod blocks;
pub mod clip;
pub mod init;
pub mod layers;
pub mod preprocess;
pub mod prior;

use blocks::{AnyBlock, AttnBlock, Context, ResBlock};
use init::{Fill, Place};
use layers::{Conv2d, ConvTranspose2d, Linear, Window};
use layers::{channels_first, embed_ratio, layer_norm, layer_norm2d};
use serde::{Deserialize, Serialize};
use tch::Tensor;

/// What kinds of block a level repeats; the reference writes them as a string, `CTA`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Block {
    /// Convolution and channels (`ResBlock`).
    C,
    /// Noise ratio (`TimestepBlock`).
    T,
    /// Attention to the text (`AttnBlock`).
    A,
    /// Channels only (`FeedForwardBlock`).
    F,
}

/// One resolution of the U-Net.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LevelConfig {
    /// Channels.
    pub c_hidden: i64,
    /// Attention heads; only A blocks read it.
    pub nhead: i64,
    /// How often `layout` is repeated, on the way down and on the way up.
    pub blocks: i64,
    pub layout: Vec<Block>,
    pub dropout: f64,
}

impl Default for LevelConfig {
    fn default() -> Self {
        Self { c_hidden: 640, nhead: 16, blocks: 6, layout: vec![Block::C, Block::T], dropout: 0.1 }
    }
}

/// The denoiser's sizes; the default is the published `paella_v3`, 1,008,350,592 parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PaellaConfig {
    /// Channels of a token's embedding, in and out.
    pub c_in: i64,
    /// Codes to choose from, K.
    pub num_labels: i64,
    /// Width of the noise ratio's embedding.
    pub c_r: i64,
    /// p x p tokens become one position.
    pub patch_size: i64,
    /// Width of a condition vector.
    pub c_cond: i64,
    pub levels: Vec<LevelConfig>,
    /// Width of the text encoder's vectors.
    pub byt5_embd: i64,
    /// Width of a CLIP embedding; 0 leaves both CLIP branches out.
    pub clip_embd: i64,
    /// Condition vectors made from one CLIP embedding.
    pub clip_seq_len: i64,
    pub kernel_size: i64,
    /// Positions also look at each other, not only at the text.
    pub self_attn: bool,
}

impl Default for PaellaConfig {
    fn default() -> Self {
        use Block::{A, C, T};
        let level = |c_hidden, blocks, layout: &[Block]| LevelConfig {
            c_hidden,
            blocks,
            layout: layout.to_vec(),
            ..LevelConfig::default()
        };
        Self {
            c_in: 256,
            num_labels: 8192,
            c_r: 64,
            patch_size: 2,
            c_cond: 1024,
            levels: vec![
                level(640, 6, &[C, T]),
                level(1280, 16, &[C, T, A]),
                level(1280, 6, &[C, T, A]),
            ],
            byt5_embd: 2560,
            clip_embd: 1024,
            clip_seq_len: 4,
            kernel_size: 3,
            self_attn: true,
        }
    }
}

/// What the picture should show: the conditions of one batch.
#[derive(Debug)]
pub struct Cond {
    /// Text vectors (B, S, byt5_embd) f32.
    pub byt5: Tensor,
    /// CLIP text embedding (B, clip_embd) f32.
    pub clip: Option<Tensor>,
    /// CLIP image embeddings, each (B, clip_embd) f32.
    pub clip_image: Vec<Tensor>,
    /// Factors (n) for the attention to the last n condition vectors.
    pub attn_weights: Option<Tensor>,
}

impl Cond {
    pub fn text(byt5: Tensor) -> Self {
        Self { byt5, clip: None, clip_image: Vec::new(), attn_weights: None }
    }
}

/// Anything that can guess tokens.
pub trait Denoiser {
    /// tokens (B, h, w) i64, t (B,) f32, cond -> logits (B, K, h, w) f32.
    fn logits(&self, tokens: &Tensor, t: &Tensor, cond: &Cond) -> Tensor;
}

/// Paella v3.
///
/// Source:  dome272/Paella, paella-v3 branch, modules.py `Paella`; weights carry the names of its state dict.
/// Differs: c_out is c_in, as the reference requires; without CLIP the mappers do not exist.
#[derive(Debug)]
pub struct Paella {
    config: PaellaConfig,
    byt5_mapper: Linear,
    clip_mapper: Option<Linear>,
    clip_image_mapper: Option<Linear>,
    in_mapper: Tensor, // (K, c_in)
    embedding: Conv2d,
    down: Vec<Level>,
    up: Vec<Level>,
    clf: Conv2d,
    out_mapper: Conv2d,
}

/// The blocks of one resolution, with the step down before them or the step up after them.
#[derive(Debug)]
struct Level {
    down: Option<Conv2d>,
    blocks: Vec<AnyBlock>,
    up: Option<ConvTranspose2d>,
}

impl Paella {
    pub fn new(p: &Place, config: &PaellaConfig) -> Self {
        let PaellaConfig { c_in, num_labels, patch_size, c_cond, clip_embd, .. } = *config;
        let c_first = config.levels[0].c_hidden;
        let patch = c_in * patch_size * patch_size;
        let clip = |name: &str| {
            let width = c_cond * config.clip_seq_len;
            (clip_embd > 0).then(|| Linear::new(&(p / name), clip_embd, width, Fill::Normal(0.02)))
        };
        let in_mapper = (p / "in_mapper" / 0).var(
            "weight",
            &[num_labels, c_in],
            Fill::Normal((1.0 / num_labels as f64).sqrt()),
        );
        let out_mapper = Conv2d::without_bias(
            &(p / "out_mapper" / 1),
            c_in,
            num_labels,
            Window::POINT,
            Fill::Zeros,
        );
        tch::no_grad(|| {
            out_mapper.weight.shallow_clone().copy_(&in_mapper.view([num_labels, c_in, 1, 1]))
        });
        Self {
            byt5_mapper: Linear::new(
                &(p / "byt5_mapper"),
                config.byt5_embd,
                c_cond,
                Fill::Normal(0.02),
            ),
            clip_mapper: clip("clip_mapper"),
            clip_image_mapper: clip("clip_image_mapper"),
            embedding: Conv2d::new(
                &(p / "embedding" / 1),
                patch,
                c_first,
                Window::POINT,
                Fill::Xavier(0.02),
            ),
            down: (0..config.levels.len()).map(|i| Level::on_the_way_down(p, config, i)).collect(),
            up: (0..config.levels.len())
                .rev()
                .map(|i| Level::on_the_way_up(p, config, i))
                .collect(),
            clf: Conv2d::new(&(p / "clf" / 1), c_first, patch, Window::POINT, Fill::Zeros),
            in_mapper,
            out_mapper,
            config: config.clone(),
        }
    }

    pub fn config(&self) -> &PaellaConfig {
        &self.config
    }

    /// tokens (B, h, w) i64, t (B,) f32 -> logits (B, K, h, w) f32; `train` switches dropout on.
    pub fn forward(&self, tokens: &Tensor, t: &Tensor, cond: &Cond, train: bool) -> Tensor {
        self.forward_embedded(tokens, &self.embed_t(t), cond, train)
    }

    /// The same from a finished noise ratio embedding `t_embed` (B, c_r).
    pub fn forward_embedded(
        &self,
        tokens: &Tensor,
        t_embed: &Tensor,
        cond: &Cond,
        train: bool,
    ) -> Tensor {
        let conditions = self.embed_cond(cond); // (B, S, c_cond)
        let context =
            Context { t_embed, cond: &conditions, attn_weights: cond.attn_weights.as_ref(), train };
        let mut xs = self.embed_tokens(tokens); // (B, c, h / p, w / p)
        let mut skips = Vec::new();
        for level in &self.down {
            xs = level.forward(&xs, None, &context);
            skips.push(xs.shallow_clone());
        }
        skips.pop(); // the deepest output goes straight on
        for (i, level) in self.up.iter().enumerate() {
            let skip = if i > 0 { skips.pop() } else { None };
            xs = level.forward(&xs, skip.as_ref(), &context);
        }
        self.read_out(&xs)
    }

    /// tokens (B, h, w) -> (B, c, h / p, w / p).
    fn embed_tokens(&self, tokens: &Tensor) -> Tensor {
        let xs = Tensor::embedding(&self.in_mapper, tokens, -1, false, false); // (B, h, w, c_in)
        let xs = channels_first(&layer_norm(&xs)).pixel_unshuffle(self.config.patch_size);
        layer_norm2d(&self.embedding.forward(&xs))
    }

    /// (B, c, h / p, w / p) -> logits (B, K, h, w).
    fn read_out(&self, xs: &Tensor) -> Tensor {
        let xs = self.clf.forward(&layer_norm2d(xs)).pixel_shuffle(self.config.patch_size);
        self.out_mapper.forward(&layer_norm2d(&xs))
    }

    /// Sines and cosines of the noise ratio: t (B,) -> (B, c_r).
    pub fn embed_t(&self, t: &Tensor) -> Tensor {
        embed_ratio(t, self.config.c_r)
    }

    /// Everything the picture should show, as one sequence (B, S, c_cond).
    pub fn embed_cond(&self, cond: &Cond) -> Tensor {
        let mut parts = vec![self.byt5_mapper.forward(&cond.byt5)];
        let clips = [
            (&self.clip_mapper, cond.clip.as_slice()),
            (&self.clip_image_mapper, &cond.clip_image),
        ];
        for (mapper, embeddings) in clips {
            let mapped =
                mapper.iter().flat_map(|mapper| embeddings.iter().map(|xs| mapper.forward(xs)));
            parts.extend(
                mapped.map(|xs| xs.view([-1, self.config.clip_seq_len, self.config.c_cond])),
            );
        }
        layer_norm(&Tensor::cat(&parts, 1))
    }
}

impl Denoiser for Paella {
    fn logits(&self, tokens: &Tensor, t: &Tensor, cond: &Cond) -> Tensor {
        self.forward(tokens, t, cond, false)
    }
}

impl Level {
    fn on_the_way_down(p: &Place, config: &PaellaConfig, i: usize) -> Self {
        let p = p / "down_blocks" / i;
        let c = config.levels[i].c_hidden;
        let half = Window::strided(2, 2, 0);
        let down = (i > 0).then(|| {
            Conv2d::new(&(&p / 0 / 1), config.levels[i - 1].c_hidden, c, half, Fill::Xavier(1.0))
        });
        let blocks = build_blocks(&p, config, i, usize::from(i > 0), false);
        Self { down, blocks, up: None }
    }

    fn on_the_way_up(p: &Place, config: &PaellaConfig, i: usize) -> Self {
        let deepest = config.levels.len() - 1;
        let p = p / "up_blocks" / (deepest - i);
        let c = config.levels[i].c_hidden;
        let blocks = build_blocks(&p, config, i, 0, i < deepest);
        let double = Window::strided(2, 2, 0);
        let up = (i > 0).then(|| {
            ConvTranspose2d::new(&(&p / blocks.len() / 1), c, config.levels[i - 1].c_hidden, double)
        });
        Self { down: None, blocks, up }
    }

    /// The skip goes to the very first block.
    fn forward(&self, xs: &Tensor, skip: Option<&Tensor>, context: &Context) -> Tensor {
        let mut xs = self
            .down
            .as_ref()
            .map_or_else(|| xs.shallow_clone(), |down| down.forward(&layer_norm2d(xs)));
        for (j, block) in self.blocks.iter().enumerate() {
            xs = block.forward(&xs, skip.filter(|_| j == 0), context);
        }
        self.up.as_ref().map_or_else(|| xs.shallow_clone(), |up| up.forward(&layer_norm2d(&xs)))
    }
}

/// The layout of level `i`, repeated; names count from `first`. The first C block takes the skip, if there is one.
fn build_blocks(
    p: &Place,
    config: &PaellaConfig,
    i: usize,
    first: usize,
    skip: bool,
) -> Vec<AnyBlock> {
    let level = &config.levels[i];
    let (c, depth) = (level.c_hidden, config.levels.iter().map(|l| l.blocks).sum());
    let repeated = (0..level.blocks).flat_map(|_| level.layout.iter());
    let build = |(j, block): (usize, &Block)| {
        let p = p / (first + j);
        match block {
            Block::C => AnyBlock::C(ResBlock::new(
                &p,
                c,
                skip && j == 0,
                config.kernel_size,
                level.dropout,
                depth,
            )),
            Block::T => AnyBlock::timestep(&p, c, config.c_r),
            Block::A => AnyBlock::A(AttnBlock::new(&p, c, config.c_cond, level, config.self_attn)),
            Block::F => AnyBlock::feed_forward(&p, c, level.dropout, depth),
        }
    };
    repeated.enumerate().map(build).collect()
}
