//! State of a rank's main thread, shared with its watchdog thread.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The state of a rank at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Pulse {
    /// Updates done. None before the first update.
    pub step: Option<u64>,
    /// Number of exchange begins and ends so far. All ranks run the same exchanges in the same order, so the rank that
    /// the others wait for has the fewest.
    pub marks: u64,
    /// Name of the local work in progress, during which the rank waits for nobody. None: it computes and exchanges with
    /// the others.
    pub local_work: Option<&'static str>,
    /// Time of the last mark, or when the local work began.
    pub since: Instant,
    /// The run has ended, or a thread has begun to report a failure.
    pub over: bool,
}

/// The pulse, shared by both threads.
pub struct Beat(Mutex<Pulse>);

impl Beat {
    /// The beat of a rank that begins with local work.
    pub fn new(what: &'static str) -> Self {
        let (step, marks, since, over) = (None, 0, Instant::now(), false);
        Self(Mutex::new(Pulse { step, marks, local_work: Some(what), since, over }))
    }

    fn lock(&self) -> MutexGuard<'_, Pulse> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current pulse.
    pub fn now(&self) -> Pulse {
        *self.lock()
    }

    /// Records the number of updates done.
    pub fn at_step(&self, step: u64) {
        self.lock().step = Some(step);
    }

    /// Records that an exchange begins or ends. The rank is in common work from now on.
    pub fn mark(&self) {
        let mut pulse = self.lock();
        pulse.marks += 1;
        (pulse.local_work, pulse.since) = (None, Instant::now());
    }

    /// Records that local work begins.
    pub fn local_work(&self, what: &'static str) {
        let mut pulse = self.lock();
        (pulse.local_work, pulse.since) = (Some(what), Instant::now());
    }

    /// Ends the watch. Returns false if it had already ended.
    pub fn end(&self) -> bool {
        self.end_for(|_| Some(())).is_some()
    }

    /// Ends the watch if `reason` gives a reason for the current pulse. Only the first caller succeeds.
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
