//! What every trainer has around its loss: pictures come in, gradients are exchanged, weights move, progress is counted.

use super::feed::{Feed, Rows};
use crate::checkpoint::{Phase, Progress};
use crate::cost::Meter;
use crate::dist::{Reducer, World};
use crate::error::{Error, Result};
use crate::metrics::StepRecord;
use crate::networks::Networks;
use crate::optim::{AdamW, Ema, OptimConfig};
use crate::recipe::Split;
use crate::torch::precision::peak_memory;
use crate::weights::Named;
use std::time::Instant;
use tch::{Tensor, nn};

/// Optimiser state and the like, by the file of a checkpoint that holds it.
pub type State = Vec<(&'static str, Named)>;

/// What a trainer asks of its shell.
pub struct ShellConfig<'a> {
    pub phase: Phase,
    /// Updates in all.
    pub steps: u64,
    /// How the global batch is shared out.
    pub split: Split,
    pub optim: &'a OptimConfig,
    /// The variables that training moves, with the prefix that tells the networks apart in a checkpoint.
    pub trained: &'a [(&'static str, &'a nn::VarStore)],
    /// Decay of the moving average of the weights; None: no average.
    pub ema_decay: Option<f64>,
}

/// The state of a training run besides the weights and what belongs to one network alone.
pub struct Shell {
    pub world: World,
    pub progress: Progress,
    pub split: Split,
    /// This rank's rows of the global batch.
    pub rows: Rows,
    pub meter: Meter,
    pub feed: Feed,
    steps: u64,
    optim: OptimConfig,
    reducer: Reducer,
    optimizer: AdamW,
    ema: Option<Ema>,
    /// When the step under way began, and how many seconds it waited for data.
    begun: Instant,
    wait: f64,
    /// The step under way has no data yet: nothing has changed since the last one.
    waits: bool,
}

/// Rows of one pass of an update.
#[derive(Clone, Copy, Debug)]
pub struct MicroBatch {
    pub first: usize,
    pub count: usize,
    /// Its backward pass exchanges the gradients.
    pub last: bool,
}

/// What an update of the weights did.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    pub grad_norm: f64,
    pub lr: f64,
}

impl Shell {
    /// The shell of one of the ranks of `world`; all of them make one at the same time.
    ///
    /// Errors: exchanges that fail.
    pub fn new(nets: &Networks, feed: Feed, world: &World, job: &ShellConfig) -> Result<Self> {
        let optimizer = AdamW::new(job.trained, job.optim);
        Ok(Self {
            // every rank works out the whole batch's order and takes its own rows
            rows: Rows::of_rank(world, job.split.rows * world.size()),
            meter: Meter::new(&nets.config, job.phase, nets.device, world.size()),
            progress: Progress::start(job.phase),
            // before the averages: it gives every rank the weights of rank 0
            reducer: Reducer::new(world, &optimizer.params())?,
            ema: job.ema_decay.map(|decay| Ema::new(job.trained, decay)),
            world: world.clone(),
            optim: job.optim.clone(),
            split: job.split,
            steps: job.steps,
            begun: Instant::now(),
            wait: 0.0,
            waits: false,
            optimizer,
            feed,
        })
    }

    /// Begin a step: what `ask` takes from the feed, for this rank's rows.
    pub fn next<T>(&mut self, ask: impl FnOnce(&mut Feed, Rows) -> Result<T>) -> Result<T> {
        self.begun = Instant::now();
        // a rank whose data is late is named as such by the others that wait for it
        self.world.local_work("waiting for data");
        self.waits = true;
        let batch = ask(&mut self.feed, self.rows)?;
        self.waits = false;
        self.wait = self.begun.elapsed().as_secs_f64(); // a large share of the step: the loader is too slow
        Ok(batch)
    }

    /// The passes of an update: what does not fit into memory at once goes through in parts.
    pub fn micro_batches(&self) -> impl Iterator<Item = MicroBatch> + use<> {
        let Split { micro, passes, .. } = self.split;
        (0..passes).map(move |i| MicroBatch {
            first: i * micro,
            count: micro,
            last: i + 1 == passes,
        })
    }

    /// Before the forward pass of a micro batch.
    pub fn before_forward(&self, micro: MicroBatch) -> Result<()> {
        self.reducer.forward(micro.last)
    }

    /// Add the gradient of a micro batch's loss to those of the passes before it.
    pub fn backward(&self, loss: &Tensor, micro: MicroBatch) -> Result<()> {
        // Gradients of passes add up, the loss is a mean over the batch: each pass is a share of that mean.
        self.reducer.backward(&(loss / self.split.passes as f64), micro.last)
    }

    /// Move the weights, then their averages. A gradient that is not finite leaves the weights; averages still approach them.
    pub fn update(&mut self) -> Result<Update> {
        let lr = self.optim.lr_at(self.progress.step, self.steps); // of the step before it is counted: 0 at the first
        let grad_norm = self.optimizer.update(lr)?; // clips, moves, forgets the gradients
        if let Some(ema) = &mut self.ema {
            ema.update(self.progress.step)?;
        }
        Ok(Update { grad_norm, lr })
    }

    /// Close the step: count it, and fill what the records of all trainers share.
    pub fn close(&mut self, update: Update, measured: StepRecord) -> Result<StepRecord> {
        let skipped_samples = self.feed.skipped(&self.world)?;
        let seconds = self.begun.elapsed().as_secs_f64(); // with the wait for data
        let images_per_s = self.rows.of as f64 / seconds; // over all ranks
        let progress = &mut self.progress;
        progress.position = self.feed.position(); // a checkpoint after this step goes on behind these pictures
        progress.step += 1;
        progress.seconds += seconds;
        progress.skipped += u64::from(!update.grad_norm.is_finite()); // the optimiser left the weights
        Ok(StepRecord {
            phase: progress.phase.to_string(),
            step: progress.step,
            steps: self.steps,
            images_per_s,
            took: seconds,
            wait: self.wait,
            seconds: progress.seconds,
            skipped: progress.skipped,
            skipped_samples,
            grad_norm: update.grad_norm,
            lr: update.lr,
            memory: peak_memory(self.meter.device),
            mfu: self.meter.mfu(images_per_s),
            ..measured
        })
    }

    /// Whether the last step ended before it had its data, so that it changed nothing.
    pub fn waits(&self) -> bool {
        self.waits
    }

    /// Updates in all.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Bytes of each bucket in which gradients are exchanged; empty when alone.
    pub fn buckets(&self) -> Result<Vec<u64>> {
        self.reducer.buckets()
    }

    /// Exchange the weights and their averages, if there are averages.
    pub fn swap_ema(&mut self) {
        if let Some(ema) = &mut self.ema {
            ema.swap();
        }
    }

    /// The files that `state` fills.
    pub fn files(&self) -> &'static [&'static str] {
        if self.ema.is_some() { &["optim", "ema"] } else { &["optim"] }
    }

    /// A copy of optimiser and averages.
    pub fn state(&self) -> State {
        let ema = self.ema.as_ref().map(|ema| ("ema", ema.state())); // the tokenizer has none
        std::iter::once(("optim", self.optimizer.state())).chain(ema).collect()
    }

    /// Go on exactly where `state`, `progress` and `stream` (may be empty) were taken.
    pub fn restore(
        &mut self,
        state: &State,
        progress: &Progress,
        stream: &str,
        place: &str,
    ) -> Result<()> {
        self.optimizer.restore(part(state, "optim", place)?, place)?;
        if let Some(ema) = &mut self.ema {
            ema.restore(part(state, "ema", place)?, place)?;
        }
        // no generator is restored: every draw follows from (seed, step)
        self.feed.go_to(progress.position, stream)?;
        self.progress = progress.clone();
        Ok(())
    }
}

/// One file of a state.
///
/// Errors: it is not there.
pub fn part<'a>(state: &'a State, name: &str, place: &str) -> Result<&'a Named> {
    let found = state.iter().find(|(file, _)| *file == name).map(|(_, tensors)| tensors);
    found.ok_or_else(|| {
        Error::checkpoint(
            format!("`{name}` is missing"),
            place,
            "resume with the config of this run",
        )
    })
}
