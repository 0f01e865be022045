//! Text encoder: tokens of a text -> vectors that condition the denoiser.
//!
//! Letters: B texts, S tokens, d_model width of a vector, n heads of width d_kv.

use super::words::TextTokens;
use crate::model::init::{Init, VarBuilder};
use crate::model::layers::Linear;
use crate::torch::precision::{Autocast, products_in_bf16};
use ron_faults::{Checks, Fault};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor, nn};

const PAD: i64 = 0;
const END: i64 = 1;
/// Maximum length of the reference, including the end token.
pub const MAX_LENGTH: usize = 768;

/// ByT5's tokens of a text: its bytes shifted by three, then the end token 1.
pub fn byte_tokens(text: &str) -> Vec<i64> {
    with_end(TextTokens::Bytes.ids(text, 0))
}

fn with_end(mut ids: Vec<i64>) -> Vec<i64> {
    ids.push(END);
    ids
}

/// ByT5's tokens of texts -> (ids (B, S) i64 padded with 0, mask (B, S) i64 with 1 on real tokens).
///
/// S is `length` if given, else the length of the longest text, at most 768. Longer texts are truncated before the end
/// token.
pub fn batch_tokens(texts: &[String], length: Option<i64>, device: Device) -> (Tensor, Tensor) {
    batch(&texts.iter().map(|text| byte_tokens(text)).collect::<Vec<_>>(), length, device)
}

fn batch(rows: &[Vec<i64>], length: Option<i64>, device: Device) -> (Tensor, Tensor) {
    let longest = rows.iter().map(Vec::len).max().unwrap_or(1);
    let s = length.map_or(longest.min(MAX_LENGTH), |length| length as usize);
    let mut ids = vec![PAD; rows.len() * s];
    for (row, slot) in rows.iter().zip(ids.chunks_mut(s)) {
        let n = row.len().min(s);
        slot[..n].copy_from_slice(&row[..n]);
        slot[n - 1] = END;
    }
    let ids = Tensor::from_slice(&ids).view([rows.len() as i64, s as i64]).to_device(device);
    let mask = ids.ne(PAD).to_kind(Kind::Int64);
    (ids, mask)
}

/// ids (B, S) -> (B, length), padded with 0. Unchanged if S >= length.
pub fn fill_up(ids: &Tensor, length: i64) -> Tensor {
    let missing = (length - ids.size()[1]).max(0);
    ids.constant_pad_nd([0, missing])
}

/// Sizes of the text encoder. The default is google/byt5-xl, with 2,614,091,264 parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextConfig {
    /// What a text is read as.
    pub tokens: TextTokens,
    pub vocab_size: i64,
    pub d_model: i64,
    pub d_kv: i64,
    pub d_ff: i64,
    pub num_layers: i64,
    pub num_heads: i64,
    pub relative_attention_num_buckets: i64,
    pub relative_attention_max_distance: i64,
    /// Truncate or pad texts to this many tokens. None: pad to the longest text of the global batch.
    pub length: Option<i64>,
    /// Mask the padding inside the encoder. The reference attends to it.
    pub mask_padding: bool,
    /// Keep the weights of products in bf16: half the memory, for an encoder that is not trained.
    pub bf16: bool,
    /// Fresh weights only: the first three heads start out attending to the token before, after, and two before.
    pub local_heads: bool,
}

impl TextConfig {
    /// Makes the encoder as small as one can be whose vectors have this width: for work that asks it nothing.
    pub fn make_smallest(&mut self) {
        (self.num_layers, self.num_heads, self.d_kv, self.d_ff) = (1, 1, 8, 8);
        self.local_heads = false;
    }

    /// The tokens of a text, then the end token.
    pub fn ids(&self, text: &str) -> Vec<i64> {
        with_end(self.tokens.ids(text, self.vocab_size))
    }

    /// Tokens of a text that are read at most, besides the end token.
    pub fn room(&self) -> usize {
        self.length.map_or(MAX_LENGTH, |length| length as usize) - 1
    }

    /// texts -> (ids, mask), as [`batch_tokens`] gives them of bytes.
    pub fn batch(&self, texts: &[String], device: Device) -> (Tensor, Tensor) {
        let rows: Vec<Vec<i64>> = texts.iter().map(|text| self.ids(text)).collect();
        batch(&rows, self.length, device)
    }
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            tokens: TextTokens::Bytes,
            vocab_size: 384,
            d_model: 2560,
            d_kv: 64,
            d_ff: 6720,
            num_layers: 36,
            num_heads: 32,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            length: None,
            mask_padding: false,
            bf16: false,
            local_heads: false,
        }
    }
}

impl TextConfig {
    /// Checks the values. Returns all faults.
    pub fn check(&self) -> Vec<Fault> {
        let mut found = Checks::default();
        found.within("vocab_size", self.vocab_size, 259, 1 << 20);
        found.within("d_model", self.d_model, 1, 1 << 16);
        found.within("d_kv", self.d_kv, 1, 1 << 16);
        found.within("d_ff", self.d_ff, 1, 1 << 16);
        found.within("num_heads", self.num_heads, 1, 1 << 16);
        found.within("num_layers", self.num_layers, 1, 1000);
        let buckets = self.relative_attention_num_buckets;
        found.within("relative_attention_num_buckets", buckets, 4, 1 << 12);
        let (distance, nearest) = (self.relative_attention_max_distance, buckets / 4);
        found.within(
            "relative_attention_max_distance",
            distance,
            nearest.saturating_add(1),
            1 << 16,
        );
        found.within("length", self.length.unwrap_or(1), 1, MAX_LENGTH as i64);
        found.faults()
    }
}

/// The ByT5 encoder: T5 with gated GELU, over bytes as published, or over words.
///
/// Source:  huggingface/transformers `T5EncoderModel`; weights have the names of its state dict.
#[derive(Debug)]
pub struct TextEncoder {
    config: TextConfig,
    shared: Tensor, // (vocab_size, d_model)
    blocks: Vec<EncoderBlock>,
    relative_attention_bias: Tensor, // (buckets, n)
    final_layer_norm: RmsNorm,
}

impl TextEncoder {
    pub fn new(p: &VarBuilder, config: &TextConfig) -> Self {
        let shared =
            (p / "shared").var("weight", &[config.vocab_size, config.d_model], Init::Normal(1.0));
        (p / "encoder" / "embed_tokens").alias("weight", &shared);
        let block = |i: i64| p / "encoder" / "block" / i / "layer";
        let bias = block(0) / 0 / "SelfAttention" / "relative_attention_bias";
        let dims = [config.relative_attention_num_buckets, config.num_heads];
        Self {
            blocks: (0..config.num_layers).map(|i| EncoderBlock::new(&block(i), config)).collect(),
            relative_attention_bias: bias.var(
                "weight",
                &dims,
                Init::Normal((config.d_model as f64).powf(-0.5)),
            ),
            final_layer_norm: RmsNorm::new(&(p / "encoder" / "final_layer_norm"), config.d_model),
            config: config.clone(),
            shared,
        }
    }

    /// Stores the weights of products in bf16 if the config says so. The tables of bytes and of distances, and the gains
    /// of the norms, stay f32.
    pub fn store_in_bf16(&self, vars: &nn::VarStore) {
        let keep = |name: &str| {
            !(name.contains(".SelfAttention.") || name.contains(".DenseReluDense."))
                || name.contains("relative_attention_bias")
        };
        if self.config.bf16 {
            products_in_bf16(vars, keep);
        }
    }

    pub fn config(&self) -> &TextConfig {
        &self.config
    }

    /// texts -> vectors (B, S, d_model) f32.
    pub fn encode(&self, texts: &[String], device: Device) -> Tensor {
        self.encode_ids(&self.config.batch(texts, device).0)
    }

    /// ids (B, S) i64 -> (B, S, d_model) f32, with padding treated as the config says.
    pub fn encode_ids(&self, ids: &Tensor) -> Tensor {
        let mask = self.config.mask_padding.then(|| ids.ne(PAD));
        self.forward(ids, mask.as_ref())
    }

    /// Makes the first three heads attend to neighbouring tokens, so that training combines letters into words, and words
    /// into phrases, sooner.
    pub fn init_local_head_bias(&self) {
        let _no_grad = tch::no_grad_guard();
        let (buckets, distance) = (
            self.config.relative_attention_num_buckets,
            self.config.relative_attention_max_distance,
        );
        for (head, relative) in (0..self.config.num_heads).zip([-1, 1, -2]) {
            let row = bucket(relative, buckets, distance);
            let _ = self.relative_attention_bias.get(row).get(head).fill_(3.0);
        }
    }

    /// ids (B, S) i64, mask (B, S) with 0 on keys to ignore -> (B, S, d_model) f32.
    pub fn forward(&self, ids: &Tensor, mask: Option<&Tensor>) -> Tensor {
        let _bf16 = Autocast::bf16(self.config.bf16, ids.device()).expect("bf16 for products");
        let xs = Tensor::embedding(&self.shared, ids, -1, false, false);
        let bias = self.position_bias(ids.size()[1]); // (1, n, S, S)
        let bias = match mask {
            Some(mask) => bias + hide(mask), // (B, n, S, S)
            None => bias,
        };
        let xs = self.blocks.iter().fold(xs, |xs, block| block.forward(&xs, &bias));
        self.final_layer_norm.forward(&xs)
    }

    /// Attention bias for a key at distance j - i: (1, n, S, S), shared by all layers.
    fn position_bias(&self, s: i64) -> Tensor {
        let (buckets, distance) = (
            self.config.relative_attention_num_buckets,
            self.config.relative_attention_max_distance,
        );
        let table: Vec<i64> =
            (0..s).flat_map(|i| (0..s).map(move |j| bucket(j - i, buckets, distance))).collect();
        let table = Tensor::from_slice(&table).view([s, s]).to_device(self.shared.device());
        let bias = Tensor::embedding(&self.relative_attention_bias, &table, -1, false, false); // (S, S, n)
        bias.permute([2, 0, 1]).unsqueeze(0)
    }
}

/// mask (B, S), 0 on keys to ignore -> bias to add to the scores (B, 1, 1, S).
fn hide(mask: &Tensor) -> Tensor {
    let hidden: Tensor = 1.0 - mask.to_kind(Kind::Float);
    (hidden * f64::from(f32::MIN)).unsqueeze(1).unsqueeze(1)
}

/// Bucket of a relative position. Each direction has half of the buckets: exact for small distances, logarithmic for
/// large ones.
///
/// Source:  huggingface/transformers `T5Attention._relative_position_bucket`, bidirectional.
fn bucket(relative: i64, buckets: i64, max_distance: i64) -> i64 {
    let half = buckets / 2;
    let side = if relative > 0 { half } else { 0 };
    let (n, exact) = (relative.abs(), half / 2);
    if n < exact {
        return side + n;
    }
    // in f32, as in the reference
    let ratio = (n as f32 / exact as f32).ln() / (max_distance as f64 / exact as f64).ln() as f32;
    side + (exact + (ratio * (half - exact) as f32) as i64).min(half - 1)
}

/// RMS norm: x / sqrt(mean(x^2) + 1e-6) times a weight.
#[derive(Debug)]
struct RmsNorm {
    weight: Tensor,
}

impl RmsNorm {
    fn new(p: &VarBuilder, d: i64) -> Self {
        Self { weight: p.var("weight", &[d], Init::Ones) }
    }

    fn forward(&self, xs: &Tensor) -> Tensor {
        let power = xs.square().mean_dim(&[-1i64][..], true, Kind::Float);
        xs * (power + 1e-6).rsqrt() * &self.weight
    }
}

/// Self-attention without scaling, then the gated feed-forward. Each has a norm before it.
#[derive(Debug)]
struct EncoderBlock {
    attention_norm: RmsNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    heads: i64,
    feed_norm: RmsNorm,
    wi_0: Linear,
    wi_1: Linear,
    wo: Linear,
}

impl EncoderBlock {
    fn new(p: &VarBuilder, config: &TextConfig) -> Self {
        let TextConfig { d_model, d_kv, d_ff, num_heads, .. } = *config;
        let inner = num_heads * d_kv;
        let linear = |p: VarBuilder, i: i64, o: i64, power: i64| {
            Linear::without_bias(&p, i, o, Init::Normal((power as f64).powf(-0.5)))
        };
        let attention = |name: &str| p / 0 / "SelfAttention" / name;
        let feed = |name: &str| p / 1 / "DenseReluDense" / name;
        Self {
            attention_norm: RmsNorm::new(&(p / 0 / "layer_norm"), d_model),
            q: linear(attention("q"), d_model, inner, d_model * d_kv),
            k: linear(attention("k"), d_model, inner, d_model),
            v: linear(attention("v"), d_model, inner, d_model),
            o: linear(attention("o"), inner, d_model, inner),
            heads: num_heads,
            feed_norm: RmsNorm::new(&(p / 1 / "layer_norm"), d_model),
            wi_0: linear(feed("wi_0"), d_model, d_ff, d_model),
            wi_1: linear(feed("wi_1"), d_model, d_ff, d_model),
            wo: linear(feed("wo"), d_ff, d_model, d_ff),
        }
    }

    /// xs (B, S, d_model), bias (1 or B, n, S, S) -> (B, S, d_model).
    fn forward(&self, xs: &Tensor, bias: &Tensor) -> Tensor {
        let xs = xs + self.attend(&self.attention_norm.forward(xs), bias);
        let ys = self.feed_norm.forward(&xs);
        xs + self.wo.forward(&(self.wi_0.forward(&ys).gelu("tanh") * self.wi_1.forward(&ys)))
    }

    fn attend(&self, xs: &Tensor, bias: &Tensor) -> Tensor {
        let (b, s, _) = xs.size3().expect("xs is (B, S, d_model)");
        let heads =
            |linear: &Linear| linear.forward(xs).view([b, s, self.heads, -1]).transpose(1, 2);
        let scores = heads(&self.q).matmul(&heads(&self.k).transpose(2, 3)) + bias; // (B, n, S, S)
        let ys = scores.softmax(-1, Kind::Float).matmul(&heads(&self.v));
        self.o.forward(&ys.transpose(1, 2).reshape([b, s, -1]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shifted_and_ended() {
        assert_eq!(byte_tokens("a\u{e9}"), [100, 198, 172, 1]);
        let (ids, mask) = batch_tokens(&["ab".into(), String::new()], Some(2), Device::Cpu);
        assert_eq!(Vec::<i64>::try_from(ids.view(-1)).expect("flat"), [100, 1, 1, 0]);
        assert_eq!(Vec::<i64>::try_from(mask.view(-1)).expect("flat"), [1, 1, 1, 0]);
        let longer = Vec::<i64>::try_from(fill_up(&ids, 3).view(-1)).expect("flat");
        assert_eq!(longer, [100, 1, 0, 1, 0, 0]);
        assert_eq!(fill_up(&ids, 1), ids);
    }

    #[test]
    fn buckets_grow_with_distance_and_stop() {
        let near: Vec<i64> = (0..130).map(|n| bucket(-n, 32, 128)).collect();
        assert!(
            near.windows(2).all(|w| w[0] <= w[1]) && near[129] == 15 && bucket(129, 32, 128) == 31
        );
    }
}
