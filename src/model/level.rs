//! One resolution of the U-Net: blocks, with the step down before them or the step up after them.

use super::blocks::{AnyBlock, AttnBlock, Context, ResBlock};
use super::init::{Init, VarBuilder};
use super::layers::{Conv2d, ConvTranspose2d, Window, layer_norm2d};
use super::{Block, LevelConfig, PaellaConfig};
use crate::torch;
use std::sync::Arc;
use tch::{Tensor, nn};

#[derive(Debug)]
pub struct Level {
    /// Where its variables are, such as `down_blocks.1`.
    path: String,
    down: Option<Conv2d>,
    /// One for each repetition of the layout.
    groups: Vec<Group>,
    up: Option<ConvTranspose2d>,
}

/// The blocks of one repetition, shared with the gradient's graph when they are computed again.
#[derive(Debug)]
struct Group {
    blocks: Arc<Blocks>,
    /// Of the first block's name.
    number: usize,
    /// The variables, when activations are not kept.
    recompute: Option<Vec<Tensor>>,
}

#[derive(Debug)]
struct Blocks(Vec<AnyBlock>);

// SAFETY: the gradient's thread reads the blocks while the thread that trains waits for it.
unsafe impl Send for Blocks {}
unsafe impl Sync for Blocks {}

impl Level {
    pub fn on_the_way_down(p: &VarBuilder, config: &PaellaConfig, i: usize) -> Self {
        let p = p / "down_blocks" / i;
        let c = config.levels[i].c_hidden;
        let half = Window::strided(2, 2, 0);
        let down = (i > 0).then(|| {
            Conv2d::new(&(&p / 0 / 1), config.levels[i - 1].c_hidden, c, half, Init::Xavier(1.0))
        });
        let groups = build_groups(&p, config, i, usize::from(i > 0), false);
        Self { path: format!("down_blocks.{i}"), down, groups, up: None }
    }

    pub fn on_the_way_up(p: &VarBuilder, config: &PaellaConfig, i: usize) -> Self {
        let deepest = config.levels.len() - 1;
        let p = p / "up_blocks" / (deepest - i);
        let LevelConfig { c_hidden: c, blocks, layout, .. } = &config.levels[i];
        let groups = build_groups(&p, config, i, 0, i < deepest);
        let double = Window::strided(2, 2, 0);
        let last = *blocks as usize * layout.len();
        let up = (i > 0).then(|| {
            ConvTranspose2d::new(&(&p / last / 1), *c, config.levels[i - 1].c_hidden, double)
        });
        Self { path: format!("up_blocks.{}", deepest - i), down: None, groups, up }
    }

    /// Keep activations, or compute them again, from now on.
    pub fn recompute(&mut self, on: bool, vars: &nn::VarStore) {
        let all = vars.variables();
        for group in &mut self.groups {
            let numbers = group.number..group.number + group.blocks.0.len();
            let prefixes: Vec<String> = numbers.map(|n| format!("{}.{n}.", self.path)).collect();
            let inside = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix));
            let mut own: Vec<_> =
                all.iter().filter(|(name, xs)| xs.requires_grad() && inside(name)).collect();
            own.sort_by_key(|(name, _)| *name);
            group.recompute =
                on.then(|| own.into_iter().map(|(_, xs)| xs.shallow_clone()).collect());
        }
    }

    /// The skip goes to the very first block.
    pub fn forward(&self, xs: &Tensor, skip: Option<&Tensor>, context: &Context) -> Tensor {
        let mut xs = self
            .down
            .as_ref()
            .map_or_else(|| xs.shallow_clone(), |down| down.forward(&layer_norm2d(xs)));
        for (j, group) in self.groups.iter().enumerate() {
            xs = group.forward(&xs, skip.filter(|_| j == 0), context);
        }
        self.up.as_ref().map_or_else(|| xs.shallow_clone(), |up| up.forward(&layer_norm2d(&xs)))
    }
}

impl Group {
    fn forward(&self, xs: &Tensor, skip: Option<&Tensor>, context: &Context) -> Tensor {
        match &self.recompute {
            Some(params) if context.train => self.forward_again(xs, skip, context, params),
            _ => self.blocks.forward(xs, skip, context),
        }
    }

    /// As `forward`, with nothing kept but what goes in.
    fn forward_again(
        &self,
        xs: &Tensor,
        skip: Option<&Tensor>,
        context: &Context,
        params: &[Tensor],
    ) -> Tensor {
        let blocks = self.blocks.clone();
        let always = [xs, context.t_embed, context.cond];
        let inputs: Vec<Tensor> = always
            .into_iter()
            .chain(context.attn_weights)
            .chain(skip)
            .map(Tensor::shallow_clone)
            .collect();
        let has_weights = context.attn_weights.is_some();
        let part = move |inputs: &[Tensor]| {
            let [xs, t_embed, cond, rest @ ..] = inputs else { unreachable!("three and more") };
            let (attn_weights, skip) = match (has_weights, rest) {
                (true, [weights, rest @ ..]) => (Some(weights), rest.first()),
                (_, rest) => (None, rest.first()),
            };
            blocks.forward(xs, skip, &Context { t_embed, cond, attn_weights, train: true })
        };
        torch::recompute(&inputs, params, part)
            .unwrap_or_else(|e| panic!("the part has run before: {e}"))
    }
}

impl Blocks {
    fn forward(&self, xs: &Tensor, skip: Option<&Tensor>, context: &Context) -> Tensor {
        let each = self.0.iter().enumerate();
        each.fold(xs.shallow_clone(), |xs, (j, block)| {
            block.forward(&xs, skip.filter(|_| j == 0), context)
        })
    }
}

/// The layout of level `i`, repeated; names count from `first`. The first C block takes the skip, if there is one.
fn build_groups(
    p: &VarBuilder,
    config: &PaellaConfig,
    i: usize,
    first: usize,
    skip: bool,
) -> Vec<Group> {
    let level = &config.levels[i];
    let (c, depth) = (level.c_hidden, config.levels.iter().map(|l| l.blocks).sum());
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
    let group = |k: usize| {
        let at = k * level.layout.len();
        let blocks = level.layout.iter().enumerate().map(|(j, block)| build((at + j, block)));
        let blocks = Arc::new(Blocks(blocks.collect()));
        Group { blocks, number: first + at, recompute: None }
    };
    (0..level.blocks as usize).map(group).collect()
}
