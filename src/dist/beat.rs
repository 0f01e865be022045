//! What the main thread of a rank is at, for the thread that watches it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A rank at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Pulse {
    /// Updates done, once there is something to update.
    pub step: Option<u64>,
    /// Begins and ends of exchanges so far. All ranks have the same ones in the same order, so the one that others wait
    /// for has the fewest.
    pub marks: u64,
    /// Its own work, for which it waits for nobody; None: it computes and exchanges with the others.
    pub local_work: Option<&'static str>,
    /// The last mark, or the begin of its own work.
    pub since: Instant,
    /// The run has ended, or somebody has begun to say why it fails.
    pub over: bool,
}

/// Shared by both threads.
pub struct Beat(Mutex<Pulse>);

impl Beat {
    /// A rank that is at work of its own.
    pub fn new(what: &'static str) -> Self {
        let (step, marks, since, over) = (None, 0, Instant::now(), false);
        Self(Mutex::new(Pulse { step, marks, local_work: Some(what), since, over }))
    }

    fn lock(&self) -> MutexGuard<'_, Pulse> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now(&self) -> Pulse {
        *self.lock()
    }

    pub fn at_step(&self, step: u64) {
        self.lock().step = Some(step);
    }

    /// An exchange begins or ends: from now on the rank is at what all have in common.
    pub fn mark(&self) {
        let mut pulse = self.lock();
        pulse.marks += 1;
        (pulse.local_work, pulse.since) = (None, Instant::now());
    }

    /// Work of its own begins.
    pub fn local_work(&self, what: &'static str) {
        let mut pulse = self.lock();
        (pulse.local_work, pulse.since) = (Some(what), Instant::now());
    }

    /// Nothing is watched any more; false if that was so before.
    pub fn end(&self) -> bool {
        self.end_for(|_| Some(())).is_some()
    }

    /// The same for a reason that the rank's state gives, if it does; only the first one ends it.
    pub fn end_for<T>(&self, reason: impl FnOnce(&Pulse) -> Option<T>) -> Option<(Pulse, T)> {
        let mut pulse = self.lock();
        let reason = if pulse.over { None } else { reason(&pulse) };
        pulse.over |= reason.is_some();
        reason.map(|reason| (*pulse, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_once() {
        let beat = Beat::new("getting ready");
        assert_eq!(beat.now().local_work, Some("getting ready"));
        beat.mark();
        assert!(beat.end_for(|pulse| pulse.local_work).is_none() && !beat.now().over);
        let (pulse, marks) = beat.end_for(|pulse| Some(pulse.marks)).expect("the first");
        assert!(pulse.over && marks == 1);
        assert!(!beat.end() && beat.end_for(|_| Some(())).is_none());
    }
}
