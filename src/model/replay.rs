//! The denoiser as a GPU samples with it: bf16, both guesses of guidance in one batch, kernels recorded (CUDA graphs).
//!
//! Letters: B pictures, h x w tokens, K codes, S condition vectors.

use super::{Cond, Denoiser, Paella};
use crate::torch::graph::CudaGraph;
use crate::torch::precision::{Autocast, products_in_bf16};
use std::cell::RefCell;
use tch::{Kind, Tensor, nn};

/// Recorded passes that are kept. Each holds the GPU memory of a whole pass.
const MOST: usize = 4;

/// Recorded passes of one denoiser, one for each size of its inputs.
#[derive(Debug, Default)]
pub struct Replay {
    recorded: RefCell<Vec<Recorded>>,
}

/// Which parts a condition has: CLIP's text, the number of pictures, factors.
type Form = (bool, usize, bool);

/// A pass and the tensors that it reads.
#[derive(Debug)]
struct Recorded {
    /// Sizes alone do not tell CLIP's text from a picture.
    form: Form,
    inputs: Vec<Tensor>,
    /// None: CUDA did not record it. Its kernels are launched one by one.
    graph: Option<CudaGraph>,
}

/// A denoiser that samples in bf16 and, where it can, from recorded passes.
#[derive(Debug)]
pub struct Replayed<'a> {
    pub model: &'a Paella,
    /// None: every kernel is launched by itself.
    pub replay: Option<&'a Replay>,
}

/// Stores weights of products in bf16 for [`Replayed`]. The network can no longer be trained.
pub fn sampling_only(vars: &nn::VarStore) {
    // what no product multiplies stays f32: the table of tokens, the response norms
    let keep = |name: &str| {
        name.starts_with("in_mapper") || name.ends_with("gamma") || name.ends_with("beta")
    };
    products_in_bf16(vars, keep);
}

impl Denoiser for Replayed<'_> {
    fn logits(&self, tokens: &Tensor, t: &Tensor, cond: &Cond) -> Tensor {
        // the CPU has no graphs to record
        let Some(replay) = self.replay.filter(|_| tokens.device().is_cuda()) else {
            return self.pass(tokens, t, cond);
        };
        let inputs: Vec<&Tensor> = [tokens, t].into_iter().chain(parts(cond)).collect();
        replay.logits(form(cond), &inputs, |inputs| {
            self.pass(&inputs[0], &inputs[1], &rebuilt(cond, &inputs[2..]))
        })
    }

    fn guidance_logits(
        &self,
        tokens: &Tensor,
        t: &Tensor,
        cond: &Cond,
        null: &Cond,
    ) -> (Tensor, Tensor) {
        let sizes = |cond: &Cond| parts(cond).map(|xs| xs.size()).collect::<Vec<_>>();
        let alike = form(cond) == form(null) && sizes(cond) == sizes(null);
        if !alike || cond.attn_weights.is_some() {
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
    /// Sizes of inputs that are kept, recorded or refused.
    pub fn count(&self) -> usize {
        self.recorded.borrow().len()
    }

    /// Logits (B, K, h, w) f32 of `pass` for these inputs. A new size is recorded; the one unused for longest is dropped.
    fn logits(&self, form: Form, inputs: &[&Tensor], pass: impl Fn(&[Tensor]) -> Tensor) -> Tensor {
        let mut all = self.recorded.borrow_mut();
        let size = |xs: &Tensor| (xs.size(), xs.kind());
        let fits = |it: &Recorded| {
            it.form == form && it.inputs.iter().zip(inputs).all(|(own, xs)| size(own) == size(xs))
        };
        let mut it = match all.iter().position(fits) {
            Some(at) => all.remove(at),
            None => {
                all.truncate(MOST - 1); // captions have many lengths: without a limit they would fill the card
                let own: Vec<Tensor> = inputs.iter().map(|xs| xs.copy()).collect();
                let graph = CudaGraph::record(|| pass(&own)).ok(); // a failure is not tried again
                Recorded { form, inputs: own, graph }
            }
        };
        it.inputs.iter_mut().zip(inputs).for_each(|(own, xs)| own.copy_(xs)); // a graph reads fixed addresses
        let logits = match it.graph.as_ref().map(CudaGraph::replay) {
            Some(Ok(logits)) => logits.copy(), // the next replay overwrites the graph's own
            _ => pass(&it.inputs),
        };
        all.insert(0, it); // the latest first
        logits
    }
}

fn form(cond: &Cond) -> Form {
    (cond.clip.is_some(), cond.clip_image.len(), cond.attn_weights.is_some())
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
