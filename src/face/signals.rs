//! Signals that ask training to stop, and what a training that was stopped answers to the system.

use crate::lab::watch::STOP;
use std::sync::atomic::{AtomicI32, Ordering};

/// Signals after which training stops with a checkpoint: Ctrl-C; SIGTERM; SIGHUP, from a terminal that is closed;
/// SIGUSR1, which Slurm can send before the time limit; SIGPIPE, from a reader of the output that has gone.
const STOPPING: [libc::c_int; 5] =
    [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1, libc::SIGPIPE];

/// The first signal that asked to stop; 0: none did.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

extern "C" fn stop(signal: libc::c_int) {
    stop_for(signal);
}

/// Asks the work to stop as this signal would.
pub fn stop_for(signal: libc::c_int) {
    let _ = SIGNAL.compare_exchange(0, signal, Ordering::Relaxed, Ordering::Relaxed);
    STOP.store(true, Ordering::Relaxed);
}

/// Makes signals end the work after the current step with a checkpoint. A SIGHUP that `nohup` has switched off stays
/// off.
pub fn stop_on_signals() {
    let handler = stop as extern "C" fn(libc::c_int) as libc::sighandler_t;
    for signal in STOPPING {
        // SAFETY: the handler only stores to atomics.
        let before = unsafe { libc::signal(signal, handler) };
        if signal == libc::SIGHUP && before == libc::SIG_IGN {
            // SAFETY: ignores a signal.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
    }
}

/// Makes Ctrl-C end the process at once, as SIGTERM does: there is nothing to save, or not yet.
pub fn end_on_interrupt() {
    // SAFETY: restores the default action of a signal.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
}

/// The exit code of other work that was stopped: Ctrl-C's, or that of a reader of the output that has gone.
pub fn interrupted_code() -> u8 {
    match SIGNAL.load(Ordering::Relaxed) {
        0 => 128 + libc::SIGINT as u8,
        signal => 128 + signal as u8,
    }
}

/// The exit code of a training that was asked to stop: 128 and the number of the signal, as a shell has it. A rank that
/// stopped because another one was asked to answers as for SIGTERM.
pub fn stopped_code() -> u8 {
    let signal = match SIGNAL.load(Ordering::Relaxed) {
        0 => libc::SIGTERM,
        signal => signal,
    };
    128 + signal as u8
}
