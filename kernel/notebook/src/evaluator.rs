//! The evaluation process: cells from evcxr and commands from the kernel, one after the other on one thread.
#![allow(clippy::print_stdout)] // evcxr reads it

use crate::cell::{Cells, flush_often, report_panics};
use crate::live::Live;
use crate::prompt;
use crate::session::between_cells;
use crate::shared;
use crate::show;
use crate::wire::{ANSWERS, emit, result};
use paella::lab::Reply;
use paella::lab::watch::{STOP, clear_stop};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// Lines from a file descriptor, with a look at whether more has come.
pub struct Lines {
    file: File,
    buffer: Vec<u8>,
}

impl Lines {
    /// Takes the descriptor over.
    fn of(descriptor: RawFd) -> Self {
        // SAFETY: the kernel made it for this process, and nothing else here uses it.
        Self { file: unsafe { File::from_raw_fd(descriptor) }, buffer: Vec::new() }
    }

    /// The next line without its end; `None` when the other side is gone.
    pub fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let mut part = [0u8; 4096];
            match self.file.read(&mut part) {
                Ok(0) => return None,
                Ok(n) => self.buffer.extend(&part[..n]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => return None,
            }
        }
    }

    fn has_line(&self) -> bool {
        self.buffer.contains(&b'\n')
    }
}

/// Runs until the kernel is gone. `cells` is where evcxr writes, `bus` where the kernel does.
#[unsafe(no_mangle)]
pub extern "C" fn paella_evaluate(cells: RawFd, bus: RawFd) {
    report_panics();
    stop_on_interrupt();
    flush_often();
    std::thread::spawn(|| tch::Tensor::from(0.0f32) + 1.0); // libtorch's first operation takes longer
    std::hint::black_box(shared::code as fn(&str)); // to have it compiled
    let mut evaluator = Evaluator { variables: Cells::new(), cells: Lines::of(cells) };
    ANSWERS.set(Some(Lines::of(bus)));
    emit(&json!({ "kind": "ready" }));
    loop {
        match evaluator.turn() {
            Turn::Done => {}
            Turn::Asked(request) if request["kind"] == "prompt" => return prompt::run(evaluator),
            Turn::Asked(request) => answer(&request),
            Turn::Over => return,
        }
    }
}

/// What came of one turn.
pub(crate) enum Turn {
    /// A cell was run, or nothing came.
    Done,
    /// The kernel wants this.
    Asked(Value),
    /// The kernel is gone.
    Over,
}

pub(crate) struct Evaluator {
    variables: Cells,
    cells: Lines,
}

impl Evaluator {
    /// Wait for one cell, and run it, or for one request.
    pub(crate) fn turn(&mut self) -> Turn {
        let (cell, request) = self.wait();
        if request {
            let line = ANSWERS.with_borrow_mut(|bus| bus.as_mut().and_then(Lines::line));
            return line.map_or(Turn::Over, |line| {
                Turn::Asked(serde_json::from_str(&line).unwrap_or_default())
            });
        }
        let line = if cell { self.cells.line() } else { return Turn::Done };
        let Some(line) = line else { return Turn::Over };
        if let Err(text) = self.variables.run(&line) {
            let text = format!("the cell cannot be loaded: {text}\n");
            emit(&json!({ "kind": "stderr", "text": text }));
            std::process::exit(97);
        }
        println!("EVCXR_EXECUTION_COMPLETE");
        Turn::Done
    }

    /// Which of the two has something to read; the kernel goes first.
    fn wait(&self) -> (bool, bool) {
        let (cells, bus) = (self.cells.file.as_raw_fd(), bus_descriptor());
        if ANSWERS.with_borrow(|bus| bus.as_ref().is_some_and(Lines::has_line)) {
            return (false, true);
        }
        let poll = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut both = [poll(cells), poll(bus)];
        // SAFETY: two initialised entries; an interrupted call reports nothing and is made again.
        let ready = unsafe { libc::poll(both.as_mut_ptr(), 2, -1) };
        (ready > 0 && both[0].revents != 0, ready > 0 && both[1].revents != 0)
    }
}

fn bus_descriptor() -> RawFd {
    ANSWERS.with_borrow(|bus| bus.as_ref().map_or(-1, |bus| bus.file.as_raw_fd()))
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

/// Do what the kernel wants.
pub(crate) fn answer(request: &Value) {
    let text = |key: &str| request[key].as_str().unwrap_or_default();
    match text("kind") {
        // A cell or command begins: an interrupt from now on is meant for it.
        "begin" => clear_stop(),
        "command" => done(command(text("line"))),
        "config" => done(config(text("text"), text("file"))),
        "complete" => complete(text("line")),
        "help" => help(text("name")),
        "sync" => emit(&json!({ "kind": "synced" })),
        _ => {}
    }
}

fn done(outcome: paella::Result<Option<Reply>>) {
    let error = match outcome {
        Ok(reply) => {
            reply.iter().for_each(|reply| result(&show::view(&reply.view)));
            Value::Null
        }
        Err(error) => Value::String(error.to_string()),
    };
    emit(&json!({ "kind": "done", "error": error }));
}

/// The same as at the prompt.
fn command(line: &str) -> paella::Result<Option<Reply>> {
    between_cells(|lab| {
        let reply = lab.turn(line, &mut Live::new());
        lab.stay(); // a notebook ends with its kernel, not with `quit`
        reply
    })
}

/// A cell that is a config: written to a file, then taken as `load FILE` does.
fn config(text: &str, file: &str) -> paella::Result<Option<Reply>> {
    let file = match file {
        "" => std::env::temp_dir().join(format!("paella-{}-notebook.ron", std::process::id())),
        file => PathBuf::from(file),
    };
    let place = file.display().to_string();
    paella::files::write(&file, text.as_bytes()).map_err(|e| {
        paella::Error::command(
            format!("could not write: {e}"),
            &place,
            "`%%ron FILE.ron` names another file",
        )
    })?;
    command(&format!("load \"{place}\""))
}

fn complete(line: &str) {
    let found = between_cells(|lab| Ok(lab.complete(line))).unwrap_or_default();
    emit(
        &json!({ "kind": "completions", "start": found.start, "words": found.words, "files": found.files }),
    );
}

/// The help of one command, for the inspector.
fn help(name: &str) {
    let found = between_cells(|lab| lab.help(Some(name)));
    let text = found.ok().and_then(|view| view.first_text().map(String::from));
    emit(&json!({ "kind": "help", "text": text }));
}
