//! One lane: its shards in order, judged, through a shuffle buffer of its own. What it gives does not depend on ranks,
//! threads or other lanes.
//!
//! Each time before a sample is drawn, up to two more are taken into the buffer, until it holds `shuffle`; so the first
//! sample comes soon, and the buffer is full after `shuffle` samples. Then one of those held is drawn, its place filled
//! by the last one. In epochs the buffer is emptied before the next epoch begins.
//!
//! Going on: the state names the next sample to be read and those held, by shard (counted along the lane) and place in
//! it, and counts the draws. The shards of those held are read again up to the last of them, the current one up to
//! where it was; no others. Draws are functions of their number, so the lane goes on exactly.

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
use crate::data::members::Cut;

/// A sample's shard, counted along the lane, and its place in the shard.
pub type Id = (u64, u64);

/// How far a lane has come, between two samples.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaneState {
    pub lane: usize,
    /// The next sample to be read.
    pub next: Id,
    /// Samples drawn from the buffer, those that could not be decoded too.
    pub draws: u64,
    /// Samples given.
    pub given: u64,
    /// What the buffer holds, in order.
    pub held: Vec<Id>,
    /// Samples and shards left out, by reason.
    pub skipped: Counts,
}

/// A lane of several may miss the only shard that holds anything once or twice, but not so often.
const PASSES: usize = 10;

/// A lane has nothing more to give.
#[derive(Debug)]
pub enum Stuck {
    /// `PASSES` times as many shards as there are passed without a sample that is wanted.
    Barren(Counts),
    /// Nothing came in the time that is allowed.
    Idle(Counts),
    /// Nobody wants any more.
    Unwanted,
}

pub struct Lane {
    setup: Arc<Setup>,
    patience: Patience,
    deal: Deal,
    state: LaneState,
    /// The samples of `state.held`.
    held: Vec<Packed>,
    /// The shard in hand.
    groups: Option<Groups>,
    /// Shards in a row that ended without a sample that is wanted.
    barren: usize,
    fruitful: bool,
    /// When the last sample was asked for.
    asked: Instant,
}

impl Lane {
    /// At its beginning, or where `state` was taken.
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

    /// The next sample, with the state behind it.
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

    /// Draw one of those held; none if it cannot be decoded.
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

    /// Read until one more sample is held; false where the next one is of another epoch than those held.
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
        // a little before the other side gives up, which knows less
        let limit = Duration::from_secs_f64(self.setup.config.max_idle_s * 0.9);
        match self.asked.elapsed() > limit {
            true => Err(Stuck::Idle(self.state.skipped.clone())),
            false => Ok(()),
        }
    }

    /// The next sample; none if it is not wanted, or there was the end of a shard.
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
            Some(Err(Cut(why))) => {
                let shard = self.deal.shard(self.state.next.0);
                self.setup.note(shard, &why);
                self.skip("the shard ends early".into());
                self.next_shard();
            }
            None => self.next_shard(),
        }
        None
    }

    /// The lane's `k`-th shard; none, and on to the next one, if it cannot be opened.
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

    /// Fill the buffer again after a restart, and go to where the current shard was. What is not there any more is left
    /// out and counted.
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

    /// Read the first `count` samples of a shard and keep those among `ids`; the rest of the shard, if it is there.
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
