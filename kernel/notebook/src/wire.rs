//! What goes to the kernel: lines of JSON between the lines that a cell prints, in the order of both.

use crate::bundle::Bundle;
use crate::prompt;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// Begins a line that is meant for the kernel. Control characters keep it apart from anything a person prints.
pub const MARK: &str = "\u{1}paella\u{2}";

/// Send one message; what the cell has printed before goes first.
pub fn emit(message: &Value) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(format!("{MARK}{message}\n").as_bytes()); // a kernel that is gone is not told
    let _ = out.flush();
}

/// The value of a cell, shown beside its number.
pub fn result(bundle: &Bundle) {
    if !bundle.is_empty() && !prompt::keep(bundle) {
        emit(&json!({ "kind": "result", "data": bundle.data() }));
    }
}

/// Show something below the cell, at once.
pub fn display(value: &impl crate::Show) {
    let bundle = value.bundle();
    if !prompt::keep(&bundle) {
        emit(&json!({ "kind": "display", "data": bundle.data() }));
    }
}

/// Remove what the cell has shown; with `wait` only when something new is there.
pub fn clear_output(wait: bool) {
    if !prompt::is_open() {
        emit(&json!({ "kind": "clear", "wait": wait }));
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

    /// Show this in the place of what was there.
    pub fn put(&mut self, bundle: &Bundle) {
        if prompt::is_open() {
            return prompt::line(bundle);
        }
        let kind = if self.shown { "update" } else { "display" };
        self.shown = true;
        emit(&json!({ "kind": kind, "id": self.id, "data": bundle.data() }));
    }

    /// Show any value in the place of what was there.
    pub fn show(&mut self, value: &impl crate::Show) {
        self.put(&value.bundle());
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self::new()
    }
}

thread_local! {
    /// Where answers of the person at the notebook come in.
    pub(crate) static ANSWERS: RefCell<Option<crate::evaluator::Lines>> = const { RefCell::new(None) };
}

/// Ask the person at the notebook for a line of text; empty where nobody can answer.
pub fn input(question: &str) -> String {
    if prompt::is_open() {
        return prompt::ask(question);
    }
    emit(&json!({ "kind": "input", "prompt": question }));
    ANSWERS.with_borrow_mut(|lines| {
        let line = lines.as_mut().and_then(|lines| lines.line());
        let answer = line.and_then(|line| serde_json::from_str::<Value>(&line).ok());
        answer.and_then(|a| a["text"].as_str().map(String::from)).unwrap_or_default()
    })
}
