//! Signals that ask training to stop: SIGTERM, and SIGUSR1, which Slurm can send before the time limit.

use crate::lab::watch::STOP;
use std::sync::atomic::Ordering;

extern "C" fn stop(_signal: libc::c_int) {
    STOP.store(true, Ordering::Relaxed);
}

/// Makes SIGTERM and SIGUSR1 end the work after the current step with a checkpoint, as Ctrl-C does.
pub fn stop_on_terminate() {
    let handler = stop as extern "C" fn(libc::c_int) as libc::sighandler_t;
    for signal in [libc::SIGTERM, libc::SIGUSR1] {
        // SAFETY: the handler only stores to an atomic.
        unsafe { libc::signal(signal, handler) };
    }
}
