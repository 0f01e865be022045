//! The terminal of `paella --rust`: values wait here until the prompt shows them. In a notebook it is closed.
#![allow(clippy::print_stderr)]

use crate::bundle::Bundle;
use paella::lab::watch::stop_asked;
use std::io::{BufRead, ErrorKind, IsTerminal};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What cells have shown since the last cell ended; `None` in a notebook.
static SHOWN: Mutex<Option<Shown>> = Mutex::new(None);

#[derive(Default)]
pub(crate) struct Shown {
    pub bundles: Vec<Bundle>,
    /// The last line on the terminal will be overwritten.
    pub line: bool,
}

fn shown() -> MutexGuard<'static, Option<Shown>> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// This process shows its values at a terminal from now on.
pub(crate) fn open() {
    *shown() = Some(Shown::default());
}

/// Whether values are shown at a terminal.
pub(crate) fn is_open() -> bool {
    shown().is_some()
}

/// Keep a value until the cell ends; false in a notebook.
pub(crate) fn keep(bundle: &Bundle) -> bool {
    shown().as_mut().map(|shown| shown.bundles.push(bundle.clone())).is_some()
}

/// Take out all kept values.
pub(crate) fn take() -> Shown {
    shown().as_mut().map(std::mem::take).unwrap_or_default()
}

/// Show the first line of its text over the line before.
pub(crate) fn line(bundle: &Bundle) {
    let text = bundle.get("text/plain").and_then(|text| text.lines().next()).unwrap_or_default();
    if std::io::stderr().is_terminal()
        && let Some(shown) = shown().as_mut()
    {
        shown.line = true;
        eprint!("\r\x1b[2K{text}");
    }
}

/// Ask the person for a line; empty at the end of the input. Ctrl-C ends the cell.
pub(crate) fn ask(question: &str) -> String {
    eprint!("{question}");
    let (mut input, mut line) = (std::io::stdin().lock(), Vec::new());
    loop {
        let part = match input.fill_buf() {
            Ok(part) => part,
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                if stop_asked() {
                    drop(input);
                    stop();
                }
                continue;
            }
            Err(_) => break,
        };
        let end = part.iter().position(|&byte| byte == b'\n');
        let taken = end.map_or(part.len(), |end| end + 1);
        line.extend_from_slice(&part[..taken]);
        input.consume(taken);
        if end.is_some() || taken == 0 {
            break;
        }
    }
    String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).into()
}

/// End the cell as Ctrl-C does. The kernel says so.
pub(crate) fn stop() -> ! {
    struct Stopped;
    std::panic::resume_unwind(Box::new(Stopped)) // past the panic's hook
}
