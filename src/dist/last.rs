//! The last word of a run that fails: one rank speaks, and names the one that is to blame.

use super::notes::{End, ranks};
use super::world::{Joined, World};
use crate::error::{Error, Fault};
use std::collections::BTreeMap;

const GO_ON: &str = "look at its own log; all other ranks have ended too; go on from the last checkpoint with `--resume auto`";

/// What a rank that fails knows about it.
pub struct LastWord {
    pub error: Error,
    /// Nobody else says it.
    pub aloud: bool,
}

impl World {
    /// Hang up, hear how the other ranks ended, and tell what happened: a failure of this rank's own as it is, the
    /// failure of an exchange as the loss of the ranks that have said nothing.
    ///
    /// It takes a few seconds, for which a rank may be late.
    pub fn last_word(&self, error: &Error) -> LastWord {
        let Some(world) = self.joined() else {
            return LastWord { error: error.clone(), aloud: true };
        };
        world.group.broken.set(true);
        world.group.leave();
        let end = match error {
            Error::Dist(fault) => End::Lost(fault.what.replace('\n', " ")),
            _ => End::Own,
        };
        let Ok(ends) = world.notes.ended(&end) else {
            let first_here = world.launch.local_rank == Some(0) || self.rank() == 1;
            return match end {
                End::Own => LastWord { error: at_place(error.clone(), &self.place()), aloud: true },
                End::Lost(_) => LastWord { error: world.store_gone(error), aloud: first_here },
            };
        };
        let there: Vec<usize> = ends.keys().copied().collect();
        let own = |rank: &&usize| ends.get(rank) == Some(&End::Own);
        let speaker = there.iter().find(own).or(there.first()).copied().unwrap_or(self.rank());
        let everybody =
            there.len() == self.size() && there.iter().filter(own).count() == self.size();
        let error = match end {
            End::Own if everybody => error.clone(),
            End::Own => at_place(error.clone(), &self.place()),
            End::Lost(_) => world.lost(self.size(), error, &ends),
        };
        world.notes.leave(self.rank() == 0 && !world.launch.agent, &there);
        LastWord { error, aloud: speaker == self.rank() }
    }

    fn place(&self) -> String {
        format!("rank {} of {}", self.rank(), self.size())
    }
}

impl Joined {
    /// An exchange failed: the ranks that have not said how they ended are to blame.
    fn lost(&self, size: usize, error: &Error, ends: &BTreeMap<usize, End>) -> Error {
        let silent: Vec<usize> = (0..size).filter(|rank| !ends.contains_key(rank)).collect();
        let Some(first) = silent.first() else {
            let hint = "if a rank is only slow, `dist.timeout_s` gives it longer; go on with `--resume auto`";
            return error.clone().map(|fault| Fault { hint: hint.into(), ..fault });
        };
        let late = |end: &End| match end {
            End::Lost(why) => why.contains("imed out") || why.contains("imeout"),
            End::Own => false,
        };
        let verb = if silent.len() == 1 { "is" } else { "are" };
        let what = match ends.values().any(late) {
            true => format!("{} did not answer for {} s", ranks(&silent), self.timeout.as_secs()),
            false => format!("{} {verb} gone", ranks(&silent)),
        };
        Error::dist(what, format!("rank {first}: {}", self.notes.seen(*first)), GO_ON)
    }

    /// The store cannot be reached any more.
    pub(super) fn store_gone(&self, error: &Error) -> Error {
        let who = if self.launch.agent { "torchrun's agent" } else { "rank 0" };
        let why = error.faults().first().map_or("", |fault| fault.what.as_str());
        let what = format!("{who} is gone, and with it the store that the ranks meet at");
        Error::dist(what, format!("{}:{} ({why})", self.launch.host, self.launch.port), GO_ON)
    }
}

/// The error, with one more place.
pub(super) fn at_place(error: Error, place: &str) -> Error {
    let with = |fault: Fault| match fault.place.is_empty() {
        true => Fault { place: place.into(), ..fault },
        false => Fault { place: format!("{}, {place}", fault.place), ..fault },
    };
    error.map(with)
}
