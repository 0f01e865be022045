//! Preparation in a process of its own: this one has another environment since its start.

use crate::prepare::STEPS;
use crate::tell::{Notice, Tell};
use crate::trouble::{Result, Trouble};
use crate::workplace::Workplace;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Lines of cargo about its progress, which nobody at a notebook wants to read.
const CARGO: [&str; 6] =
    ["Compiling", "Finished", "Downloading", "Downloaded", "Blocking", "Fresh"];

/// Lines of the process that an error repeats.
const LAST: usize = 12;

/// Time between two drawings of the bar.
const PAUSE: Duration = Duration::from_millis(500);

/// Run `paella-kernel prepare` as a person would; `tell` hears what it says, and how far it is.
///
/// Errors: it cannot be started, or it fails; what it said last is in the text.
pub fn prepare(place: &Workplace, tell: &Tell) -> Result<()> {
    let fault = |text: String| {
        let hint = "`paella kernel install` in a terminal says more";
        Trouble::new(text, "the preparation of the kernel", hint)
    };
    let program = std::env::current_exe().map_err(|e| fault(e.to_string()))?;
    let mut command = Command::new(program);
    command.arg("prepare").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    place.as_before(&mut command);
    let mut child = command.spawn().map_err(|e| fault(e.to_string()))?;
    tell(Notice::Text("this kernel is being prepared, once for these sources and this rustc:\n"));
    let (say, said) = channel();
    let errors = child.stderr.take().map(BufReader::new);
    std::thread::spawn(move || {
        let lines = errors.into_iter().flat_map(BufRead::lines).map_while(std::io::Result::ok);
        lines.into_iter().try_for_each(|line| say.send(line)) // nobody listens after a fault
    });
    let mut heard = Heard::new(tell);
    loop {
        match said.recv_timeout(PAUSE) {
            Ok(line) => heard.line(line),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        heard.draw(false);
    }
    let done = child.wait().map_err(|e| fault(e.to_string()))?;
    if !done.success() {
        return Err(fault(heard.end()));
    }
    heard.draw(true);
    Ok(())
}

/// What the process has said so far.
struct Heard<'a> {
    tell: &'a Tell,
    start: Instant,
    drawn: Instant,
    /// Steps that are done, out of all but the last one, which is the end.
    step: usize,
    packages: usize,
    lines: Vec<String>,
}

impl<'a> Heard<'a> {
    fn new(tell: &'a Tell) -> Self {
        let now = Instant::now();
        Self { tell, start: now, drawn: now, step: 0, packages: 0, lines: Vec::new() }
    }

    fn line(&mut self, line: String) {
        if line.trim_start().starts_with(CARGO[0]) {
            self.packages += 1;
        }
        if CARGO.iter().any(|word| line.trim_start().starts_with(word)) {
            return;
        }
        match STEPS.iter().position(|step| *step == line) {
            Some(step) => self.step = step,
            None => (self.tell)(Notice::Text(&format!("{line}\n"))),
        }
        self.lines.push(line);
    }

    /// Draw the bar, if the last drawing is long enough ago or this one is the last.
    fn draw(&mut self, last: bool) {
        if !last && self.drawn.elapsed() < PAUSE {
            return;
        }
        self.drawn = Instant::now();
        let packages = match self.packages {
            0 => String::new(),
            n => format!(", {n} packages compiled"),
        };
        let text = format!("{}{packages}, {} s", STEPS[self.step], self.start.elapsed().as_secs());
        let total = Some(STEPS.len() as u64 - 1);
        (self.tell)(Notice::Bar { done: self.step as u64, total, text: &text });
    }

    /// The last lines.
    fn end(mut self) -> String {
        self.lines.split_off(self.lines.len().saturating_sub(LAST)).join("\n")
    }
}
