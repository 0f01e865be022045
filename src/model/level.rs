//! One resolution of the U-Net: blocks, with the step down before them or the step up after them.
//!
//! Letters: B pictures, c channels, H x W positions.

use super::blocks::{AnyBlock, AttnBlock, Context, ResBlock};
use super::group::BlockGroup;
use super::init::{Init, VarBuilder};
use super::layers::{Conv2d, ConvTranspose2d, Window, layer_norm2d};
use super::{Block, LevelConfig, PaellaConfig};
use tch::{Tensor, nn};

#[derive(Debug)]
pub struct Level {
    /// Where its variables are, such as `down_blocks.1`.
    path: String,
    down: Option<Conv2d>,
    /// One for each repetition of the layout.
    groups: Vec<BlockGroup>,
    up: Option<ConvTranspose2d>,
}

impl Level {
    pub fn on_the_way_down(p: &VarBuilder, config: &PaellaConfig, i: usize) -> Self {
        let p = p / "down_blocks" / i;
        let c = config.levels[i].c_hidden;
        let half = Window::strided(2, 2, 0); // 2 x 2 positions become one
        let down = (i > 0).then(|| {
            Conv2d::new(&(&p / 0 / 1), config.levels[i - 1].c_hidden, c, half, Init::Xavier(1.0))
        });
        // the reference counts the step down as block 0 of its level
        let groups = build_groups(&p, config, i, usize::from(i > 0), false);
        Self { path: format!("down_blocks.{i}"), down, groups, up: None }
    }

    pub fn on_the_way_up(p: &VarBuilder, config: &PaellaConfig, i: usize) -> Self {
        let deepest = config.levels.len() - 1;
        let p = p / "up_blocks" / (deepest - i); // the reference counts upwards from the deepest
        let LevelConfig { c_hidden: c, blocks, layout, .. } = &config.levels[i];
        // the deepest level gets what comes down directly, the others the skip of their own level
        let groups = build_groups(&p, config, i, 0, i < deepest);
        let double = Window::strided(2, 2, 0);
        let last = *blocks as usize * layout.len(); // the step up is numbered behind the last block
        let up = (i > 0).then(|| {
            ConvTranspose2d::new(&(&p / last / 1), *c, config.levels[i - 1].c_hidden, double)
        });
        Self { path: format!("up_blocks.{}", deepest - i), down: None, groups, up }
    }

    /// Keep activations, or compute them again, from now on.
    pub fn recompute(&mut self, on: bool, vars: &nn::VarStore) {
        for group in &mut self.groups {
            group.recompute(on, &self.path, vars);
        }
    }

    /// The A blocks, in the order of a pass.
    pub fn readers(&self) -> impl Iterator<Item = &AttnBlock> {
        self.groups.iter().flat_map(BlockGroup::readers)
    }

    /// The skip goes to the very first block.
    pub fn forward(&self, xs: &Tensor, skip: Option<&Tensor>, context: &Context) -> Tensor {
        let mut xs = self
            .down
            .as_ref()
            .map_or_else(|| xs.shallow_clone(), |down| down.forward(&layer_norm2d(xs))); // (B, c, H / 2, W / 2)
        for (j, group) in self.groups.iter().enumerate() {
            xs = group.forward(&xs, skip.filter(|_| j == 0), context);
        }
        self.up.as_ref().map_or_else(|| xs.shallow_clone(), |up| up.forward(&layer_norm2d(&xs))) // (B, c', 2 H, 2 W)
    }
}

/// The layout of level `i`, repeated; names count from `first`. The first C block takes the skip, if there is one.
fn build_groups(
    p: &VarBuilder,
    config: &PaellaConfig,
    i: usize,
    first: usize,
    skip: bool,
) -> Vec<BlockGroup> {
    let level = &config.levels[i];
    // residual branches of a deep network start smaller: the sum over all of them stays of one size
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
            Block::A => {
                AnyBlock::A(AttnBlock::new(&p, c, config.c_cond, level, config.self_attn_at(i)))
            }
            Block::F => AnyBlock::feed_forward(&p, c, level.dropout, depth),
        }
    };
    let group = |k: usize| {
        let at = k * level.layout.len();
        let blocks = level.layout.iter().enumerate().map(|(j, block)| build((at + j, block)));
        BlockGroup::new(blocks.collect(), first + at)
    };
    (0..level.blocks as usize).map(group).collect()
}
