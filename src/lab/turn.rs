//! One turn of a session: a line in, a View or an Error out. The session survives errors and panics.

use super::Lab;
use super::args::{Args, parse};
use super::command::{Command, Takes};
use super::quick;
use super::view::View;
use super::watch::Watch;
use crate::error::{Error, Fault, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

/// The answer to one line.
#[derive(Clone, Debug)]
pub struct Reply {
    pub command: &'static str,
    pub view: View,
}

impl Lab {
    /// Runs one line; None for an empty line. A failed command changes nothing, and a panic becomes an error.
    pub fn turn(&mut self, line: &str, watch: &mut dyn Watch) -> Result<Option<Reply>> {
        let before = self.state.clone();
        let outcome = catch_unwind(AssertUnwindSafe(|| self.run(line, watch)));
        let result = outcome.unwrap_or_else(|_| Err(internal_error(line)));
        if let Err(error) = &result {
            // Data opened by a failed command stay open: opening takes time and changes no result.
            let (train, val) = (self.state.train.take(), self.state.val.take());
            let same_data = self.state.settings.data == before.settings.data;
            self.state = before;
            self.roll_back();
            if same_data {
                (self.state.train, self.state.val) = (train, val);
            }
            self.last_error = Some(in_full(error));
        }
        result
    }

    fn run(&mut self, line: &str, watch: &mut dyn Watch) -> Result<Option<Reply>> {
        let line = if self.quick { quick::short(line) } else { quick::long(line) };
        let Some((name, mut args)) = parse(line)? else { return Ok(None) };
        let command = Command::find(&self.commands, &name)?;
        args.usage = command.synopsis;
        if command.name == "set" {
            args.no_equals(&self.state.settings)?; // such a line seems to lack its value
        }
        args.check(command)?;
        let before = command.changes.then(|| self.moment(&args.line));
        let mut view = (command.run)(self, &args, watch)
            .map_err(|e| placed(remarked(e, command, &args), &args))?;
        if let Some(moment) = before {
            self.remember(moment);
        }
        view = view.notes(args.mistaken_keys(command.keys));
        if matches!(command.takes, Takes::Caption) {
            view = view.notes(args.mistaken_comment());
        }
        if let Err(error) = self.keep(&mut view, command.name) {
            view = view.note(format!("the picture is not saved: {error}"));
        }
        Ok(Some(Reply { command: command.name, view }))
    }

    /// Saves the pictures of a view to the run folder.
    ///
    /// Errors: the folder cannot be written.
    pub fn keep(&mut self, view: &mut View, command: &str) -> Result<()> {
        // the pictures of these show what the current picture shows
        let own = ["show", "sample", "next", "inpaint", "outpaint", "edit"].contains(&command);
        let picture = self.state.workspace.picture.clone().filter(|_| own);
        self.runs.keep(view, command, picture.as_ref().map(|picture| picture.caption.as_str()))
    }

    /// The last error in full.
    pub fn last_error(&self) -> View {
        View::new().text(self.last_error.clone().unwrap_or_else(|| "no error so far".into()))
    }
}

/// An error of a text with what may be a comment says so.
fn remarked(error: Error, command: &Command, args: &Args) -> Error {
    let remark = args.mistaken_comment().filter(|_| matches!(command.takes, Takes::Caption));
    let Some(remark) = remark else { return error };
    error.map(|fault| {
        let gap = if fault.hint.is_empty() { "" } else { "; " };
        Fault { hint: format!("{}{gap}{remark}", fault.hint), ..fault }
    })
}

/// Adds the line as the place of an error that has none.
fn placed(mut error: Error, args: &Args) -> Error {
    if let Error::Command(fault) = &mut error
        && fault.place.is_empty()
    {
        fault.place = format!("`{}`", args.line);
    }
    error
}

fn in_full(error: &Error) -> String {
    let detail = error.detail().unwrap_or_default();
    let stored = matches!(error, Error::Command(f) if f.what.starts_with(INTERNAL))
        .then(last_panic)
        .flatten();
    [error.to_string(), detail.into(), stored.unwrap_or_default()]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

const INTERNAL: &str = "internal error";

/// Message and location of the last panic.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Keeps panic messages for `last_error` instead of printing them.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
        let place = info.location().map(|l| l.to_string()).unwrap_or_default();
        if let Ok(mut slot) = PANIC.lock() {
            *slot = Some(format!("{text}\n  at {place}"));
        }
    }));
}

fn last_panic() -> Option<String> {
    PANIC.lock().ok().and_then(|slot| slot.clone())
}

/// The error for a panic that is no fault of this program: memory that is not there, weights that are no numbers.
fn known_cause(panic: &str, place: &str) -> Option<Error> {
    // what libtorch says of probabilities to draw tokens from
    if panic.contains("probability tensor contains") {
        let hint = "the training has diverged: `undo` goes back, `load` opens another model";
        return Some(Error::model("the model's scores are not finite", place, hint));
    }
    Error::of_full_memory(panic, place)
}

/// The error that reports a panic.
pub fn internal_error(place: &str) -> Error {
    let panic = last_panic().unwrap_or_default();
    if let Some(error) = known_cause(&panic, &format!("`{place}`")) {
        return error;
    }
    let first = panic.lines().next().unwrap_or_default();
    let short: String = first.chars().take(160).collect();
    let hint = "a fault of this program, nothing was changed; `last_error` has all of it: please report it";
    Error::command(format!("{INTERNAL}: {short}"), format!("`{place}`"), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_that_are_no_numbers_and_full_memory_are_no_internal_errors() {
        let probs = tch::Tensor::from_slice(&[f32::NAN, 1.0]).f_multinomial(1, true);
        let said = format!(
            "called `Result::unwrap()` on an `Err` value: {:?}",
            probs.expect_err("no draw from NaN")
        );
        let error = known_cause(&said, "`sample`").map(|error| error.to_string());
        assert!(error.is_some_and(|text| text.contains("not finite") && text.contains("`undo`")));
        let memory = known_cause("DefaultCPUAllocator: can't allocate memory", "`train 1`");
        assert!(memory.is_some_and(|error| error.to_string().contains("out of memory")));
        assert_eq!(known_cause("index out of bounds", "`train 1`"), None);
    }
}
