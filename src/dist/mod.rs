//! Many processes that train one model: who takes part, what they exchange, and who is named when one fails.
//!
//! Every process (a *rank*) holds the whole model and works on its rows of the global batch; gradients are averaged
//! while they are computed. The engine is libtorch's own c10d (a TCP store to meet at, Gloo on CPUs, NCCL on GPUs, the
//! `Reducer` of DistributedDataParallel); only this module knows it. Launchers are torchrun, Slurm's `srun`, or
//! variables set by hand; without any, a run is [`World::solo`] and nothing here is called.

mod beat;
mod engine;
mod last;
mod launch;
mod nodes;
mod notes;
mod reducer;
mod watch;
mod world;

pub use engine::nccl_library;
pub use last::LastWord;
pub use launch::Launch;
pub use reducer::Reducer;
pub use world::World;

use ron_faults::{Checks, Fault};
use serde::{Deserialize, Serialize};

/// How ranks exchange. The default fits the device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DistConfig {
    pub backend: Backend,
    /// Seconds that a rank waits for the others, when they meet and in every exchange, before it gives up: longer than any
    /// rank ever takes between two exchanges, for its data or for a sheet of pictures.
    pub timeout_s: u64,
    /// Megabytes (2^20 bytes) of gradients that are sent at once, while the rest is still computed.
    pub bucket_mb: u64,
}

impl Default for DistConfig {
    fn default() -> Self {
        Self { backend: Backend::Auto, timeout_s: 600, bucket_mb: 25 }
    }
}

impl DistConfig {
    /// Everything that is wrong though well formed.
    pub fn check(&self) -> Vec<Fault> {
        let mut found = Checks::default();
        found.count("timeout_s", self.timeout_s, 1, 1 << 20);
        found.count("bucket_mb", self.bucket_mb, 1, 1 << 16);
        found.faults()
    }
}

/// What carries the exchanges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backend {
    /// Nccl on GPUs, Gloo on CPUs.
    #[default]
    Auto,
    Gloo,
    Nccl,
}
