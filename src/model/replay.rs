//! The denoiser as a GPU samples with it: bf16, both guesses of guidance in one batch, its kernels recorded as CUDA graphs.
//!
//! Letters: B pictures, h x w tokens, K codes, S condition vectors.

use super::{Cond, Denoiser, Paella};
use crate::torch::graph::CudaGraph;
use crate::torch::precision::{Autocast, products_in_bf16};
use std::cell::RefCell;
use tch::{Kind, Tensor, nn};

/// Recorded passes of one denoiser, one for each size of its inputs.
#[derive(Debug, Default)]
pub struct Replay {
    recorded: RefCell<Vec<Recorded>>,
}

/// A pass and the tensors that it reads.
#[derive(Debug)]
struct Recorded {
    inputs: Vec<Tensor>,
    graph: CudaGraph,
}

/// A denoiser that samples in bf16 and, where it can, from recorded passes.
#[derive(Debug)]
pub struct Replayed<'a> {
    pub model: &'a Paella,
    /// None: every kernel is launched by itself.
    pub replay: Option<&'a Replay>,
}

/// Prepares a network's variables for [`Replayed`]; it cannot be trained any more.
pub fn sampling_only(vars: &nn::VarStore) {
    // what no product multiplies stays f32: the table of tokens, the response norms
    let keep = |name: &str| {
        name.starts_with("in_mapper") || name.ends_with("gamma") || name.ends_with("beta")
    };
    products_in_bf16(vars, keep);
}

impl Denoiser for Replayed<'_> {
    fn logits(&self, tokens: &Tensor, t: &Tensor, cond: &Cond) -> Tensor {
        let Some(replay) = self.replay.filter(|_| tokens.device().is_cuda()) else {
            return self.pass(tokens, t, cond);
        };
        let inputs: Vec<&Tensor> = [tokens, t].into_iter().chain(parts(cond)).collect();
        replay.logits(&inputs, |inputs| {
            self.pass(&inputs[0], &inputs[1], &rebuilt(cond, &inputs[2..]))
        })
    }

    fn both(&self, tokens: &Tensor, t: &Tensor, cond: &Cond, null: &Cond) -> (Tensor, Tensor) {
        let sizes = |cond: &Cond| parts(cond).map(|xs| xs.size()).collect::<Vec<_>>();
        let alike = sizes(cond) == sizes(null) && cond.clip.is_some() == null.clip.is_some();
        if !alike || cond.attn_weights.is_some() || null.attn_weights.is_some() {
            return (self.logits(tokens, t, cond), self.logits(tokens, t, null));
        }
        // a batch twice as large, not two: small batches cost the time of their launches and of reading the weights
        let twice = |a: &Tensor, b: &Tensor| Tensor::cat(&[a, b], 0); // (2 B, ..)
        let all: Vec<Tensor> = parts(cond).zip(parts(null)).map(|(a, b)| twice(a, b)).collect();
        let logits = self.logits(&twice(tokens, tokens), &twice(t, t), &rebuilt(cond, &all)); // (2 B, K, h, w)
        let mut halves = logits.chunk(2, 0).into_iter();
        let mut half = || halves.next().expect("two halves");
        (half(), half())
    }
}

impl Replayed<'_> {
    /// One pass: logits (B, K, h, w) f32.
    fn pass(&self, tokens: &Tensor, t: &Tensor, cond: &Cond) -> Tensor {
        let _autocast = Autocast::bf16(true, tokens.device()).expect("bf16 for products");
        self.model.forward(tokens, t, cond, false).to_kind(Kind::Float)
    }
}

impl Replay {
    /// Sizes of inputs for which a pass is recorded.
    pub fn count(&self) -> usize {
        self.recorded.borrow().len()
    }

    /// The recorded pass for inputs of these sizes, with these values; the first time it is recorded.
    fn logits(&self, inputs: &[&Tensor], pass: impl Fn(&[Tensor]) -> Tensor) -> Tensor {
        let mut all = self.recorded.borrow_mut();
        let sizes = |xs: &Tensor| (xs.size(), xs.kind());
        let fits = |it: &Recorded| {
            it.inputs.len() == inputs.len()
                && it.inputs.iter().zip(inputs).all(|(own, xs)| sizes(own) == sizes(xs))
        };
        let at = match all.iter().position(fits) {
            Some(at) => at,
            None => {
                let own: Vec<Tensor> = inputs.iter().map(|xs| xs.copy()).collect();
                let recorded = CudaGraph::record(|| pass(&own));
                let Ok(graph) = recorded else { return pass(&own) };
                all.push(Recorded { inputs: own, graph });
                all.len() - 1
            }
        };
        let it = &mut all[at];
        it.inputs.iter_mut().zip(inputs).for_each(|(own, xs)| own.copy_(xs));
        it.graph.replay().map_or_else(|_| pass(&it.inputs), Tensor::copy)
    }
}

/// The tensors of a condition, in a fixed order.
fn parts(cond: &Cond) -> impl Iterator<Item = &Tensor> {
    [&cond.byt5].into_iter().chain(&cond.clip).chain(&cond.clip_image).chain(&cond.attn_weights)
}

/// A condition as `like`, of other tensors in the order of [`parts`].
fn rebuilt(like: &Cond, tensors: &[Tensor]) -> Cond {
    let mut rest = tensors.iter().map(Tensor::shallow_clone);
    let mut next = || rest.next().expect("as many tensors as parts");
    Cond {
        byt5: next(),
        clip: like.clip.as_ref().map(|_| next()),
        clip_image: like.clip_image.iter().map(|_| next()).collect(),
        attn_weights: like.attn_weights.as_ref().map(|_| next()),
    }
}
