//! `paella --rust`: the prompt of `paella`, with this program's compiler behind it.
//!
//! The prompt itself runs in the evaluator, beside `lab`, at the terminal that it inherits. It sends code here to be
//! compiled. Cells reach it as they do in a notebook.

use crate::bus::Bus;
use crate::complete;
use crate::engine::{self, Job};
use crate::faults;
use crate::interrupt::Interrupts;
use crate::place::Tools;
use crate::runner::{CellRunner, Done, shown};
use crate::tell::{Notice, Tell};
use crate::trouble::{Result, Trouble};
use crate::whole;
use crate::workplace::Workplace;
use jupyter_protocol::{IsCompleteReplyStatus, ReplyError};
use paella_wire::{Event, Request, TERMINAL};
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

/// Whether Ctrl-C was pressed since the cell began. The terminal tells the evaluator too, which may end the cell before
/// the task that counts presses has run; this is set as soon as the signal is there.
static PRESSED: AtomicBool = AtomicBool::new(false);

/// A session at the terminal, until the person leaves.
///
/// Errors: Rust is missing, the kernel cannot be prepared or started.
pub fn run() -> Result<()> {
    let tools = Tools::find()?;
    let place = Workplace::claim(tools.prepared())?;
    place.announce(&tools);
    let terminal = inherited().map_err(|e| Trouble::new(e.to_string(), "terminal", ""))?;
    // SAFETY: before any thread is started.
    unsafe { std::env::set_var(TERMINAL, terminal) };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|e| Trouble::new(e.to_string(), "paella --rust", ""))?;
    let outcome = runtime.block_on(serve(place.clone(), tools));
    place.remove();
    outcome?;
    std::process::exit(0) // the guard dies with us, and the evaluator with the guard
}

/// Copies of the three standard descriptors that children keep.
fn inherited() -> std::io::Result<String> {
    let copy = |fd| {
        // SAFETY: copies an open descriptor.
        match unsafe { libc::fcntl(fd, libc::F_DUPFD, 10) } {
            -1 => Err(std::io::Error::last_os_error()),
            copy => Ok(copy.to_string()),
        }
    };
    Ok([0, 1, 2].into_iter().map(copy).collect::<std::io::Result<Vec<_>>>()?.join(","))
}

/// Settings of the terminal at the start.
struct Settings(Option<libc::termios>);

impl Settings {
    fn now() -> Self {
        // SAFETY: fills a plain structure, or fails where no terminal is.
        unsafe {
            let mut settings = std::mem::zeroed();
            Self((libc::tcgetattr(0, &mut settings) == 0).then_some(settings))
        }
    }

    /// Set them again after a prompt has died while it read a line.
    fn restore(&self) {
        if let Some(settings) = &self.0 {
            // SAFETY: sets what was read from the same terminal.
            unsafe { libc::tcsetattr(0, libc::TCSANOW, settings) };
        }
    }
}

async fn serve(place: Workplace, tools: Tools) -> Result<()> {
    let settings = Settings::now();
    let tell: Tell = Arc::new(say);
    let (said, heard) = mpsc::unbounded_channel();
    let (rest, events) = mpsc::unbounded_channel();
    tokio::spawn(print(heard, rest));
    let bus = Bus::open(&place.socket(), said)?;
    let (started_at, mut started) = watch::channel(None);
    let jobs = engine::start(place, tools, tell.clone(), started_at);
    let interrupts = Interrupts::default();
    let press = || PRESSED.store(true, Ordering::SeqCst);
    // SAFETY: the action only stores to an atomic.
    unsafe { signal_hook_registry::register(libc::SIGINT, press) }
        .map_err(|e| Trouble::new(e.to_string(), "paella --rust", ""))?;
    tokio::spawn(stop_on_interrupt(interrupts.clone(), bus.clone(), tell));
    let ended = || Trouble::new("the compiler's thread has ended", "paella --rust", "");
    let begun = started.wait_for(Option::is_some).await.map_err(|_| ended())?.clone();
    if let Some(Err(text)) = begun {
        return Err(Trouble::new(
            text,
            "paella --rust",
            "`paella` without --rust needs no compiler",
        ));
    }
    let runner = CellRunner::new(bus, jobs, events, interrupts, false);
    Prompt { runner, count: 0, settings }.serve().await;
    Ok(())
}

/// Text as it is; a bar over the line before, if a terminal looks on.
fn say(said: Notice<'_>) {
    match said {
        Notice::Text(text) => eprint!("{text}"),
        Notice::Bar { done, total, text } if std::io::stderr().is_terminal() => {
            let end = if total == Some(done) { "\n" } else { "" };
            eprint!("\r\x1b[2K{text}{end}");
        }
        Notice::Bar { .. } => {}
    }
}

/// The first Ctrl-C reaches the evaluator by itself; the second one ends it.
async fn stop_on_interrupt(interrupts: Interrupts, bus: Bus, tell: Tell) {
    let Ok(mut presses) = signal(SignalKind::interrupt()) else { return };
    while presses.recv().await.is_some() {
        interrupts.press(&bus, &tell);
    }
}

/// Print the output of cells and pass on the other events.
async fn print(mut events: mpsc::UnboundedReceiver<Event>, rest: mpsc::UnboundedSender<Event>) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Stdout { text } => {
                print!("{text}");
                let _ = std::io::stdout().flush(); // a terminal that is gone ends the prompt
            }
            Event::Stderr { text } => eprint!("{}", paella_wire::without_frames(&text)),
            other => {
                if rest.send(other).is_err() {
                    return;
                }
            }
        }
    }
}

struct Prompt {
    runner: CellRunner,
    /// Pieces of Rust so far.
    count: usize,
    settings: Settings,
}

impl Prompt {
    /// Answer what the prompt asks, until the person leaves.
    async fn serve(&mut self) {
        self.runner.bus.send(&Request::Prompt).await;
        while let Some(event) = self.runner.events.recv().await {
            let reply = match event {
                Event::Left => return,
                Event::RunRust { code } => self.rust(&code).await,
                Event::AskWhole { code } => {
                    let open =
                        matches!(whole::reply(&code).status, IsCompleteReplyStatus::Incomplete);
                    Some(Request::Whole { whole: !open })
                }
                Event::CompleteRust { code, at } => Some(self.words(&code, at).await),
                Event::Exit { text } => {
                    self.runner.revive().await;
                    self.again(&faults::died(&text, false)).await;
                    None
                }
                Event::Refused { text } => {
                    eprintln!("error: {text}");
                    None
                }
                _ => None, // of a cell, whose run has heard it
            };
            if let Some(reply) = reply {
                self.runner.bus.send(&reply).await;
            }
        }
    }

    /// Run a piece of Rust. No reply if the evaluator has died: its successor begins a new prompt.
    async fn rust(&mut self, code: &str) -> Option<Request> {
        self.count += 1;
        PRESSED.store(false, Ordering::SeqCst);
        self.runner.begin().await;
        let nobody = |_| oneshot::channel().1; // the evaluator asks at the terminal itself
        let outcome = self.runner.rust(code, code, self.count, &nobody).await;
        let killed = self.runner.interrupts.has_killed();
        let asked = self.runner.interrupts.end() | PRESSED.load(Ordering::SeqCst);
        let error = match outcome {
            Err(error) if error.ename == faults::DIED => {
                self.again(&error).await;
                return None;
            }
            Err(error) if error.ename == faults::INTERRUPTED => Some(error),
            _ if asked && !killed => Some(faults::interrupted()),
            Err(error) => Some(error),
            Ok(Done { outputs, remark }) => {
                remark.iter().for_each(|text| eprint!("{text}"));
                let data = shown(outputs).unwrap_or_default();
                let text = data.get("text/plain").and_then(|text| text.as_str());
                text.iter().for_each(|text| println!("{text}"));
                None
            }
        };
        Some(Request::RustRan { error: error.map(|error| error.traceback.join("\n")) })
    }

    /// Say that the evaluator has died, and begin again with the next one.
    async fn again(&mut self, error: &ReplyError) {
        self.settings.restore();
        eprintln!("\n{}", error.traceback.join("\n"));
        self.words("", 0).await; // the engine has then made the next session
        self.runner.forget();
        self.runner.bus.send(&Request::Prompt).await;
    }

    async fn words(&self, code: &str, at: usize) -> Request {
        let (reply, answer) = oneshot::channel();
        let _ = self.runner.jobs.send(Job::Complete { code: code.into(), at, reply });
        let found = answer.await.ok().flatten();
        let (start, words) = found.map_or((at, Vec::new()), complete::words);
        Request::Words { start, words }
    }
}
