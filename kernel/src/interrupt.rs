//! The stop button: the first press asks, the second one ends.

use crate::bus::Bus;
use crate::tell::{Notice, Tell};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Presses closer together are one.
const TOGETHER: Duration = Duration::from_millis(300);
/// Time until the first advice about a second press.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the cell is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CellPhase {
    /// Rust that is not compiled yet. It is not run after a press, so there is nothing to end by force.
    #[default]
    Compiling,
    /// Compiled Rust.
    Running,
    /// A command, which ends after its step.
    Command,
}

impl CellPhase {
    /// Said to a person who has pressed the button and waits.
    fn advice(self) -> &'static str {
        match self {
            Self::Compiling => {
                "still compiling: the cell ends before it is run, and nothing is lost\n"
            }
            Self::Running => {
                "still running: only %commands, input(..) and loops over `paella::progress(..)` stop when asked.\n\
                 A second interrupt ends the evaluation process: all variables are lost.\n"
            }
            Self::Command => "it stops after this step, and everything is kept\n",
        }
    }
}

#[derive(Default)]
struct State {
    /// Number of the running cell, 0 for none. Each number is used once.
    running: u64,
    last: u64,
    phase: CellPhase,
    asked: Option<Instant>,
    killed: bool,
}

#[derive(Clone, Default)]
pub struct Interrupts {
    state: Arc<Mutex<State>>,
    pressed: Arc<Notify>,
}

impl Interrupts {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A cell begins.
    pub fn begin(&self) {
        let mut state = self.state();
        let last = state.last + 1;
        *state = State { running: last, last, ..State::default() };
    }

    /// The cell goes on with this.
    pub fn enter(&self, phase: CellPhase) {
        self.state().phase = phase;
    }

    pub fn phase(&self) -> CellPhase {
        self.state().phase
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

    /// Wait until the running cell is asked to stop.
    pub async fn asked(&self) {
        loop {
            let press = self.pressed.notified();
            if self.is_asked() {
                return;
            }
            press.await;
        }
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
                self.pressed.notify_waiters();
                self.advise(state.running, tell.clone());
            }
            Some(at) if at.elapsed() < TOGETHER || state.phase == CellPhase::Compiling => {}
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
            let phase = Some(own.state()).filter(|state| state.running == cell);
            let phase = phase.map(|state| state.phase);
            phase.iter().for_each(|phase| tell(Notice::Text(phase.advice())));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_running_rust_is_threatened_with_loss() {
        assert!(CellPhase::Running.advice().contains("variables are lost"));
        assert!(CellPhase::Command.advice().contains("after this step"));
        for phase in [CellPhase::Command, CellPhase::Compiling] {
            assert!(!phase.advice().contains("are lost"), "{}", phase.advice());
        }
    }

    #[tokio::test]
    async fn a_press_while_compiling_never_kills() {
        let (interrupts, bus) = (Interrupts::default(), Bus::default());
        let tell: Tell = Arc::new(|_| {});
        interrupts.press(&bus, &tell);
        assert!(!interrupts.is_asked(), "no cell runs");
        interrupts.begin();
        for (phase, kills) in [(CellPhase::Compiling, false), (CellPhase::Running, true)] {
            interrupts.enter(phase);
            interrupts.press(&bus, &tell);
            interrupts.asked().await;
            tokio::time::sleep(TOGETHER + Duration::from_millis(10)).await;
            interrupts.press(&bus, &tell);
            assert_eq!(interrupts.has_killed(), kills, "{phase:?}");
        }
        assert!(interrupts.end() && !interrupts.is_running());
    }
}
