//! One lane: reads its shards in order, filters the samples, and passes them through its own shuffle buffer. Its output
//! does not depend on ranks, threads or other lanes.
//!
//! Before each draw, up to two more samples are read into the buffer, until it holds `shuffle` samples. So the first
//! sample comes soon, and the buffer is full after `shuffle` samples. Then one buffered sample is drawn, and the last
//! one takes its slot. In epoch mode the buffer is emptied before the next epoch begins.
//!
//! Resume: the state names the next sample to read and the buffered samples, by shard (counted along the lane) and
//! position in the shard, and counts the draws. On resume, each shard of a buffered sample is read again up to the last
//! such sample, and the current shard up to its position. No other shard is read. Draws are functions of their number,
//! so the lane continues exactly.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::deal::{Deal, Purpose, draw};
use super::sample::{Packed, ShardSample, judge};
use super::source::Patience;
use super::{Counts, Setup};
use crate::data::groups::Groups;

/// A sample's shard, counted along the lane, and its position in the shard.
pub type Id = (u64, u64);

/// The state of a lane between two samples.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaneState {
    pub lane: usize,
    /// The next sample to read.
    pub next: Id,
    /// Samples drawn from the buffer, including those that could not be decoded.
    pub draws: u64,
    /// Samples yielded.
    pub given: u64,
    /// The buffered samples, in order.
    pub held: Vec<Id>,
    /// Samples and shards left out, by reason.
    pub skipped: Counts,
}

/// Passes over all shards without a wanted sample before a lane gives up. One of several lanes may miss the only useful
/// shard once or twice, but not this often.
const PASSES: usize = 10;

/// Why a lane yields no more samples.
#[derive(Debug)]
pub enum Stuck {
    /// `PASSES` times the number of shards passed without a wanted sample.
    Barren(Counts),
    /// No sample came within the time limit.
    Idle(Counts),
    /// The receiver is gone.
    Unwanted,
}

/// One lane of the stream: reads shards and yields shuffled samples.
pub struct Lane {
    setup: Arc<Setup>,
    patience: Patience,
    deal: Deal,
    state: LaneState,
    /// The samples of `state.held`.
    held: Vec<Packed>,
    /// The current shard.
    groups: Option<Groups>,
    /// Consecutive shards that ended without a wanted sample.
    barren: usize,
    fruitful: bool,
    /// When the last sample was requested.
    asked: Instant,
}

impl Lane {
    /// Starts at the beginning, or where `state` was taken.
    pub fn new(setup: &Arc<Setup>, patience: &Patience, state: LaneState) -> Self {
        let config = &setup.config;
        let deal = Deal::new(config.mode, setup.seed, setup.shards.len(), state.lane, config.lanes);
        let mut lane = Self {
            setup: setup.clone(),
            patience: patience.clone(),
            deal,
            state,
            held: Vec::new(),
            groups: None,
            barren: 0,
            fruitful: false,
            asked: Instant::now(),
        };
        lane.read_again();
        lane
    }

    /// The next sample, and the state after it.
    pub fn give(&mut self) -> Result<(ShardSample, LaneState), Stuck> {
        self.asked = Instant::now();
        loop {
            let target = (self.held.len() + 2).min(self.setup.config.shuffle.max(1));
            while self.held.len() < target && self.take()? {}
            if let Some(sample) = self.draw() {
                self.state.given += 1;
                return Ok((sample, self.state.clone()));
            }
        }
    }

    /// Draws one buffered sample. None if it cannot be decoded.
    fn draw(&mut self) -> Option<ShardSample> {
        let (seed, n, lane) = (self.setup.seed, self.state.draws, self.state.lane);
        let slot = draw(seed, lane, Purpose::Slot, n, self.held.len() as u64) as usize;
        self.state.held.swap_remove(slot);
        self.state.draws += 1;
        match self.setup.unpack(lane, n, self.held.swap_remove(slot)) {
            Ok(sample) => Some(sample),
            Err(reason) => {
                self.skip(reason);
                None
            }
        }
    }

    /// Reads until one more sample is buffered. Returns false if the next sample belongs to another epoch than the
    /// buffered ones.
    fn take(&mut self) -> Result<bool, Stuck> {
        loop {
            self.check()?;
            let held = self.state.held.first();
            if held.is_some_and(|id| self.deal.epoch(id.0) != self.deal.epoch(self.state.next.0)) {
                return Ok(false);
            }
            if let Some((id, packed)) = self.read() {
                self.state.held.push(id);
                self.held.push(packed);
                return Ok(true);
            }
        }
    }

    fn check(&self) -> Result<(), Stuck> {
        if self.patience.stop.load(Ordering::Relaxed) {
            return Err(Stuck::Unwanted);
        }
        if self.barren >= PASSES * self.setup.shards.len() {
            return Err(Stuck::Barren(self.state.skipped.clone()));
        }
        // slightly before the receiver times out, because this side knows the reasons
        let limit = Duration::from_secs_f64(self.setup.config.max_idle_s * 0.9);
        match self.asked.elapsed() > limit {
            true => Err(Stuck::Idle(self.state.skipped.clone())),
            false => Ok(()),
        }
    }

    /// Reads the next sample. None if it is not wanted, or if a shard ended.
    fn read(&mut self) -> Option<(Id, Packed)> {
        let mut groups = match self.groups.take() {
            Some(groups) => groups,
            None => self.open(self.state.next.0)?,
        };
        match groups.next() {
            Some(Ok(group)) => {
                self.groups = Some(groups);
                let id = self.state.next;
                self.state.next.1 += 1;
                match judge(group, self.setup.config.filter.as_ref(), self.setup.want) {
                    Ok(packed) => {
                        (self.barren, self.fruitful) = (0, true);
                        return Some((id, packed));
                    }
                    Err(reason) => self.skip(reason),
                }
            }
            Some(Err(cut)) => {
                let shard = self.deal.shard(self.state.next.0);
                self.setup.note(shard, &cut.to_string());
                self.skip(cut.reason);
                self.next_shard();
            }
            None => self.next_shard(),
        }
        None
    }

    /// Opens the lane's `k`-th shard. If that fails, moves on to the next shard and returns None.
    fn open(&mut self, k: u64) -> Option<Groups> {
        let shard = self.deal.shard(k);
        match self.setup.shards[shard].open(&self.patience) {
            Ok(bytes) => Some(Groups::new(bytes)),
            Err(e) => {
                self.setup.note(shard, &e.to_string());
                self.skip("the shard cannot be opened".into());
                self.next_shard();
                None
            }
        }
    }

    fn next_shard(&mut self) {
        self.state.next = (self.state.next.0 + 1, 0);
        self.barren += usize::from(!std::mem::take(&mut self.fruitful));
    }

    fn skip(&mut self, reason: String) {
        *self.state.skipped.entry(reason).or_default() += 1;
    }

    /// After a restart, fills the buffer again and returns to the position in the current shard. Samples that no longer
    /// exist are left out and counted.
    fn read_again(&mut self) {
        let ids = std::mem::take(&mut self.state.held);
        let (current, place) = self.state.next;
        let shards: BTreeSet<u64> = ids.iter().map(|id| id.0).collect();
        let mut found = BTreeMap::new();
        for &shard in shards.iter().filter(|&&shard| shard != current) {
            let last = ids.iter().filter(|id| id.0 == shard).map(|id| id.1).max();
            let _ = self.pick(shard, last.map_or(0, |last| last + 1), &ids, &mut found);
        }
        if place > 0 {
            self.groups = self.pick(current, place, &ids, &mut found);
            if self.groups.is_none() {
                self.next_shard();
            }
        }
        for id in ids {
            match found.remove(&id) {
                Some(packed) => {
                    self.state.held.push(id);
                    self.held.push(packed);
                }
                None => self.skip("gone since the checkpoint".into()),
            }
        }
        self.fruitful = place > 0;
    }

    /// Reads the first `count` samples of a shard and keeps those among `ids`. Returns the rest of the shard, if it
    /// could be opened.
    fn pick(
        &mut self,
        shard: u64,
        count: u64,
        ids: &[Id],
        found: &mut BTreeMap<Id, Packed>,
    ) -> Option<Groups> {
        let wanted: BTreeSet<Id> = ids.iter().copied().filter(|id| id.0 == shard).collect();
        let (number, filter) = (self.deal.shard(shard), self.setup.config.filter.as_ref());
        let bytes = self.setup.shards[number].open(&self.patience).ok()?;
        let mut groups = Groups::new(bytes);
        for place in 0..count {
            let group = groups.next()?.ok()?;
            if wanted.contains(&(shard, place)) {
                found.extend(judge(group, filter, self.setup.want).map(|p| ((shard, place), p)));
            }
        }
        Some(groups)
    }
}
