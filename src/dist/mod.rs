//! Distributed training: which processes take part, what they exchange, and which one is named when one fails.
//!
//! Every process (a *rank*) holds the whole model and processes its rows of the global batch. Gradients are averaged
//! while they are computed. The engine is libtorch's c10d (a TCP store for the rendezvous, Gloo on CPUs, NCCL on GPUs,
//! the `Reducer` of DistributedDataParallel); only this module uses it. Launchers are torchrun, Slurm's `srun`, or
//! variables set by hand. Without a launcher a run uses [`World::solo`] and calls nothing here.

mod beat;
mod engine;
mod last;
mod launch;
mod nodes;
mod notes;
mod reducer;
mod watch;
mod world;

pub use last::LastWord;
pub use launch::Launch;
pub use reducer::Reducer;
pub use world::World;

use ron_faults::{Checks, Fault};
use serde::{Deserialize, Serialize};

/// How ranks communicate. The default fits the device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DistConfig {
    pub backend: Backend,
    /// Seconds that a rank waits for the others, at the start and in every exchange, before it gives up. Must be longer
    /// than the longest time of any rank between two exchanges, including data loading and previews.
    pub timeout_s: u64,
    /// Size of a gradient bucket in megabytes (2^20 bytes). Buckets are sent while the other gradients are still
    /// computed.
    pub bucket_mb: u64,
}

impl Default for DistConfig {
    fn default() -> Self {
        Self { backend: Backend::Auto, timeout_s: 600, bucket_mb: 25 }
    }
}

impl DistConfig {
    /// Checks the values. Returns all faults.
    pub fn check(&self) -> Vec<Fault> {
        let mut found = Checks::default();
        found.count("timeout_s", self.timeout_s, 1, 1 << 20);
        found.count("bucket_mb", self.bucket_mb, 1, 1 << 16);
        found.faults()
    }
}

/// The library that carries the exchanges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backend {
    /// Nccl on GPUs, Gloo on CPUs.
    #[default]
    Auto,
    Gloo,
    Nccl,
}
