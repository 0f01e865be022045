//! Worker threads that keep the next rows of one rank ready.
//!
//! Each thread has its own lanes and sends their samples in the order in which they are used, through a channel that
//! holds about one batch. So results do not depend on the speed of the threads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::lane::{Lane, LaneState, Stuck};
use super::rows::RowSchedule;
use super::sample::ShardSample;
use super::source::Patience;
use super::wait::{StopAsked, Waited, broken, stopped, wait};
use super::{Counts, Setup};
use crate::{Error, Result};

type Given = std::result::Result<(ShardSample, LaneState), Stuck>;

/// The worker threads of one rank.
pub struct Workers {
    setup: Arc<Setup>,
    /// Signals the threads to stop.
    stop: Arc<AtomicBool>,
    schedule: RowSchedule,
    /// Lane -> thread.
    threads: BTreeMap<usize, usize>,
    channels: Vec<Receiver<Given>>,
    /// Rows taken so far.
    taken: u64,
}

impl Workers {
    /// Starts the threads. A lane without an entry in `states` starts at its beginning.
    pub fn start(
        setup: &Arc<Setup>,
        schedule: RowSchedule,
        states: &BTreeMap<usize, LaneState>,
        rows: usize,
    ) -> Self {
        let (own, patience) = (schedule.own(), setup.patience());
        let count = setup.config.threads.clamp(1, own.len().max(1));
        let threads: BTreeMap<usize, usize> =
            own.iter().enumerate().map(|(i, &lane)| (lane, i % count)).collect();
        let start = |thread: usize| {
            let (sender, receiver) = sync_channel(rows.div_ceil(count).max(2));
            let own = threads.iter().filter(|(_, t)| **t == thread).map(|(&lane, _)| {
                let fresh = LaneState { lane, ..LaneState::default() };
                (lane, states.get(&lane).cloned().unwrap_or(fresh))
            });
            let (own, setup, patience) = (own.collect(), setup.clone(), patience.clone());
            std::thread::spawn(move || work(&setup, &patience, schedule, own, &sender));
            receiver
        };
        let channels = (0..count).map(start).collect();
        Self { setup: setup.clone(), stop: patience.stop, schedule, threads, channels, taken: 0 }
    }

    /// The next row.
    ///
    /// Errors: no sample came within the time limit, or before a request to stop; no shard holds a wanted sample.
    pub fn next(&mut self, asked: StopAsked) -> Result<(ShardSample, LaneState)> {
        let lane = self.schedule.lane(self.taken);
        let patience = Duration::from_secs_f64(self.setup.config.max_idle_s);
        match wait(&self.channels[self.threads[&lane]], patience, asked) {
            Waited::Got(Ok(given)) => {
                self.taken += 1;
                Ok(given)
            }
            Waited::Got(Err(Stuck::Barren(counts))) => {
                Err(self.nothing("no shard holds a sample that is wanted", &counts))
            }
            Waited::Got(Err(Stuck::Idle(counts))) => Err(self.nothing(&self.idle(), &counts)),
            Waited::Got(Err(Stuck::Unwanted)) | Waited::Late => {
                Err(self.nothing(&self.idle(), &Counts::new()))
            }
            Waited::Stopped => Err(stopped()),
            Waited::Broken => Err(broken()),
        }
    }

    fn idle(&self) -> String {
        format!("no sample came for {} s", self.setup.config.max_idle_s)
    }

    fn nothing(&self, what: &str, counts: &Counts) -> Error {
        let skipped: Vec<String> = counts.iter().map(|(why, n)| format!("{n} {why}")).collect();
        let skipped =
            if skipped.is_empty() { "nothing was read".into() } else { skipped.join(", ") };
        let fault = self.setup.fault.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let fault = fault.map(|fault| format!("; the last shard that failed: {fault}"));
        let skipped = skipped + &fault.unwrap_or_default();
        let place = format!("`data.stream.shards`, {} of them", self.setup.shards.len());
        let hint =
            "look at the shards and at `data.stream.filter`; a slow source needs more `max_idle_s`";
        Error::data(format!("{what}; left out: {skipped}"), place, hint)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// One thread: yields its share of the rank's rows, endlessly.
fn work(
    setup: &Arc<Setup>,
    patience: &Patience,
    schedule: RowSchedule,
    states: BTreeMap<usize, LaneState>,
    sender: &SyncSender<Given>,
) {
    let mut lanes: BTreeMap<usize, Option<Lane>> =
        states.keys().map(|&lane| (lane, None)).collect();
    for k in 0.. {
        let number = schedule.lane(k);
        let Some(lane) = lanes.get_mut(&number) else { continue };
        // opened on first use
        let lane = lane.get_or_insert_with(|| Lane::new(setup, patience, states[&number].clone()));
        let given = lane.give();
        let over = given.is_err();
        if sender.send(given).is_err() || over {
            return;
        }
    }
}
