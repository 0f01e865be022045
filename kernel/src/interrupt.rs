//! The stop button: the first press asks, the second one ends.

use crate::bus::Bus;
use crate::trouble::Tell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Presses closer together are one.
const TOGETHER: Duration = Duration::from_millis(300);
/// Time until the first advice about a second press.
const PATIENCE: Duration = Duration::from_secs(2);
const ADVICE: &str = "still running: only %commands and loops over `paella::progress(..)` stop when asked.\n\
                      A second interrupt ends the evaluation process: all variables are lost.\n";

#[derive(Default)]
struct State {
    /// Number of the running cell, 0 for none. Each number is used once.
    running: u64,
    last: u64,
    asked: Option<Instant>,
    killed: bool,
}

#[derive(Clone, Default)]
pub struct Interrupts {
    state: Arc<Mutex<State>>,
}

impl Interrupts {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A cell begins.
    pub fn begin(&self) {
        let mut state = self.state();
        let last = state.last + 1;
        *state = State { running: last, last, asked: None, killed: false };
    }

    /// The cell ends. Returns whether it was asked to stop.
    pub fn end(&self) -> bool {
        let mut state = self.state();
        state.running = 0;
        state.asked.is_some()
    }

    pub fn is_running(&self) -> bool {
        self.state().running != 0
    }

    pub fn is_asked(&self) -> bool {
        self.state().asked.is_some()
    }

    pub fn has_killed(&self) -> bool {
        self.state().killed
    }

    /// The button is pressed. If the cell does not end soon, `tell` receives advice about a second press.
    pub fn press(&self, bus: &Bus, tell: &Tell) {
        let mut state = self.state();
        match state.asked {
            _ if state.running == 0 => {}
            None => {
                state.asked = Some(Instant::now());
                bus.signal(libc::SIGINT);
                self.advise(state.running, tell.clone());
            }
            Some(at) if at.elapsed() < TOGETHER => {}
            Some(_) => {
                state.killed = true;
                bus.signal(libc::SIGKILL);
            }
        }
    }

    fn advise(&self, cell: u64, tell: Tell) {
        let own = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            if own.state().running == cell {
                tell(ADVICE);
            }
        });
    }
}
