//! The prompt of `paella --rust` in the evaluation process. It reads and shows at the terminal, asks the kernel to compile,
//! and runs the compiled cells.
//!
//! evcxr and the kernel read the standard output of this process. At the prompt it is the terminal instead.
#![allow(clippy::print_stderr)]

use crate::bus::emit;
use crate::evaluator::{Evaluator, Turn};
use crate::requests::answer;
use crate::screen::{self, Shown};
use crate::session::lab;
use paella::face::repl;
use paella::face::rust::Rust;
use paella::face::terminal::Terminal;
use paella::lab::view::View;
use paella_wire::{Event, Request, TERMINAL};
use std::cell::RefCell;
use std::io::Write;
use std::os::fd::RawFd;
use std::rc::Rc;

/// The text without its colours.
fn plain(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |plain, part| plain + part.split_once('m').map_or("", |(_, rest)| rest))
}

/// Serve the terminal until the person leaves, then tell the kernel.
pub(crate) fn run(evaluator: Evaluator) {
    let Some(screen) = Screen::open() else { return };
    screen::open();
    let terminal = Terminal::detect();
    let rust = Rc::new(Compiler { evaluator: RefCell::new(evaluator), screen, terminal });
    let left = lab().and_then(|lab| repl::run(lab, &rust.terminal.clone(), Some(rust.clone())));
    if let Err(error) = left {
        rust.terminal.error(&error);
    }
    rust.screen.away(|| emit(&Event::Left));
}

/// Standard output: the terminal, or the way to the kernel.
struct Screen {
    terminal: RawFd,
    kernel: RawFd,
}

impl Screen {
    /// Take the terminal that the environment names; `None` if it names no terminal.
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

/// The kernel's compiler.
struct Compiler {
    evaluator: RefCell<Evaluator>,
    screen: Screen,
    terminal: Terminal,
}

impl Compiler {
    /// Ask the kernel. Its other requests are done until it sends the answer that `pick` takes.
    fn question<T>(&self, question: &Event, pick: impl Fn(Request) -> Result<T, Request>) -> T {
        self.screen.away(|| {
            emit(question);
            loop {
                match self.evaluator.borrow_mut().turn() {
                    Turn::Done => {}
                    Turn::Asked(request) => match pick(request) {
                        Ok(reply) => return reply,
                        Err(request) => answer(request),
                    },
                    Turn::Over => std::process::exit(0),
                }
            }
        })
    }

    fn show(&self) {
        let Shown { bundles, line } = screen::take();
        if line {
            eprintln!();
        }
        for bundle in bundles {
            let text = bundle.get("text/plain").unwrap_or_default();
            self.terminal.show(&match bundle.picture() {
                Some(image) => View::new().picture(image, text),
                None => View::new().text(text),
            });
        }
    }
}

impl Rust for Compiler {
    fn run(&self, code: &str) -> bool {
        let question = Event::RunRust { code: code.into() };
        let error = self.question(&question, |request| match request {
            Request::RustRan { error } => Ok(error),
            other => Err(other),
        });
        self.show();
        error.iter().for_each(|text| match self.terminal.stderr_color {
            true => eprintln!("{text}"),
            false => eprintln!("{}", plain(text)),
        });
        error.is_none()
    }

    fn is_whole(&self, code: &str) -> bool {
        self.question(&Event::AskWhole { code: code.into() }, |request| match request {
            Request::Whole { whole } => Ok(whole),
            other => Err(other),
        })
    }

    fn complete(&self, code: &str, at: usize) -> (usize, Vec<String>) {
        let question = Event::CompleteRust { code: code.into(), at };
        let (start, words) = self.question(&question, |request| match request {
            Request::Words { start, words } => Ok((start, words)),
            other => Err(other),
        });
        (start.min(code.len()), words)
    }
}
