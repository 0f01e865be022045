//! The watchdog of a rank's main thread. It ends the process if the main thread waits for others without success.
//!
//! The main thread may be stuck inside libtorch forever: a call over NCCL only starts an exchange, and reading its
//! result waits on the GPU without a time limit. So nothing here depends on the main thread. One thread checks the
//! clock and never blocks. Another reads the store over its own connection, and may get stuck there.

use super::beat::{Beat, Pulse};
use super::engine::{about_to_end, hear_of_the_end};
use super::last::{ELSEWHERE, LastWord, Speaker};
use super::notes::{End, Notes};
use crate::error::{Error, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two checks of the clock.
const TICK: Duration = Duration::from_millis(100);
/// Time between two reads of the store.
const POLL: Duration = Duration::from_millis(500);
/// After another rank has failed: time for the main thread to notice by itself, since it can report more details.
const MOMENT: Duration = Duration::from_secs(2);
/// Time without a store after which the watchdog ends the rank. It is this long because, at the end of a run, ranks do
/// not all end at the same time.
const STORELESS: Duration = Duration::from_secs(30);
/// After a request to stop: time without a sign of another rank, or of the store, after which this rank does not wait for
/// it. Signs come every `POLL`.
const SILENCE: Duration = Duration::from_millis(1500);

/// What the store has reported.
#[derive(Clone, Copy, Default)]
struct News {
    /// When another rank was first seen to have failed.
    failed: Option<Instant>,
    /// When the store stopped answering.
    storeless: Option<Instant>,
    /// When the store answered last.
    heard: Option<Instant>,
    /// A rank that has shown no sign for `SILENCE`. Looked for only after a request to stop.
    silent: Option<usize>,
}

/// Why a rank ends.
#[derive(Debug, PartialEq, Eq)]
enum Reason {
    /// Something has failed.
    Failure(String),
    /// A request to stop, which cannot be met with the others.
    Stopped(String),
}

/// Both watchdog threads of a rank. They end when this is dropped.
pub struct PeerWatch {
    beat: Arc<Beat>,
    clock: Option<JoinHandle<()>>,
    ear: JoinHandle<()>,
}

impl PeerWatch {
    /// Starts the threads. `notes` is a separate connection. `asked`: whether the process is asked to stop. `end` prints
    /// the final report and ends the process.
    pub fn start(
        beat: &Arc<Beat>,
        speaker: Speaker,
        notes: Notes,
        asked: fn() -> bool,
        end: impl FnOnce(LastWord) + Send + 'static,
    ) -> Self {
        hear_of_the_end();
        let news = Arc::new(Mutex::new(News::default()));
        let (listening, heard) = (beat.clone(), news.clone());
        let ear = std::thread::spawn(move || listen(&listening, &notes, &heard, asked));
        let watched = beat.clone();
        let clock =
            std::thread::spawn(move || match look(&watched, &news, speaker.timeout, asked) {
                None => {}
                Some((_, Reason::Stopped(why))) => end(speaker.say_stopped(&why)),
                Some((pulse, Reason::Failure(why))) => {
                    end(speaker.say(&last(&pulse, &why), &Error::dist(why, "", "")));
                }
            });
        Self { beat: beat.clone(), clock: Some(clock), ear }
    }
}

impl Drop for PeerWatch {
    /// If the clock thread has begun its report, waits until it has ended the process.
    fn drop(&mut self) {
        self.beat.end();
        if let Some(clock) = self.clock.take() {
            clock.thread().unpark();
            let _ = clock.join();
        }
        self.ear.thread().unpark();
        let start = Instant::now();
        while !self.ear.is_finished() && start.elapsed() < Duration::from_secs(1) {
            std::thread::sleep(Duration::from_millis(1)); // it may be stuck with a store that hangs
        }
    }
}

fn lock(news: &Mutex<News>) -> MutexGuard<'_, News> {
    news.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Publishes this rank's step and that it runs, and checks whether another rank has failed, until the watch ends. After a
/// request to stop it also looks for ranks that do not run.
fn listen(beat: &Beat, notes: &Notes, news: &Mutex<News>, asked: fn() -> bool) {
    let (mut published, mut beats, mut signs) = (None, 0, Signs::default());
    let mut talk = |pulse: Pulse| -> Result<bool> {
        if let Some(step) = pulse.step.filter(|_| pulse.step != published) {
            notes.at_step(step)?;
            published = pulse.step;
        }
        beats += 1;
        notes.runs(beats)?;
        if asked() {
            lock(news).silent = signs.silent(notes.running()?, Instant::now());
        }
        let failed = notes.somebody_failed()?;
        lock(news).heard = Some(Instant::now());
        Ok(failed)
    };
    loop {
        let pulse = beat.now();
        if pulse.over {
            return;
        }
        match talk(pulse) {
            Ok(false) => std::thread::park_timeout(POLL),
            Ok(true) => return lock(news).failed = Some(Instant::now()),
            Err(_) => return lock(news).storeless = Some(Instant::now()),
        }
    }
}

/// The signs of the other ranks: what each showed last, and since when.
#[derive(Default)]
struct Signs(Vec<(Option<String>, Instant)>);

impl Signs {
    /// The first rank that has shown the same for `SILENCE`. A rank that has shown nothing yet is not silent.
    fn silent(&mut self, shown: Vec<Option<String>>, now: Instant) -> Option<usize> {
        let known = std::mem::take(&mut self.0);
        self.0 = shown.into_iter().map(|sign| (sign, now)).collect();
        for (new, old) in self.0.iter_mut().zip(known) {
            if new.0 == old.0 {
                new.1 = old.1;
            }
        }
        let quiet = |since: Instant| now.saturating_duration_since(since) >= SILENCE;
        self.0.iter().position(|(sign, since)| sign.is_some() && quiet(*since))
    }
}

/// Checks the clock until there is a reason to end this rank, or the run is over.
fn look(
    beat: &Beat,
    news: &Mutex<News>,
    timeout: Duration,
    asked: fn() -> bool,
) -> Option<(Pulse, Reason)> {
    let mut still = Still::new(&beat.now(), Instant::now());
    let mut since = None;
    while !beat.now().over {
        let (news, now) = (*lock(news), Instant::now());
        since = since.or(asked().then_some(now));
        let found = beat.end_for(|pulse| {
            let still = still.look(pulse, now);
            let failure = about_to_end()
                .map(String::from)
                .or_else(|| reason(pulse, &news, still, timeout, now))
                .map(Reason::Failure);
            let waited = since.map(|since| now.saturating_duration_since(since).min(still));
            let stopped = || alone(pulse, &news, waited?, now).map(Reason::Stopped);
            failure.or_else(stopped)
        });
        if found.is_some() {
            return found;
        }
        std::thread::park_timeout(TICK);
    }
    None
}

/// Measures how long a rank has made no progress. Time in which the whole process is suspended does not count.
struct Still {
    since: Instant,
    looked: Instant,
    time: Duration,
}

impl Still {
    fn new(pulse: &Pulse, now: Instant) -> Self {
        Self { since: pulse.since, looked: now, time: Duration::ZERO }
    }

    /// The time without progress, up to this check.
    fn look(&mut self, pulse: &Pulse, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.looked).min(10 * TICK);
        self.time = if pulse.since == self.since { self.time + passed } else { Duration::ZERO };
        (self.since, self.looked) = (pulse.since, now);
        self.time
    }
}

/// Why a rank must end, if it must: another rank has failed, or an exchange has made no progress for `timeout`. A rank
/// in local work waits for nobody; the ranks that wait for it report the timeout.
fn reason(
    pulse: &Pulse,
    news: &News,
    still: Duration,
    timeout: Duration,
    now: Instant,
) -> Option<String> {
    let past = |since: Instant, limit| now.saturating_duration_since(since) >= limit;
    if news.failed.is_some_and(|since| past(since, MOMENT)) {
        return Some(ELSEWHERE.into());
    }
    if pulse.local_work.is_some() {
        return None;
    }
    if still >= timeout {
        return Some(format!("timed out: no exchange has ended for {} s", timeout.as_secs()));
    }
    let storeless = news.storeless.is_some_and(|since| past(since, STORELESS));
    (storeless && still >= STORELESS).then(|| "no answer".into())
}

/// Why a rank that was asked to stop, and has waited in an exchange for `waited` since, need not wait longer: it would wait
/// for a process that does not run.
fn alone(pulse: &Pulse, news: &News, waited: Duration, now: Instant) -> Option<String> {
    if pulse.local_work.is_some() || waited < SILENCE {
        return None;
    }
    let heard = news.heard.is_none_or(|at| now.saturating_duration_since(at) < SILENCE);
    let store = || "the store that the ranks meet at does not answer".to_string();
    let rank = || Some(format!("rank {} does not answer", news.silent?));
    if heard { rank() } else { Some(store()) }
}

/// Exit report written by the watchdog when the main thread is stuck. A CUDA error is the rank's own failure.
fn last(pulse: &Pulse, why: &str) -> End {
    match pulse.local_work {
        _ if why.contains("CUDA error") => End::Own,
        Some(what) => End::Busy { marks: pulse.marks, what: what.into() },
        None => End::Lost { marks: pulse.marks, why: why.into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_standing_still_together_counts() {
        let (start, timeout) = (Instant::now(), Duration::from_secs(100));
        let after = |seconds| start + Duration::from_secs(seconds);
        let together =
            Pulse { step: Some(3), marks: 7, local_work: None, since: start, over: false };
        let busy = Pulse { local_work: Some("waiting for data"), ..together };
        let why = |pulse: &Pulse, news: &News, still, at| {
            reason(pulse, news, Duration::from_secs(still), timeout, after(at))
        };
        let quiet = News::default();
        assert_eq!(why(&together, &quiet, 99, 9_999), None);
        let late = why(&together, &quiet, 100, 9_999).expect("a reason");
        assert_eq!(late, "timed out: no exchange has ended for 100 s");
        assert_eq!(why(&busy, &quiet, 9_999, 9_999), None);
        // another rank has failed: the main thread gets a moment to report it itself
        let failed = News { failed: Some(after(60)), ..quiet };
        for pulse in [together, busy] {
            assert_eq!(why(&pulse, &failed, 0, 61), None);
            assert!(why(&pulse, &failed, 0, 62).is_some());
        }
        // the store is gone
        let storeless = News { storeless: Some(after(10)), ..quiet };
        assert_eq!(why(&together, &storeless, 29, 99), None);
        assert_eq!(why(&together, &storeless, 99, 39), None);
        assert!(why(&together, &storeless, 30, 40).is_some());
        assert_eq!(why(&busy, &storeless, 99, 9_999), None);
        assert_eq!(last(&busy, ""), End::Busy { marks: 7, what: "waiting for data".into() });
        assert_eq!(last(&together, "CUDA error: out of range"), End::Own);
        assert_eq!(last(&together, &late), End::Lost { marks: 7, why: late });
    }

    #[test]
    fn a_request_to_stop_does_not_wait_for_who_does_not_run() {
        let (start, wait) = (Instant::now(), Duration::from_secs(2));
        let after = |seconds| start + Duration::from_secs(seconds);
        let together =
            Pulse { step: Some(3), marks: 7, local_work: None, since: start, over: false };
        let busy = Pulse { local_work: Some("waiting for data"), ..together };
        let well = News { heard: Some(after(9)), ..News::default() };
        // a rank that runs is waited for, however long it computes
        assert_eq!(alone(&together, &well, 100 * wait, after(10)), None);
        let silent = News { silent: Some(1), ..well };
        assert_eq!(
            alone(&together, &silent, wait, after(10)).as_deref(),
            Some("rank 1 does not answer")
        );
        assert_eq!(alone(&together, &silent, wait / 2, after(10)), None);
        assert_eq!(alone(&busy, &silent, wait, after(10)), None);
        assert!(alone(&together, &well, wait, after(11)).is_some_and(|why| why.contains("store")));
        let mut signs = Signs::default();
        let shown = |a: &str, b: &str| vec![None, Some(a.to_string()), Some(b.to_string()), None];
        assert_eq!(signs.silent(shown("1", "1"), after(0)), None);
        assert_eq!(signs.silent(shown("2", "1"), after(1)), None);
        assert_eq!(signs.silent(shown("3", "1"), after(2)), Some(2));
        assert_eq!(signs.silent(shown("4", "2"), after(9)), None);
    }

    #[test]
    fn time_in_which_nobody_looks_does_not_count() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let pulse = |since| Pulse { step: None, marks: 1, local_work: None, since, over: false };
        let mut still = Still::new(&pulse(start), start);
        assert_eq!(still.look(&pulse(start), after(100)), Duration::from_millis(100));
        assert_eq!(still.look(&pulse(start), after(300)), Duration::from_millis(300));
        // suspended for an hour
        assert_eq!(still.look(&pulse(start), after(3_600_300)), Duration::from_millis(1_300));
        assert_eq!(still.look(&pulse(after(3_600_350)), after(3_600_400)), Duration::ZERO);
    }
}
