//! The prompt of `paella --rust` in the evaluation process: it reads and shows at the terminal, asks the kernel to compile,
//! and runs the compiled cells.
//!
//! evcxr and the kernel hear this process through its standard output; at the prompt that is the terminal instead.
#![allow(clippy::print_stderr)]

use crate::bundle::Bundle;
use crate::evaluator::{Evaluator, Turn, answer};
use crate::session::lab;
use crate::wire::emit;
use paella::face::repl;
use paella::face::rust::Rust;
use paella::face::terminal::Terminal;
use paella::lab::view::View;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Names the descriptors of the terminal: input, output, errors.
const TERMINAL: &str = "PAELLA_TERMINAL";

/// What cells have shown and nobody has seen yet; `None` where there is no prompt.
static SHOWN: Mutex<Option<Shown>> = Mutex::new(None);

#[derive(Default)]
struct Shown {
    bundles: Vec<Bundle>,
    /// A line on the terminal that is written over.
    line: bool,
}

fn shown() -> MutexGuard<'static, Option<Shown>> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this process stands at a terminal.
pub(crate) fn is_open() -> bool {
    shown().is_some()
}

/// Keep it until the cell ends; false where there is no prompt.
pub(crate) fn keep(bundle: &Bundle) -> bool {
    shown().as_mut().map(|shown| shown.bundles.push(bundle.clone())).is_some()
}

/// Show its text in one line, over the one before.
pub(crate) fn line(bundle: &Bundle) {
    let data = bundle.data();
    let text = data["text/plain"].as_str().and_then(|text| text.lines().next()).unwrap_or_default();
    if std::io::stderr().is_terminal()
        && let Some(shown) = shown().as_mut()
    {
        shown.line = true;
        eprint!("\r\x1b[2K{text}");
    }
}

/// Ask the person for a line; empty at the end of the input.
pub(crate) fn ask(question: &str) -> String {
    let mut text = String::new();
    eprint!("{question}");
    match std::io::stdin().read_line(&mut text) {
        Ok(_) => text.trim_end_matches(['\r', '\n']).into(),
        Err(_) => String::new(),
    }
}

/// The text without its colours.
fn plain(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |plain, part| plain + part.split_once('m').map_or("", |(_, rest)| rest))
}

/// Stand at the terminal until the person leaves, and tell the kernel.
pub(crate) fn run(evaluator: Evaluator) {
    let Some(screen) = Screen::open() else { return };
    *shown() = Some(Shown::default());
    let terminal = Terminal::detect();
    let rust = Rc::new(Compiler { evaluator: RefCell::new(evaluator), screen, terminal });
    let left = lab().and_then(|lab| repl::run(lab, &rust.terminal.clone(), Some(rust.clone())));
    if let Err(error) = left {
        rust.terminal.error(&error);
    }
    rust.screen.away(|| emit(&json!({ "kind": "left" })));
}

/// Standard output, which is the terminal or the way to the kernel.
struct Screen {
    terminal: RawFd,
    kernel: RawFd,
}

impl Screen {
    /// Take the terminal that the environment names; none if there is none.
    fn open() -> Option<Self> {
        let names = std::env::var(TERMINAL).ok()?;
        let all: Vec<RawFd> = names.split(',').filter_map(|name| name.parse().ok()).collect();
        let [input, output, errors] = all.try_into().ok()?;
        // SAFETY: copies descriptors that the kernel has left open for this process.
        let (kernel, taken) = unsafe {
            let kernel = libc::fcntl(1, libc::F_DUPFD_CLOEXEC, 3);
            (kernel, libc::dup2(input, 0) >= 0 && libc::dup2(errors, 2) >= 0)
        };
        let screen = Self { terminal: output, kernel };
        (kernel >= 0 && taken).then(|| {
            screen.point(output);
            screen
        })
    }

    fn point(&self, to: RawFd) {
        let _ = std::io::stdout().flush(); // a reader that is gone ends this process
        // SAFETY: both are open descriptors of this process.
        unsafe { libc::dup2(to, 1) };
    }

    /// While `work` is done, standard output leads to the kernel.
    fn away<T>(&self, work: impl FnOnce() -> T) -> T {
        self.point(self.kernel);
        let done = work();
        self.point(self.terminal);
        done
    }
}

/// The compiler, which is the kernel's.
struct Compiler {
    evaluator: RefCell<Evaluator>,
    screen: Screen,
    terminal: Terminal,
}

impl Compiler {
    /// Ask the kernel, and do what it wants meanwhile, until it answers.
    fn question(&self, request: Value, kind: &str) -> Value {
        self.screen.away(|| {
            emit(&request);
            loop {
                match self.evaluator.borrow_mut().turn() {
                    Turn::Done => {}
                    Turn::Asked(reply) if reply["kind"] == kind => return reply,
                    Turn::Asked(request) => answer(&request),
                    Turn::Over => std::process::exit(0),
                }
            }
        })
    }

    fn show(&self) {
        let (bundles, line) = match shown().as_mut() {
            Some(shown) => (std::mem::take(&mut shown.bundles), std::mem::take(&mut shown.line)),
            None => return,
        };
        if line {
            eprintln!();
        }
        for bundle in bundles {
            let data = bundle.data();
            let text = data["text/plain"].as_str().unwrap_or_default();
            self.terminal.show(&match bundle.picture() {
                Some(image) => View::new().picture(image, text),
                None => View::new().text(text),
            });
        }
    }
}

impl Rust for Compiler {
    fn run(&self, code: &str) -> bool {
        let reply = self.question(json!({ "kind": "rust", "code": code }), "ran");
        self.show();
        let error = reply["error"].as_str();
        error.iter().for_each(|text| match self.terminal.stderr_color {
            true => eprintln!("{text}"),
            false => eprintln!("{}", plain(text)),
        });
        error.is_none()
    }

    fn is_whole(&self, code: &str) -> bool {
        self.question(json!({ "kind": "whole", "code": code }), "whole")["whole"] != false
    }

    fn complete(&self, code: &str, at: usize) -> (usize, Vec<String>) {
        let reply = self.question(json!({ "kind": "words", "code": code, "at": at }), "words");
        let start = reply["start"].as_u64().map_or(at, |start| start as usize).min(code.len());
        (start, serde_json::from_value(reply["words"].clone()).unwrap_or_default())
    }
}
