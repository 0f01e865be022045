//! Averages gradients over all ranks during the backward pass.

use super::engine::{Group, RawReduction, refused};
use super::notes::ranks;
use super::world::World;
use crate::error::{Error, Result};
use std::hash::{DefaultHasher, Hash, Hasher};
use tch::{TchError, Tensor};

/// Averages the gradients of a list of parameters, which start with the values of rank 0. In a single process it only
/// runs backward.
///
/// Source:  `torch.nn.parallel.DistributedDataParallel` (c10d::Reducer), with `find_unused_parameters` and
///          `gradient_as_bucket_view`.
pub struct Reducer {
    // in this order: the reducer is dropped before the world that holds its group
    raw: Option<RawReduction>,
    world: World,
}

impl Reducer {
    /// `params`: names and tensors, in the same order on all ranks.
    ///
    /// Errors: ranks whose parameters differ in number, shape or kind.
    pub fn new(world: &World, params: &[(String, Tensor)]) -> Result<Self> {
        let make = |joined: &std::rc::Rc<super::world::Joined>| -> Result<RawReduction> {
            alike(world, params)?;
            let make = |group: &Group| RawReduction::new(group, params, joined.bucket_bytes);
            let raw = joined.exchange(make)?;
            let tensors: Vec<Tensor> = params.iter().map(|(_, xs)| xs.shallow_clone()).collect();
            world.broadcast(&tensors)?;
            Ok(raw)
        };
        Ok(Self { raw: world.joined().map(make).transpose()?, world: world.clone() })
    }

    /// Call before the forward pass of a micro batch. `last` marks the micro batch whose backward pass exchanges
    /// gradients.
    pub fn forward(&self, last: bool) -> Result<()> {
        self.marked(|raw| {
            raw.map_or(Ok(()), |raw| raw.forward(last)).inspect_err(|_| self.broken())
        })
    }

    /// The backward pass. Gradients accumulate over micro batches. After the last one they are means over all ranks.
    ///
    /// A parameter that one rank did not use counts as a zero gradient there. A parameter that no rank used gets no
    /// gradient.
    pub fn backward(&self, loss: &Tensor, last: bool) -> Result<()> {
        self.marked(|raw| {
            let Some(raw) = raw else { return Ok(loss.f_backward()?) };
            if last {
                raw.backward(loss).inspect_err(|_| self.broken())?;
            }
            loss.f_backward().map_err(|e| self.told_apart(&e, last))
        })
    }

    /// Runs common work of all ranks, with its begin and end marked.
    fn marked(&self, act: impl FnOnce(Option<&RawReduction>) -> Result<()>) -> Result<()> {
        match self.world.joined() {
            Some(joined) => joined.exchange(|_| act(self.raw.as_ref())),
            None => act(None),
        }
    }

    /// Bytes of each gradient bucket. Empty in a single process.
    pub fn buckets(&self) -> Result<Vec<u64>> {
        self.raw.as_ref().map_or(Ok(Vec::new()), RawReduction::buckets)
    }

    /// Classifies a failure in backward as a failed exchange or libtorch's own error. Gloo and NCCL have many messages
    /// for a lost peer. The only other expected failure after a successful forward pass is lack of memory.
    fn told_apart(&self, error: &TchError, exchanges: bool) -> Error {
        let text = error.to_string();
        if !exchanges || text.contains("memory") {
            return Error::torch(error, "backward");
        }
        self.broken();
        refused(&text)
    }

    fn broken(&self) {
        if let Some(joined) = self.world.joined() {
            joined.broken();
        }
    }
}

/// Checks that all ranks have the same parameters.
///
/// Errors: ranks whose parameters have other names or shapes than those of rank 0.
fn alike(world: &World, params: &[(String, Tensor)]) -> Result<()> {
    let mut hasher = DefaultHasher::new();
    params.iter().for_each(|(name, xs)| (name, xs.size(), xs.kind() as i32).hash(&mut hasher));
    let differ = world.unlike_first(&format!("{} {:x}", params.len(), hasher.finish()))?;
    if differ.is_empty() {
        return Ok(());
    }
    let what = format!("{} and rank 0 train different networks", ranks(&differ));
    Err(Error::model(what, "", "start all ranks with the same program and config"))
}
