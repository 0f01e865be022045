//! The final error report of a run that fails. One rank prints it and names the rank that caused the failure.

use super::launch::Launch;
use super::notes::{End, GRACE, Notes, ranks};
use crate::error::{Error, Fault, Result};
use std::collections::BTreeMap;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc::channel;
use std::time::Duration;

const GO_ON: &str = "look at its own log; all other ranks have ended too; go on from the last checkpoint with `--resume auto`";

/// The reason a watchdog gives if all it knows is that another rank has failed.
pub const ELSEWHERE: &str = "another rank has ended";

/// What a failing rank knows about the failure.
#[derive(Debug)]
pub struct LastWord {
    pub error: Error,
    /// Whether this rank prints the error.
    pub aloud: bool,
    /// Whether a signal asked this process to end, and no rank has failed.
    pub asked: bool,
}

/// Time limit for talking to a store that answers: to reach it, to read the other ranks' notes, and to let them read.
const TALK: Duration = Duration::from_secs(3 * GRACE.as_secs());

/// Reports for a rank, from its main thread or its watchdog thread.
#[derive(Clone)]
pub struct Speaker {
    pub launch: Launch,
    pub timeout: Duration,
}

impl Speaker {
    /// Publishes how this rank ended, reads how the others ended, and combines both into the final report. Takes at
    /// most `TALK`, even if the store hangs.
    pub fn say(&self, end: &End, error: &Error) -> LastWord {
        let (own, own_end, own_error) = (self.clone(), end.clone(), error.clone());
        let (sender, receiver) = channel();
        std::thread::spawn(move || sender.send(own.talk(&own_end, &own_error)));
        match (receiver.recv_timeout(TALK), end) {
            (Ok(Ok(word)), _) => word,
            (_, End::Own) => LastWord { error: self.at_place(error), aloud: true, asked: false },
            (heard, _) => {
                let first_here = self.launch.local_rank == Some(0) || self.launch.rank == 1;
                LastWord {
                    error: self.storeless(error, heard.is_err()),
                    aloud: first_here,
                    asked: false,
                }
            }
        }
    }

    /// The report of a rank that was asked to end while others do not answer. It talks to nobody.
    pub fn say_stopped(&self, why: &str) -> LastWord {
        let what = format!("stopped without a checkpoint, because {why}");
        let hint = "go on from the last checkpoint with `--resume auto`";
        let error = self.at_place(&Error::dist(what, "", hint));
        LastWord { error, aloud: true, asked: true }
    }

    /// Exchanges reports with the other ranks.
    ///
    /// Errors: the store is gone.
    fn talk(&self, end: &End, error: &Error) -> Result<LastWord> {
        let (rank, size) = (self.launch.rank, self.launch.size);
        self.reach()?;
        let notes = Notes::open(&self.launch, false, GRACE)?;
        let ends = notes.ended(end)?;
        let own = ends.values().filter(|end| **end == End::Own).count();
        let error = match end {
            End::Own if own == size => error.clone(),
            End::Own => self.at_place(error),
            _ => self.lost(error, &ends, &notes),
        };
        let there: Vec<usize> = ends.keys().copied().collect();
        notes.leave(rank == 0 && !self.launch.agent, &there);
        Ok(LastWord { error, aloud: speaker(&ends) == Some(rank), asked: false })
    }

    /// Checks that the store can be reached. C10d would retry many times and print each failure.
    ///
    /// Errors: nothing listens at the store's address.
    fn reach(&self) -> Result<()> {
        let gone = |e: io::Error| Error::dist(e.to_string(), "", "");
        std::thread::sleep(Duration::from_millis(300)); // a killed process closes its sockets one after another
        let all = (self.launch.host.as_str(), self.launch.port).to_socket_addrs().map_err(gone)?;
        let mut last = io::ErrorKind::NotFound.into();
        for address in all {
            match TcpStream::connect_timeout(&address, GRACE) {
                Ok(_) => return Ok(()),
                Err(e) => last = e,
            }
        }
        Err(gone(last))
    }

    /// The error if other ranks caused the failure. They are identified by the notes that exist and those that are
    /// missing.
    fn lost(&self, error: &Error, ends: &BTreeMap<usize, End>, notes: &Notes) -> Error {
        let late = ends.values().any(is_late);
        let blamed = blamed(self.launch.size, ends, late);
        let Some(first) = blamed.first() else {
            let hint = match late {
                true => {
                    "if a rank is only slow, `dist.timeout_s` gives it longer; go on with `--resume auto`"
                }
                false => GO_ON,
            };
            let Some((rank, why)) = telling(ends).filter(|_| !late) else {
                return error.clone().map(|fault| Fault { hint: hint.into(), ..fault });
            };
            return Error::dist(why, format!("rank {rank}: {}", notes.seen(rank)), hint);
        };
        let verb = if blamed.len() == 1 { "is" } else { "are" };
        let what = match late {
            true => format!("{} did not answer for {} s", ranks(&blamed), self.timeout.as_secs()),
            false => format!("{} {verb} gone", ranks(&blamed)),
        };
        let busy = match ends.get(first) {
            Some(End::Busy { what, .. }) => format!(", {what}"),
            _ => String::new(),
        };
        Error::dist(what, format!("rank {first}: {}{busy}", notes.seen(*first)), GO_ON)
    }

    /// The error if the store is gone or does not answer.
    fn storeless(&self, error: &Error, hangs: bool) -> Error {
        let Launch { host, port, agent, .. } = &self.launch;
        let who = if *agent { "torchrun's agent" } else { "rank 0" };
        let why = error.faults().first().map_or("", |fault| fault.what.as_str());
        let what = match hangs {
            true => format!("{who} does not answer, nor does the store that the ranks meet at"),
            false => format!("{who} is gone, and with it the store that the ranks meet at"),
        };
        Error::dist(what, format!("{host}:{port} ({why})"), GO_ON)
    }

    fn at_place(&self, error: &Error) -> Error {
        let Launch { rank, size, .. } = self.launch;
        at_place(error.clone(), &format!("rank {rank} of {size}"))
    }
}

fn is_late(end: &End) -> bool {
    matches!(end, End::Lost { why, .. } if why.contains("imed out") || why.contains("imeout"))
}

/// The rank that prints the error: the lowest rank that failed by itself, else the lowest rank that was waiting.
fn speaker(ends: &BTreeMap<usize, End>) -> Option<usize> {
    let first =
        |kind: fn(&End) -> bool| ends.iter().find_map(|(rank, end)| kind(end).then_some(*rank));
    first(|end| *end == End::Own).or_else(|| first(|end| matches!(end, End::Lost { .. })))
}

/// The first rank that knows more than that another rank has ended, and what it knows.
fn telling(ends: &BTreeMap<usize, End>) -> Option<(usize, &str)> {
    ends.iter().find_map(|(rank, end)| match end {
        End::Lost { why, .. } if why != ELSEWHERE => Some((*rank, why.as_str())),
        _ => None,
    })
}

/// The ranks that caused the failure: those without a note. If the others timed out, also those still in local work
/// before the exchange that the others have begun. If there are neither, the rank that is behind all others.
fn blamed(size: usize, ends: &BTreeMap<usize, End>, late: bool) -> Vec<usize> {
    let marks = |end: &End| match end {
        End::Own => None,
        End::Lost { marks, .. } | End::Busy { marks, .. } => Some(*marks),
    };
    let all = || ends.values().filter_map(marks);
    let (least, most) = (all().min().unwrap_or(0), all().max().unwrap_or(0));
    let is_busy = |end: &End| matches!(end, End::Busy { marks, .. } if *marks < most);
    let silent_or_busy = |rank: &usize| ends.get(rank).is_none_or(|end| late && is_busy(end));
    let found: Vec<usize> = (0..size).filter(silent_or_busy).collect();
    if !found.is_empty() || !late || least == most {
        return found;
    }
    let last = |(rank, end): (&usize, &End)| (marks(end) == Some(least)).then_some(*rank);
    ends.iter().filter_map(last).collect()
}

/// The error with `place` added.
pub fn at_place(error: Error, place: &str) -> Error {
    let with = |fault: Fault| match fault.place.is_empty() {
        true => Fault { place: place.into(), ..fault },
        false => Fault { place: format!("{}, {place}", fault.place), ..fault },
    };
    error.map(with)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(marks: u64, why: &str) -> End {
        End::Lost { marks, why: why.into() }
    }

    fn busy(marks: u64) -> End {
        End::Busy { marks, what: "waiting for data".into() }
    }

    #[test]
    fn whoever_is_waited_for_is_to_blame() {
        let named = |ends: &[(usize, End)]| {
            let ends: BTreeMap<usize, End> = ends.iter().cloned().collect();
            (blamed(4, &ends, ends.values().any(is_late)), speaker(&ends))
        };
        let (late, cut) = (lost(9, "timed out"), lost(9, "Connection closed"));
        // one has no note
        let others = |end: &End| [(0, end.clone()), (2, end.clone()), (3, end.clone())];
        assert_eq!(named(&others(&late)), (vec![1], Some(0)));
        assert_eq!(named(&others(&cut)), (vec![1], Some(0)));
        // one is in local work: before the exchange that the others wait in, or after it by coincidence
        let with =
            |end: &End, one: End| [(0, one), (1, end.clone()), (2, end.clone()), (3, end.clone())];
        assert_eq!(named(&with(&late, busy(8))), (vec![0], Some(1)));
        assert_eq!(named(&with(&cut, busy(8))), (vec![], Some(1)));
        assert_eq!(
            named(&[(0, busy(9)), (1, late.clone()), (3, late.clone())]),
            (vec![2], Some(1))
        );
        assert_eq!(named(&[(0, busy(8)), (1, late.clone())]), (vec![0, 2, 3], Some(1)));
        // one is behind the others, but all have notes
        assert_eq!(named(&with(&late, lost(8, "timed out"))), (vec![0], Some(0)));
        assert_eq!(named(&with(&cut, lost(8, "reset"))), (vec![], Some(0)));
        assert_eq!(named(&with(&late, late.clone())), (vec![], Some(0)));
        // no rank is to blame, but one knows more than the others
        let ends = [(0, lost(9, ELSEWHERE)), (1, lost(9, "NCCL error"))].into_iter().collect();
        assert_eq!(telling(&ends), Some((1, "NCCL error")));
        // one failed by itself
        assert_eq!(named(&[(0, cut.clone()), (1, cut), (2, End::Own)]), (vec![3], Some(2)));
    }
}
