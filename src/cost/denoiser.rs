//! Cost of the denoiser, counted block by block as `model::level` builds it.
//!
//! Letters: N positions of a level, S condition vectors of width d, h x w tokens, K codes.

use super::layers::{
    attention, conv, conv_transpose, dropout, layer_norm, linear, product, remember, weights,
};
use super::{Cost, Kept};
use crate::model::{Block, LevelConfig, PaellaConfig};

/// The cost of the denoiser for one picture.
#[derive(Clone, Debug)]
pub struct DenoiserCost {
    /// Text vectors to condition vectors. Includes the parameters of the CLIP mappers; their operations are not
    /// counted.
    pub cond: Cost,
    /// Tokens to the first level's channels.
    pub input: Cost,
    /// One entry per level, the finest first.
    pub levels: Vec<LevelCost>,
    /// The first level's channels to logits.
    pub output: Cost,
}

/// The cost of one resolution, down path and up path together.
#[derive(Clone, Debug)]
pub struct LevelCost {
    /// The resampling steps from and to the finer level.
    pub steps: Cost,
    /// All blocks.
    pub blocks: Cost,
    /// The repetition of the block layout that keeps the most.
    pub group: Cost,
    /// What is kept if all blocks are recomputed: the inputs of their groups.
    pub inputs: Kept,
}

impl LevelCost {
    /// Resampling and blocks together.
    pub fn total(&self) -> Cost {
        self.steps + self.blocks
    }
}

impl DenoiserCost {
    /// The whole denoiser.
    pub fn total(&self) -> Cost {
        self.cond + self.input + self.levels.iter().map(LevelCost::total).sum() + self.output
    }

    /// Operations that are done again in the backward pass.
    pub fn recomputed(&self, levels: &[usize]) -> i64 {
        self.again(levels).map(|level| level.blocks.flops).sum()
    }

    fn again(&self, levels: &[usize]) -> impl Iterator<Item = &LevelCost> {
        let all = self.levels.iter().enumerate();
        all.filter(|(i, _)| levels.contains(i)).map(|(_, level)| level)
    }

    /// Bytes that one picture keeps from the forward pass to the backward pass.
    pub fn kept(&self, levels: &[usize], bf16: bool) -> i64 {
        let level = |(i, level): (usize, &LevelCost)| {
            let blocks =
                if levels.contains(&i) { level.inputs } else { level.blocks.kept }.bytes(bf16);
            level.steps.kept.bytes(bf16) + blocks
        };
        let ends = self.cond + self.input + self.output;
        let group = self.again(levels).map(|level| level.group.kept.bytes(bf16)).max();
        ends.kept.bytes(bf16)
            + self.levels.iter().enumerate().map(level).sum::<i64>()
            + group.unwrap_or(0)
    }
}

/// Counts the denoiser for pictures of h x w tokens and S text vectors.
pub fn denoiser(config: &PaellaConfig, (h, w): (i64, i64), s: i64) -> DenoiserCost {
    let PaellaConfig { c_in, num_labels, patch_size: p, c_cond, byt5_embd, .. } = *config;
    let (tokens, positions) = (h * w, h * w / (p * p));
    let (c, patch) = (config.levels[0].c_hidden, c_in * p * p);
    let clip = weights((config.clip_embd + 1) * c_cond * config.clip_seq_len) * 2;
    DenoiserCost {
        cond: linear(byt5_embd, c_cond, s)
            + layer_norm(c_cond, s)
            + remember(0, c_cond * s)
            + if config.clip_embd > 0 { clip } else { Cost::default() },
        input: weights(num_labels * c_in)
            + layer_norm(c_in, tokens)
            + linear(patch, c, positions)
            + layer_norm(c, positions),
        levels: (0..config.levels.len())
            .map(|i| level(config, i, positions >> (2 * i), s))
            .collect(),
        // logits and log probabilities are f32, and both are kept
        output: layer_norm(c, positions)
            + linear(c, patch, positions)
            + layer_norm(c_in, tokens)
            + product(c_in, num_labels, tokens)
            + remember(0, 2 * num_labels * tokens),
    }
}

fn level(config: &PaellaConfig, i: usize, n: i64, s: i64) -> LevelCost {
    let LevelConfig { c_hidden: c, blocks, layout, .. } = &config.levels[i];
    let repetition = |skip: bool| -> Cost {
        let each = layout.iter().enumerate();
        each.map(|(j, kind)| block(config, i, *kind, skip && j == 0, n, s)).sum()
    };
    let skip = i + 1 < config.levels.len();
    let group = repetition(skip);
    let steps = match i {
        0 => Cost::default(),
        _ => {
            let (above, wide) = (config.levels[i - 1].c_hidden, 4 * n);
            layer_norm(above, wide)
                + conv(above, *c, 2, 1, wide, n)
                + layer_norm(*c, n)
                + conv_transpose(*c, above, 2, n)
        }
    };
    let inputs = (2 * blocks + i64::from(skip)) * c * n;
    LevelCost {
        steps,
        blocks: repetition(false) * (2 * blocks - 1) + group,
        group,
        inputs: Kept { full: inputs, ..Kept::default() },
    }
}

/// One block at N positions. `skip` is true if it also takes the down path's output.
fn block(config: &PaellaConfig, i: usize, kind: Block, skip: bool, n: i64, s: i64) -> Cost {
    let level = &config.levels[i];
    let c = level.c_hidden;
    match kind {
        Block::C => {
            let wide = if skip { 2 * c } else { c };
            conv(wide, c, config.kernel_size, c, n, n) + channelwise(c, level.dropout, n)
        }
        Block::F => channelwise(c, level.dropout, n),
        Block::T => linear(config.c_r, 2 * c, 1) + remember(0, c * n + 2 * c),
        Block::A => attend(config, i, n, s),
    }
}

/// Norm, widen, GELU, response norm, dropout, narrow. Kept besides the inputs of the products: input and output of the
/// GELU, and the product of the response norm, which is f32.
fn channelwise(c: i64, share: f64, n: i64) -> Cost {
    layer_norm(c, n)
        + linear(c, 4 * c, n)
        + remember(8 * c * n, 4 * c * n)
        + weights(8 * c)
        + dropout(4 * c * n, share)
        + linear(4 * c, c, n)
}

/// Attention block. Keys and values are projected from the same vectors. Under autocast each of the two products keeps
/// its own copy.
fn attend(config: &PaellaConfig, i: usize, n: i64, s: i64) -> Cost {
    let level = &config.levels[i];
    let c = level.c_hidden;
    let keys = if config.self_attn_at(i) { n + s } else { s };
    let heads = if level.nhead > 0 { level.nhead } else { 1 };
    layer_norm(c, n)
        + linear(config.c_cond, c, s)
        + linear(c, c, n)
        + linear(c, c, keys) * 2
        + attention(c, heads, n, keys)
        + Cost { kept: Kept::default(), ..linear(c, c, n) }
}
