//! What a cell shows: its value, displays, places that are replaced, questions. In a notebook or at the prompt.

use crate::bundle::Bundle;
use crate::bus::{self, emit};
use crate::screen;
use paella_wire::{Event, Request};
use std::sync::atomic::{AtomicU64, Ordering};

/// The value of a cell, shown beside its number.
pub fn result(bundle: &Bundle) {
    if !bundle.is_empty() && !screen::keep(bundle) {
        emit(&Event::Result { data: bundle.media() });
    }
}

/// Show something below the cell, at once.
pub(crate) fn display_bundle(bundle: &Bundle) {
    if !screen::keep(bundle) {
        emit(&Event::Display { id: None, data: bundle.media() });
    }
}

/// Remove what the cell has shown; with `wait` only when something new comes.
pub fn clear_output(wait: bool) {
    if !screen::is_open() {
        emit(&Event::Clear { wait });
    }
}

/// A place below the cell whose content can be replaced while the cell runs.
pub struct Slot {
    id: String,
    shown: bool,
}

impl Slot {
    /// A place of its own; it appears with its first content.
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { id: format!("paella-{}-{number}", std::process::id()), shown: false }
    }

    /// Show this instead of what was there.
    pub fn put(&mut self, bundle: &Bundle) {
        if screen::is_open() {
            return screen::line(bundle);
        }
        let (id, data) = (self.id.clone(), bundle.media());
        emit(&match std::mem::replace(&mut self.shown, true) {
            true => Event::Update { id, data },
            false => Event::Display { id: Some(id), data },
        });
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self::new()
    }
}

/// Ask the person at the notebook for a line of text. The stop button ends the cell.
///
/// Panics: nobody can be asked, as in a notebook that runs by itself.
#[track_caller]
pub fn input(question: &str) -> String {
    if screen::is_open() {
        return screen::ask(question);
    }
    emit(&Event::Input { prompt: question.into() });
    match bus::request() {
        Some(Ok(Request::Answer { text })) => text,
        Some(Ok(Request::NoAnswer { stopped: true })) => screen::stop(),
        _ => panic!("nobody can answer `{question}`: this notebook runs without a person"),
    }
}
