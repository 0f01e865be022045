//! The blocks of one repetition of a level's layout, and how they save memory in training.

use super::blocks::{AnyBlock, AttnBlock, Context};
use crate::torch;
use std::sync::Arc;
use tch::{Tensor, nn};

/// The blocks of one repetition, shared with the gradient's graph when they are computed again.
#[derive(Debug)]
pub struct BlockGroup {
    blocks: Arc<Blocks>,
    /// The number in the first block's name.
    number: usize,
    /// The variables, when activations are not kept.
    recompute: Option<Vec<Tensor>>,
}

#[derive(Debug)]
struct Blocks(Vec<AnyBlock>);

// SAFETY: the gradient's thread reads the blocks while the thread that trains waits for it.
unsafe impl Send for Blocks {}
unsafe impl Sync for Blocks {}

impl BlockGroup {
    /// `number`: the first block's, in its name.
    pub fn new(blocks: Vec<AnyBlock>, number: usize) -> Self {
        Self { blocks: Arc::new(Blocks(blocks)), number, recompute: None }
    }

    /// Keep activations, or compute them again, from now on. `path`: where the level's variables are.
    pub fn recompute(&mut self, on: bool, path: &str, vars: &nn::VarStore) {
        let numbers = self.number..self.number + self.blocks.0.len();
        // with the last dot: block 1 must not take block 10 along
        let prefixes: Vec<String> = numbers.map(|n| format!("{path}.{n}.")).collect();
        // autograd has to know whose gradients this part owes
        let inside = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix));
        let all = vars.variables();
        let mut own: Vec<_> =
            all.iter().filter(|(name, xs)| xs.requires_grad() && inside(name)).collect();
        own.sort_by_key(|(name, _)| *name); // ranks pass their parameters on in one order
        self.recompute = on.then(|| own.into_iter().map(|(_, xs)| xs.shallow_clone()).collect());
    }

    /// The A blocks, in the order of a pass.
    pub fn readers(&self) -> impl Iterator<Item = &AttnBlock> {
        self.blocks.0.iter().filter_map(|block| match block {
            AnyBlock::A(block) => Some(block),
            _ => None,
        })
    }

    /// xs (B, c, H, W) -> (B, c, H, W); the skip goes to the first block.
    pub fn forward(&self, xs: &Tensor, skip: Option<&Tensor>, context: &Context) -> Tensor {
        match &self.recompute {
            // without a gradient there is nothing to compute again
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
        // What the graph has to know of goes in as one list; a closure would hide it from autograd.
        let always = [xs, context.t_embed, context.cond];
        let inputs: Vec<Tensor> = always
            .into_iter()
            .chain(context.attn_weights)
            .chain(skip)
            .map(Tensor::shallow_clone)
            .collect();
        let has_weights = context.attn_weights.is_some();
        let part = move |inputs: &[Tensor]| {
            // taken apart again in the order above
            let [xs, t_embed, cond, rest @ ..] = inputs else { unreachable!("three and more") };
            let (attn_weights, skip) = match (has_weights, rest) {
                (true, [weights, rest @ ..]) => (Some(weights), rest.first()),
                (_, rest) => (None, rest.first()),
            };
            blocks.forward(
                xs,
                skip,
                &Context {
                    t_embed,
                    cond,
                    key_values: None,
                    attn_weights,
                    record: None,
                    train: true,
                },
            )
        };
        torch::recompute(&inputs, params, part)
            .unwrap_or_else(|e| panic!("the part has run before: {e}"))
    }
}

impl Blocks {
    fn forward(&self, xs: &Tensor, skip: Option<&Tensor>, context: &Context) -> Tensor {
        let each = self.0.iter().enumerate();
        each.fold(xs.shallow_clone(), |xs, (j, block)| {
            block.forward(&xs, skip.filter(|_| j == 0), context) // the skip enters once, at the first block
        })
    }
}
