//! `undo`: restores whole earlier states, and the weights from before the last training.

use super::model::ModelSnapshot;
use super::view::View;
use super::{Lab, State};
use crate::error::Result;
use std::rc::Rc;

/// Maximum number of changes kept.
const DEPTH: usize = 30;

/// Earlier moments, the latest last.
#[derive(Default)]
pub struct Past {
    moments: Vec<Moment>,
    /// The model before the training command that is running.
    training: Option<ModelSnapshot>,
}

/// The state of the session before a command.
pub struct Moment {
    line: String,
    state: State,
    training: Option<ModelSnapshot>,
}

impl Lab {
    /// The state before `line` runs.
    pub(super) fn moment(&self, line: &str) -> Moment {
        Moment { line: line.into(), state: self.state.clone(), training: None }
    }

    /// Copies the weights before training changes them.
    pub(super) fn keep_weights(&mut self) {
        self.past.training = Some(self.state.model.borrow().snapshot());
    }

    /// Stores the moment of a command that succeeded.
    ///
    /// A moment with weights or another model is large. At most one such moment is kept, with the moments after it.
    pub(super) fn remember(&mut self, mut moment: Moment) {
        moment.training = self.past.training.take();
        let moved = |a: &State, b: &State| !Rc::ptr_eq(&a.model, &b.model);
        let moments = &mut self.past.moments;
        let large = |i: usize| {
            let next = moments.get(i + 1).unwrap_or(&moment);
            moments[i].training.is_some() || moved(&moments[i].state, &next.state)
        };
        let last = (0..moments.len()).rev().find(|&i| large(i));
        let is_large = moment.training.is_some() || moved(&moment.state, &self.state);
        if let (true, Some(last)) = (is_large, last) {
            moments.drain(..=last);
        }
        moments.push(moment);
        let surplus = moments.len().saturating_sub(DEPTH);
        moments.drain(..surplus);
    }

    /// Restores the weights after a failed command.
    pub(super) fn roll_back(&mut self) {
        if let Some(old) = self.past.training.take() {
            self.state.model.borrow_mut().restore(old);
        }
    }

    /// Reverts the last `count` changes, or as many as there are.
    ///
    /// Errors: there is nothing to undo.
    pub fn undo(&mut self, count: usize) -> Result<View> {
        let hint = "changes of this session can be undone, training only the last time";
        let mut lines = Vec::new();
        while let Some(moment) = (lines.len() < count).then(|| self.past.moments.pop()).flatten() {
            self.state = moment.state;
            if let Some(old) = moment.training {
                self.state.model.borrow_mut().restore(old);
            }
            lines.push(format!("undone: {}", moment.line));
        }
        let view = View::new().text(lines.join("\n"));
        match lines.len() {
            0 => Err(Self::fault("there is nothing to undo", hint)),
            n if n < count => Ok(view.note(format!("{n} of {count}: no more is kept; {hint}"))),
            _ => Ok(view),
        }
    }
}
