//! The four blocks of the denoiser: C convolves, F mixes channels, T tells the noise ratio, A reads the text.
//!
//! Letters: B pictures, c channels, H x W positions, S condition vectors of width d.

use super::LevelConfig;
use super::init::{Init, VarBuilder};
use super::key_values::KeyValues;
use super::layers::{Conv2d, GlobalResponseNorm, Linear, Window};
use super::layers::{channels_first, channels_last, layer_norm2d, scale_shift};
use super::record::AttentionRecord;
use tch::{Kind, Tensor};

const XAVIER: Init = Init::Xavier(1.0);

/// Linear c -> 4c, GELU, response norm, dropout, Linear 4c -> c, over (B, H, W, c).
#[derive(Debug)]
struct Channelwise {
    widen: Linear,
    norm: GlobalResponseNorm,
    narrow: Linear,
    dropout: f64,
}

impl Channelwise {
    /// `depth` blocks in all: the last layer starts smaller by sqrt(1 / depth), as the reference does.
    fn new(p: &VarBuilder, c: i64, dropout: f64, depth: i64) -> Self {
        Self {
            widen: Linear::new(&(p / 0), c, 4 * c, XAVIER),
            norm: GlobalResponseNorm::new(&(p / 2), 4 * c),
            narrow: Linear::new(&(p / 4), 4 * c, c, Init::Xavier((1.0 / depth as f64).sqrt())),
            dropout,
        }
    }

    /// xs (B, c, H, W) -> (B, c, H, W).
    fn forward(&self, xs: &Tensor, train: bool) -> Tensor {
        let xs = self.widen.forward(&channels_last(xs)); // (B, H, W, 4c)
        let xs = self.norm.after_gelu(xs, self.dropout, train);
        channels_first(&self.narrow.forward(&xs)) // (B, c, H, W)
    }
}

/// C: depthwise convolution (over the skip as well, where there is one), then channels.
///
/// Shapes:  xs (B, c, H, W), skip (B, c, H, W) or none -> (B, c, H, W).
/// Source:  dome272/Paella src/modules.py `ResBlock`.
#[derive(Debug)]
pub struct ResBlock {
    depthwise: Conv2d,
    channelwise: Channelwise,
    takes_skip: bool,
}

impl ResBlock {
    pub fn new(
        p: &VarBuilder,
        c: i64,
        takes_skip: bool,
        kernel: i64,
        dropout: f64,
        depth: i64,
    ) -> Self {
        let i = if takes_skip { 2 * c } else { c }; // c groups: each output channel sees its own two inputs at most
        let window = Window::depthwise(kernel, kernel / 2, c);
        let depthwise = Conv2d::new(&(p / "depthwise"), i, c, window, XAVIER);
        Self {
            depthwise,
            channelwise: Channelwise::new(&(p / "channelwise"), c, dropout, depth),
            takes_skip,
        }
    }

    fn forward(&self, xs: &Tensor, skip: Option<&Tensor>, train: bool) -> Tensor {
        let ys = match skip {
            Some(skip) if self.takes_skip => self.depthwise.forward(&Tensor::cat(&[xs, skip], 1)),
            _ => self.depthwise.forward(xs),
        }; // (B, c, H, W)
        xs + self.channelwise.forward(&layer_norm2d(&ys), train)
    }
}

/// F: the channel half of C alone. Source: `FeedForwardBlock`.
#[derive(Debug)]
pub struct FeedForwardBlock {
    channelwise: Channelwise,
}

/// T: scale and shift from the noise ratio: x (1 + a) + b. Source: `TimestepBlock`.
#[derive(Debug)]
pub struct TimestepBlock {
    mapper: Linear,
}

impl TimestepBlock {
    /// t_embed (B, c_r), xs (B, c, H, W) -> (B, c, H, W).
    fn forward(&self, xs: &Tensor, t_embed: &Tensor) -> Tensor {
        scale_shift(xs, &self.mapper.forward(t_embed)) // the mapper starts at zeros: a fresh block changes nothing
    }
}

/// A: every position looks at the text, and at all positions if `self_attn`.
///
/// Shapes:  xs (B, c, H, W), cond (B, S, d) -> (B, c, H, W).
/// Source:  dome272/Paella src/modules.py `AttnBlock`, `Attention2D`.
#[derive(Debug)]
pub struct AttnBlock {
    kv_mapper: Linear,
    in_proj_weight: Tensor, // (3c, c)
    in_proj_bias: Tensor,
    out_proj: Linear,
    heads: i64,
    self_attn: bool,
    /// Dropout of the attention weights, in training.
    dropout: f64,
}

impl AttnBlock {
    pub fn new(p: &VarBuilder, c: i64, c_cond: i64, level: &LevelConfig, self_attn: bool) -> Self {
        let attn = p / "attention" / "attn";
        let in_proj_weight = attn.var("in_proj_weight", &[3 * c, c], XAVIER);
        if level.attn_gain != 1.0 {
            let _no_grad = tch::no_grad_guard();
            let _ = in_proj_weight.narrow(0, 0, 2 * c).g_mul_scalar_(level.attn_gain); // queries and keys
        }
        Self {
            in_proj_weight,
            in_proj_bias: attn.var("in_proj_bias", &[3 * c], Init::Zeros),
            out_proj: Linear::new(&(attn / "out_proj"), c, c, XAVIER),
            kv_mapper: Linear::new(&(p / "kv_mapper" / 1), c_cond, c, XAVIER),
            heads: level.nhead,
            self_attn,
            dropout: level.dropout,
        }
    }

    fn forward(&self, xs: &Tensor, context: &Context) -> Tensor {
        let (b, c, h, w) = xs.size4().expect("xs is (B, c, H, W)");
        let queries = channels_last(&layer_norm2d(xs)).reshape([b, h * w, c]); // (B, H W, c)
        let text = context.key_values.map_or_else(|| self.read(context.cond), KeyValues::next); // (B, S, 2c)
        let ys = self.attend(&queries, &text, context); // (B, H W, c)
        xs + channels_first(&self.out_proj.forward(&ys).view([b, h, w, c])) // (B, c, H, W)
    }

    /// Keys and values of the text: cond (B, S, d) -> (B, S, 2c).
    pub fn read(&self, cond: &Tensor) -> Tensor {
        let text = self.kv_mapper.forward(&cond.silu()); // (B, S, c)
        let c = self.in_proj_weight.size()[1];
        // `nn.MultiheadAttention` keeps the three projections in one matrix: queries, keys, values
        let of_text = |xs: &Tensor| xs.narrow(0, c, 2 * c);
        text.linear(&of_text(&self.in_proj_weight), Some(&of_text(&self.in_proj_bias)))
    }

    /// queries (B, Q, c), text (B, S, 2c) -> (B, Q, c).
    fn attend(&self, queries: &Tensor, text: &Tensor, context: &Context) -> Tensor {
        let (b, _, c) = queries.size3().expect("queries are (B, Q, c)");
        let (q, kv) = if self.self_attn {
            // One softmax over positions and text: what a place does not need from the text it takes from its neighbours.
            let own = queries.linear(&self.in_proj_weight, Some(&self.in_proj_bias)); // (B, Q, 3c)
            let parts = own.split_with_sizes([c, 2 * c], 2);
            (parts[0].shallow_clone(), Tensor::cat(&[&parts[1], text], 1)) // N = Q + S keys
        } else {
            let of_queries = |xs: &Tensor| xs.narrow(0, 0, c);
            let q = queries
                .linear(&of_queries(&self.in_proj_weight), Some(&of_queries(&self.in_proj_bias)));
            (q, text.shallow_clone())
        };
        let heads = |xs: &Tensor| xs.reshape([b, -1, self.heads, c / self.heads]).transpose(1, 2);
        let [q, k, v] = [q, kv.narrow(2, 0, c), kv.narrow(2, c, c)].map(|xs| heads(&xs)); // (B, heads, Q or N, c / heads)
        if let Some(record) = context.record {
            record.keep(&attention_weights(&q, &k, context.attn_weights), text.size()[1]);
        }
        let dropout = if context.train { self.dropout } else { 0.0 };
        let ys = match context.attn_weights {
            None => Tensor::scaled_dot_product_attention(
                &q,
                &k,
                &v,
                None::<Tensor>,
                dropout,
                false,
                None,
                false,
            ),
            Some(_) => attention_weights(&q, &k, context.attn_weights).matmul(&v), // (B, heads, Q, c / heads)
        };
        ys.transpose(1, 2).reshape([b, -1, c]) // (B, Q, c)
    }
}

/// How much each query looks at each key: (B, heads, Q, N). The softmax is multiplied, not renormalised: `weights` (n) count
/// for the last n keys.
fn attention_weights(q: &Tensor, k: &Tensor, weights: Option<&Tensor>) -> Tensor {
    let scale = (q.size()[3] as f64).sqrt();
    let attention = (q.matmul(&k.transpose(2, 3)) / scale).softmax(-1, Kind::Float); // (B, heads, Q, N)
    let Some(weights) = weights else { return attention };
    let before = k.size()[2] - weights.size()[0]; // positions, and the conditions that have no factor
    let all = Tensor::cat(
        &[Tensor::ones([before], (Kind::Float, q.device())), weights.shallow_clone()],
        0,
    );
    attention * all
}

/// What a block may look at besides its input.
pub struct Context<'a> {
    pub t_embed: &'a Tensor, // (B, c_r)
    pub cond: &'a Tensor,    // (B, S, d)
    /// What the A blocks have made of `cond` already.
    pub key_values: Option<&'a KeyValues>,
    pub attn_weights: Option<&'a Tensor>,
    /// Keeps what the A blocks look at; None in all passes but those that ask for it.
    pub record: Option<&'a AttentionRecord>,
    pub train: bool,
}

/// One block of a level.
#[derive(Debug)]
pub enum AnyBlock {
    C(ResBlock),
    T(TimestepBlock),
    A(AttnBlock),
    F(FeedForwardBlock),
}

impl AnyBlock {
    pub fn feed_forward(p: &VarBuilder, c: i64, dropout: f64, depth: i64) -> Self {
        Self::F(FeedForwardBlock {
            channelwise: Channelwise::new(&(p / "channelwise"), c, dropout, depth),
        })
    }

    pub fn timestep(p: &VarBuilder, c: i64, c_r: i64) -> Self {
        Self::T(TimestepBlock { mapper: Linear::new(&(p / "mapper"), c_r, 2 * c, Init::Zeros) })
    }

    /// xs (B, c, H, W) -> (B, c, H, W); only a C block that was built for it reads the skip.
    pub fn forward(&self, xs: &Tensor, skip: Option<&Tensor>, context: &Context) -> Tensor {
        match self {
            Self::C(block) => block.forward(xs, skip, context.train),
            Self::T(block) => block.forward(xs, context.t_embed),
            Self::A(block) => block.forward(xs, context),
            Self::F(block) => xs + block.channelwise.forward(&layer_norm2d(xs), context.train),
        }
    }
}
