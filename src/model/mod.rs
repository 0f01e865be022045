//! The denoiser: looks at noised tokens and text, says for every place which token it believes in.
//!
//! Beside it stand the networks that the published model was conditioned with, [`clip`] and [`prior`], and one that looks
//! at pictures for a score, [`inception`].
//!
//! Letters: B pictures, h x w tokens, K codes, S condition vectors, p patch size.

pub mod attention;
pub mod blocks;
pub mod clip;
mod cond;
mod config;
mod group;
pub mod inception;
pub mod init;
mod key_values;
pub mod layers;
mod level;
pub mod preprocess;
pub mod prior;
mod reader;
mod record;
pub mod replay;
pub mod weigh;

use crate::torch::precision::Autocast;
use blocks::Context;
pub use cond::Cond;
pub use config::{Block, LevelConfig, PaellaConfig};
use init::{Init, VarBuilder};
use layers::{Conv2d, Linear, Window};
use layers::{channels_first, embed_ratio, layer_norm, layer_norm2d};
use level::Level;
use reader::Reader;
use tch::{Kind, Tensor, nn};

/// Anything that can guess tokens.
pub trait Denoiser {
    /// tokens (B, h, w) i64, t (B,) f32, cond -> logits (B, K, h, w) f32.
    fn logits(&self, tokens: &Tensor, t: &Tensor, cond: &Cond) -> Tensor;

    /// Logits of the same tokens with two conditions: each (B, K, h, w) f32. Some denoisers compute both in one batch.
    fn guidance_logits(
        &self,
        tokens: &Tensor,
        t: &Tensor,
        cond: &Cond,
        null: &Cond,
    ) -> (Tensor, Tensor) {
        (self.logits(tokens, t, cond), self.logits(tokens, t, null))
    }

    /// This denoiser for passes that all have these conditions, which it reads once. None if reading ahead saves nothing.
    fn reader<'a>(&'a self, _cond: &'a Cond, _null: &'a Cond) -> Option<Box<dyn Denoiser + 'a>> {
        None
    }
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
    in_mapper: Tensor,  // (K, c_in)
    embedding: Conv2d,  // p p c_in -> c of the finest level
    down: Vec<Level>,   // the finest first
    up: Vec<Level>,     // the deepest first
    clf: Conv2d,        // c of the finest level -> p p c_in
    out_mapper: Conv2d, // c_in -> K
}

impl Paella {
    pub fn new(p: &VarBuilder, config: &PaellaConfig) -> Self {
        let PaellaConfig { c_in, num_labels, patch_size, c_cond, clip_embd, .. } = *config;
        let c_first = config.levels[0].c_hidden;
        let patch = c_in * patch_size * patch_size; // p x p tokens become the channels of one position
        let clip = |name: &str| {
            let width = c_cond * config.clip_seq_len;
            (clip_embd > 0).then(|| Linear::new(&(p / name), clip_embd, width, Init::Normal(0.02)))
        };
        // The first loss is ln K whatever the size is, since `clf` starts at zeros.
        let std = config.embed_std.unwrap_or((1.0 / num_labels as f64).sqrt());
        let in_mapper = (p / "in_mapper" / 0).var("weight", &[num_labels, c_in], Init::Normal(std));
        let out_mapper = Conv2d::without_bias(
            &(p / "out_mapper" / 1),
            c_in,
            num_labels,
            Window::POINT,
            Init::Zeros,
        );
        // Input and output start as one table: a position that carries a token's embedding scores that token highest.
        // They are trained apart.
        tch::no_grad(|| {
            out_mapper.weight.shallow_clone().copy_(&in_mapper.view([num_labels, c_in, 1, 1]))
        });
        Self {
            byt5_mapper: Linear::new(
                &(p / "byt5_mapper"),
                config.byt5_embd,
                c_cond,
                Init::Normal(0.02),
            ),
            clip_mapper: clip("clip_mapper"),
            clip_image_mapper: clip("clip_image_mapper"),
            embedding: Conv2d::new(
                &(p / "embedding" / 1),
                patch,
                c_first,
                Window::POINT,
                Init::Xavier(0.02),
            ),
            down: (0..config.levels.len()).map(|i| Level::on_the_way_down(p, config, i)).collect(),
            up: (0..config.levels.len())
                .rev()
                .map(|i| Level::on_the_way_up(p, config, i))
                .collect(),
            // zeros: whatever the blocks do at first, the fresh network has no opinion
            clf: Conv2d::new(&(p / "clf" / 1), c_first, patch, Window::POINT, Init::Zeros),
            in_mapper,
            out_mapper,
            config: config.clone(),
        }
    }

    pub fn config(&self) -> &PaellaConfig {
        &self.config
    }

    /// Stores the weights of products in bf16 if the config says so. They cannot be trained then.
    pub fn store_in_bf16(&self, vars: &nn::VarStore) {
        if self.config.bf16 {
            replay::sampling_only(vars);
        }
    }

    /// Products in bf16 until it is dropped, if the weights are stored so.
    fn in_bf16(&self) -> Option<Autocast> {
        Autocast::bf16(self.config.bf16, self.in_mapper.device()).expect("bf16 for products")
    }

    /// Training keeps no activations of these levels (0 is the finest) and computes them again for the gradient.
    /// `vars` are the variables that the network was made of.
    pub fn recompute(&mut self, levels: &[usize], vars: &nn::VarStore) {
        let finest_last = self.up.iter_mut().rev(); // `up` begins with the deepest level
        for (i, (down, up)) in self.down.iter_mut().zip(finest_last).enumerate() {
            down.recompute(levels.contains(&i), vars);
            up.recompute(levels.contains(&i), vars);
        }
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
        let attn_weights = cond.attn_weights.as_ref();
        let cond = &self.embed_cond(cond); // (B, S, c_cond)
        let (key_values, record) = (None, None);
        self.unet(tokens, &Context { t_embed, cond, key_values, attn_weights, record, train })
    }

    /// The U-Net: tokens (B, h, w) -> logits (B, K, h, w).
    pub fn unet(&self, tokens: &Tensor, context: &Context) -> Tensor {
        let mut xs = self.embed_tokens(tokens); // (B, c, h / p, w / p)
        let mut skips = Vec::new();
        for level in &self.down {
            xs = level.forward(&xs, None, context); // halves each side, except at the first level
            skips.push(xs.shallow_clone());
        }
        skips.pop(); // the deepest output goes straight on
        for (i, level) in self.up.iter().enumerate() {
            let skip = if i > 0 { skips.pop() } else { None }; // the skip of the same resolution
            xs = level.forward(&xs, skip.as_ref(), context); // doubles each side, except at the last level
        }
        self.read_out(&xs) // (B, K, h, w)
    }

    /// tokens (B, h, w) -> (B, c, h / p, w / p).
    fn embed_tokens(&self, tokens: &Tensor) -> Tensor {
        let xs = Tensor::embedding(&self.in_mapper, tokens, -1, false, false); // (B, h, w, c_in)
        let xs = channels_first(&layer_norm(&xs)).pixel_unshuffle(self.config.patch_size); // (B, p p c_in, h / p, w / p)
        layer_norm2d(&self.embedding.forward(&xs)) // (B, c, h / p, w / p)
    }

    /// (B, c, h / p, w / p) -> logits (B, K, h, w).
    fn read_out(&self, xs: &Tensor) -> Tensor {
        let xs = self.clf.forward(&layer_norm2d(xs)).pixel_shuffle(self.config.patch_size); // (B, c_in, h, w)
        self.out_mapper.forward(&layer_norm2d(&xs)) // (B, K, h, w)
    }

    /// Sines and cosines of the noise ratio: t (B,) -> (B, c_r).
    pub fn embed_t(&self, t: &Tensor) -> Tensor {
        embed_ratio(t, self.config.c_r)
    }

    /// Everything the picture should show, as one sequence (B, S, c_cond).
    pub fn embed_cond(&self, cond: &Cond) -> Tensor {
        let mut parts = vec![self.byt5_mapper.forward(&cond.byt5)]; // (B, L, c_cond)
        let clips = [
            (&self.clip_mapper, cond.clip.as_slice()),
            (&self.clip_image_mapper, &cond.clip_image),
        ];
        for (mapper, embeddings) in clips {
            let mapped =
                mapper.iter().flat_map(|mapper| embeddings.iter().map(|xs| mapper.forward(xs)));
            // one CLIP vector becomes clip_seq_len condition vectors, so that attention can weigh its parts
            parts.extend(
                mapped.map(|xs| xs.view([-1, self.config.clip_seq_len, self.config.c_cond])),
            );
        }
        layer_norm(&Tensor::cat(&parts, 1)) // (B, S, c_cond): text first, then CLIP text, then pictures
    }
}

impl<D: Denoiser> Denoiser for &D {
    fn logits(&self, tokens: &Tensor, t: &Tensor, cond: &Cond) -> Tensor {
        (**self).logits(tokens, t, cond)
    }

    fn guidance_logits(
        &self,
        tokens: &Tensor,
        t: &Tensor,
        cond: &Cond,
        null: &Cond,
    ) -> (Tensor, Tensor) {
        (**self).guidance_logits(tokens, t, cond, null)
    }

    fn reader<'a>(&'a self, cond: &'a Cond, null: &'a Cond) -> Option<Box<dyn Denoiser + 'a>> {
        (**self).reader(cond, null)
    }
}

impl Denoiser for Paella {
    fn logits(&self, tokens: &Tensor, t: &Tensor, cond: &Cond) -> Tensor {
        let _bf16 = self.in_bf16();
        self.forward(tokens, t, cond, false).to_kind(Kind::Float)
    }

    fn reader<'a>(&'a self, cond: &'a Cond, null: &'a Cond) -> Option<Box<dyn Denoiser + 'a>> {
        Some(Box::new(Reader::new(self, cond, null)))
    }
}
