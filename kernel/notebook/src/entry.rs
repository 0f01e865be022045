//! Where the evaluation process begins.

use crate::bus::{self, emit};
use crate::cell::{flush_often, report_panics};
use crate::evaluator::{Evaluator, Turn};
use crate::prepare::shared;
use crate::prompt;
use crate::requests::answer;
use paella::lab::watch::STOP;
use paella_wire::{Event, Request};
use std::os::fd::RawFd;
use std::sync::atomic::Ordering;

/// Runs until the kernel is gone. evcxr writes to `cells`, the kernel to `requests`.
#[unsafe(no_mangle)]
pub extern "C" fn paella_evaluate(cells: RawFd, requests: RawFd) {
    report_panics();
    stop_on_interrupt();
    flush_often();
    paella::device::keep_freed_memory();
    shared::keep_compiled();
    let mut evaluator = Evaluator::new(cells);
    bus::open(requests);
    emit(&Event::Ready);
    loop {
        match evaluator.turn() {
            Turn::Done => {}
            Turn::Asked(Request::Prompt) => return prompt::run(evaluator),
            Turn::Asked(request) => answer(request),
            Turn::Over => return,
        }
    }
}

/// SIGINT asks running work to end after its step. Blocking calls of the cell are interrupted, not restarted.
fn stop_on_interrupt() {
    extern "C" fn stop(_: libc::c_int) {
        STOP.store(true, Ordering::Relaxed);
    }
    // SAFETY: the handler only stores to an atomic.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = stop as *const () as usize;
        libc::sigaction(libc::SIGINT, &action, std::ptr::null_mut());
    }
}
