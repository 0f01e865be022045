//! Reads every shard once, each independently and in its own order, for work done before training.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SendError, SyncSender, sync_channel};
use std::time::Duration;

use super::sample::{Packed, Reason, judge};
use super::source::Patience;
use super::wait::{StopAsked, Waited, broken, stopped, wait};
use super::{Counts, Setup, ShardSample, StreamConfig, Want};
use crate::Result;
use crate::data::groups::{Groups, MemberGroup};
use crate::data::members::Cut;

/// Number of samples decoded at once.
const BATCH: usize = 64;

/// Reads each shard of a stream once.
pub struct Once {
    setup: Arc<Setup>,
    patience: Patience,
    asked: StopAsked,
    /// Samples and shards left out so far.
    pub skipped: Counts,
}

impl Once {
    /// Opens the stream.
    ///
    /// Errors: as `Stream::open`.
    pub fn open(config: &StreamConfig, seed: u64, size: i64) -> Result<Self> {
        let setup = Arc::new(Setup::new(config, seed, size, Want::Pictures)?);
        Ok(Self { patience: setup.patience(), setup, asked: None, skipped: Counts::new() })
    }

    /// Makes a wait for samples end with the error [`stopped`] once `asked` says so.
    pub fn until(&mut self, asked: StopAsked) {
        self.asked = asked;
    }

    /// Number of shards.
    pub fn shards(&self) -> usize {
        self.setup.shards.len()
    }

    /// Reads one shard and passes its samples to `each` in order, in small batches. Returns false if the shard could
    /// not be opened or ended early.
    ///
    /// Errors: those of `each`; a request to stop.
    pub fn shard(
        &mut self,
        number: usize,
        mut each: impl FnMut(Vec<ShardSample>) -> Result<()>,
    ) -> Result<bool> {
        let (setup, parts) = (self.setup.clone(), self.read(number));
        let (mut place, mut whole, mut pending) = (0, true, Vec::new());
        loop {
            let part = match wait(&parts, Duration::MAX, self.asked) {
                Waited::Got(part) => part,
                Waited::Stopped => return Err(stopped()),
                Waited::Late | Waited::Broken => return Err(broken()),
            };
            let over = matches!(part, ShardPart::End);
            match part {
                ShardPart::Group(Ok(group)) => {
                    match judge(group, setup.config.filter.as_ref(), setup.want) {
                        Ok(packed) => pending.push((place, packed)),
                        Err(reason) => self.skip(reason),
                    }
                }
                ShardPart::Group(Err(cut)) => {
                    self.skip(cut.reason);
                    whole = false;
                }
                ShardPart::Unopened => {
                    self.skip("the shard cannot be opened".into());
                    return Ok(false);
                }
                ShardPart::End => {}
            }
            place += 1;
            if pending.len() == BATCH || (over && !pending.is_empty()) {
                each(self.unpack(number, std::mem::take(&mut pending))?)?;
            }
            if over {
                return Ok(whole);
            }
        }
    }

    /// Starts a thread that reads a shard. So the wait for a slow source can be ended.
    fn read(&self, number: usize) -> Receiver<ShardPart> {
        let (sender, parts) = sync_channel(BATCH);
        let (setup, patience) = (self.setup.clone(), self.patience.clone());
        std::thread::spawn(move || walk(&setup, number, &patience, &sender));
        parts
    }

    /// Decodes in threads. The order is kept.
    fn unpack(&mut self, shard: usize, packed: Vec<(u64, Packed)>) -> Result<Vec<ShardSample>> {
        let share = packed.len().div_ceil(self.setup.config.threads.max(1));
        let (mut rest, mut parts) = (packed.into_iter().peekable(), Vec::new());
        while rest.peek().is_some() {
            parts.push(rest.by_ref().take(share).collect::<Vec<_>>());
        }
        let setup = &self.setup;
        let decode = move |part: Vec<(u64, Packed)>| -> Vec<_> {
            part.into_iter().map(|(place, packed)| setup.unpack(shard, place, packed)).collect()
        };
        let decoded: Option<Vec<Vec<std::result::Result<ShardSample, Reason>>>> =
            std::thread::scope(|scope| {
                let work: Vec<_> =
                    parts.into_iter().map(|part| scope.spawn(move || decode(part))).collect();
                work.into_iter().map(|part| part.join().ok()).collect()
            });
        let decoded = decoded.ok_or_else(broken)?;
        let mut samples = Vec::new();
        for one in decoded.into_iter().flatten() {
            match one {
                Ok(sample) => samples.push(sample),
                Err(reason) => self.skip(reason),
            }
        }
        Ok(samples)
    }

    fn skip(&mut self, reason: Reason) {
        *self.skipped.entry(reason).or_default() += 1;
    }
}

/// What the reading thread sends.
enum ShardPart {
    /// The shard cannot be opened. Nothing follows.
    Unopened,
    Group(std::result::Result<MemberGroup, Cut>),
    /// All of it was sent.
    End,
}

/// The reading thread: one shard, until nobody wants more.
fn walk(
    setup: &Setup,
    number: usize,
    patience: &Patience,
    sender: &SyncSender<ShardPart>,
) -> std::result::Result<(), SendError<ShardPart>> {
    let Ok(bytes) = setup.shards[number].open(patience) else {
        return sender.send(ShardPart::Unopened);
    };
    for group in Groups::new(bytes) {
        sender.send(ShardPart::Group(group))?;
    }
    sender.send(ShardPart::End)
}

impl Drop for Once {
    fn drop(&mut self) {
        self.patience.stop.store(true, Ordering::Relaxed);
    }
}
