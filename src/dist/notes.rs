//! Notes that ranks leave for each other in the store: who has arrived, how far they are, how they ended.

use super::engine::{Meeting, Store};
use super::launch::Launch;
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a failing rank waits for the other ranks' notes, so that a rank without a note can be named.
pub const GRACE: Duration = Duration::from_secs(5);

/// Key that exists as soon as any rank has failed.
const FAILED: &str = "failed";

/// The store, and this rank's number.
pub struct Notes {
    pub store: Store,
    pub rank: usize,
    pub size: usize,
}

/// How a rank ended. `marks` are those of its [`Pulse`](super::beat::Pulse).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A failure of its own.
    Own,
    /// Failed while waiting for others. `why` is what it knows of the reason.
    Lost { marks: u64, why: String },
    /// Was in local work when others had failed.
    Busy { marks: u64, what: String },
}

impl End {
    fn to_text(&self) -> String {
        match self {
            Self::Own => "own".into(),
            Self::Lost { marks, why } => format!("lost {marks} {why}"),
            Self::Busy { marks, what } => format!("busy {marks} {what}"),
        }
    }

    fn from_text(text: &str) -> Self {
        let parts = |kind| {
            let (marks, rest) = text.strip_prefix(kind)?.split_once(' ')?;
            Some((marks.parse().ok()?, rest.to_string()))
        };
        let lost = || parts("lost ").map(|(marks, why)| Self::Lost { marks, why });
        let busy = || parts("busy ").map(|(marks, what)| Self::Busy { marks, what });
        lost().or_else(busy).unwrap_or(Self::Own)
    }
}

impl Notes {
    /// Opens a separate connection to the store. With `serve`, this process keeps the store from now on.
    ///
    /// Errors: the store is not reached within `timeout`.
    pub fn open(launch: &Launch, serve: bool, timeout: Duration) -> Result<Self> {
        let Launch { rank, size, .. } = *launch;
        let (host, port, prefix) = (launch.host.as_str(), launch.port, launch.prefix.as_str());
        let store = Store::open(&Meeting { host, port, serve, size, prefix }, timeout)?;
        Ok(Self { store, rank, size })
    }

    /// Waits until all ranks have arrived.
    ///
    /// Errors: some ranks did not arrive within `timeout`; they are named.
    pub fn meet(&self, keeps_store: bool, timeout: Duration) -> Result<()> {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let me = format!("process {} on {}", std::process::id(), host.trim());
        self.store.set(&format!("here/{}", self.rank), &me)?;
        let missing = self.wait("here", &(0..self.size).collect::<Vec<_>>(), timeout)?;
        if missing.is_empty() {
            return Ok(());
        }
        let there: Vec<usize> = (0..self.size).filter(|rank| !missing.contains(rank)).collect();
        self.leave(keeps_store, &there);
        let what = format!(
            "{} of {} did not come within {} s",
            ranks(&missing),
            self.size,
            timeout.as_secs_f64()
        );
        let hint = "start them all; look at their own messages; `dist.timeout_s` sets the wait";
        Err(Error::dist(what, "", hint))
    }

    /// Waits for notes of one kind from the ranks `whom`. Returns those still missing after `timeout`.
    fn wait(&self, kind: &str, whom: &[usize], timeout: Duration) -> Result<Vec<usize>> {
        let (start, mut missing) = (Instant::now(), whom.to_vec());
        loop {
            let mut still = Vec::new();
            for rank in missing {
                if self.store.get(&format!("{kind}/{rank}"))?.is_none() {
                    still.push(rank);
                }
            }
            if still.is_empty() || start.elapsed() >= timeout {
                return Ok(still);
            }
            missing = still;
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Records how far this rank is.
    pub fn at_step(&self, step: u64) -> Result<()> {
        self.store.set(&format!("at/{}", self.rank), &step.to_string())
    }

    /// Shows that this process runs, by a number that grows.
    pub fn runs(&self, beats: u64) -> Result<()> {
        self.store.set(&format!("runs/{}", self.rank), &beats.to_string())
    }

    /// What the other ranks have shown last, in the order of ranks; of this one nothing.
    pub fn running(&self) -> Result<Vec<Option<String>>> {
        let shown = |rank| match rank == self.rank {
            true => Ok(None),
            false => self.store.get(&format!("runs/{rank}")),
        };
        (0..self.size).map(shown).collect()
    }

    /// Where and at which step a rank was last seen.
    pub fn seen(&self, rank: usize) -> String {
        let note = |kind: &str| self.store.get(&format!("{kind}/{rank}")).ok().flatten();
        let place = note("here").unwrap_or_else(|| "never seen".into());
        note("at").map_or(place.clone(), |step| format!("{place}, last seen at step {step}"))
    }

    /// Whether any rank has recorded how it ended.
    pub fn somebody_failed(&self) -> Result<bool> {
        self.store.get(FAILED).map(|note| note.is_some())
    }

    /// Records how this rank ended and reads how the others ended. The answer leaves out ranks without a note in time.
    ///
    /// Errors: the store is gone, and with it the process that keeps it.
    pub fn ended(&self, how: &End) -> Result<BTreeMap<usize, End>> {
        self.store.set(&format!("end/{}", self.rank), &how.to_text())?;
        self.store.set(FAILED, "")?;
        self.wait("end", &(0..self.size).collect::<Vec<_>>(), GRACE)?;
        let mut all = BTreeMap::new();
        for rank in 0..self.size {
            if let Some(text) = self.store.get(&format!("end/{rank}"))? {
                all.insert(rank, End::from_text(&text));
            }
        }
        Ok(all)
    }

    /// Records that this rank is done. The rank that keeps the store waits until `others` are done too.
    pub fn leave(&self, keeps_store: bool, others: &[usize]) {
        let said = self.store.set(&format!("left/{}", self.rank), "");
        if said.is_ok() && keeps_store {
            let _ = self.wait("left", others, GRACE);
        }
    }
}

/// A list of ranks for messages: `rank 3`, `ranks 3 and 5`, `ranks 1, 2 and 40 more`.
pub fn ranks(all: &[usize]) -> String {
    let text = |some: &[usize]| some.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    match all {
        [one] => format!("rank {one}"),
        [some @ .., last] if all.len() <= 8 => format!("ranks {} and {last}", text(some)),
        _ => format!(
            "ranks {} and {} more",
            text(&all[..all.len().min(6)]),
            all.len().saturating_sub(6)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_listed_until_they_are_too_many() {
        assert_eq!(ranks(&[3]), "rank 3");
        assert_eq!(ranks(&[0, 3, 5]), "ranks 0, 3 and 5");
        assert_eq!(ranks(&(0..20).collect::<Vec<_>>()), "ranks 0, 1, 2, 3, 4, 5 and 14 more");
    }

    #[test]
    fn an_end_is_read_as_it_was_written() {
        let lost = End::Lost { marks: 31, why: "Connection closed".into() };
        for end in [End::Own, lost, End::Busy { marks: 0, what: "waiting for data".into() }] {
            assert_eq!(End::from_text(&end.to_text()), end);
        }
    }
}
