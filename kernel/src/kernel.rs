//! The kernel: one cell after the other, each part to the engine or to the session.

use crate::cell::{CellPart, inside, parts};
use crate::complete::{self, Count, Offer};
use crate::engine::Job;
use crate::faults;
use crate::history::History;
use crate::interrupt::{CellPhase, Interrupts};
use crate::publish::{Bar, Publisher, media};
use crate::questions::Question;
use crate::runner::{CellRunner, Done, shown};
use jupyter_protocol::{
    CompleteReply, CompleteRequest, ExecuteInput, ExecuteReply, ExecuteRequest, ExecutionCount,
    ExpressionResult, InputRequest, InspectReply, InspectRequest, JupyterMessage, Payload,
    ReplyError, ReplyStatus,
};
use paella_wire::{Event, Request};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// Outcome of the engine's start; `None` until it ends.
pub type Started = watch::Receiver<Option<Result<(), String>>>;

pub struct Kernel {
    pub runner: CellRunner,
    pub publisher: Publisher,
    pub questions: mpsc::UnboundedSender<Question>,
    pub history: Arc<Mutex<History>>,
    pub started: Started,
    pub count: usize,
    /// Pages that the cell asks the front end to open.
    pub pages: Vec<Payload>,
    /// A cell has waited for a future: what that needs is compiled.
    pub awaited: bool,
    /// The last evaluator ended at its start. The next cell tries again.
    pub broken: bool,
}

/// Time between two looks at a compilation, which says once a second how long it has taken.
const LOOK: Duration = Duration::from_millis(50);
/// Time that a new evaluator may take to be there.
const PATIENCE: Duration = Duration::from_secs(60);
/// There is none, and what is left to do.
const DAMAGED: &str = "the evaluation process ends at its start\n  \
                       hint: restart the kernel: it prepares itself again if it is damaged";

impl Kernel {
    /// Run a cell and give its reply.
    pub async fn execute(
        &mut self,
        message: &JupyterMessage,
        request: &ExecuteRequest,
    ) -> JupyterMessage {
        let stored = request.store_history && !request.silent;
        if stored {
            self.count += 1;
            let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
            history.add(self.count, &request.code);
        }
        let execution_count = ExecutionCount(self.count);
        if !request.silent {
            let code = request.code.clone();
            self.publisher.send(ExecuteInput { code, execution_count }.as_child_of(message));
        }
        self.publisher.begin(message, self.count, request.silent);
        let error = self.run(message, request).await;
        error.iter().for_each(|error| self.publisher.error(error));
        let status = if error.is_none() { ReplyStatus::Ok } else { ReplyStatus::Error };
        let mut answers = HashMap::new();
        for (name, code) in request.user_expressions.iter().flatten().filter(|_| error.is_none()) {
            answers.insert(name.clone(), self.expression(code).await);
        }
        let user_expressions = Some(answers);
        let error = error.map(Box::new);
        let payload = std::mem::take(&mut self.pages);
        ExecuteReply { status, execution_count, payload, user_expressions, error }
            .as_child_of(message)
    }

    /// The value of an expression that comes along with a cell, for the reply.
    async fn expression(&mut self, code: &str) -> ExpressionResult {
        self.runner.begin().await;
        self.publisher.hold();
        let nobody = |_| oneshot::channel().1;
        let outcome = self.runner.rust(code, code, self.count, &nobody).await;
        self.runner.interrupts.end();
        let held = self.publisher.release();
        match outcome {
            Ok(Done { outputs, .. }) => {
                let data = media(&shown(outputs).unwrap_or(held));
                ExpressionResult::Ok { data, metadata: Default::default() }
            }
            Err(ReplyError { ename, evalue, traceback }) => {
                ExpressionResult::Error { ename, evalue, traceback }
            }
        }
    }

    /// The evaluator has ended while no cell ran: begin a new session, and say so below the last cell.
    pub async fn restart(&mut self) {
        let Some(how) = self.runner.take_loss() else { return };
        if !matches!(*self.started.borrow(), Some(Ok(()))) {
            return; // the start itself has failed, and says why
        }
        if self.broken {
            return; // it has been said
        }
        self.broken = !self.revive().await;
        let text = match self.broken {
            true => DAMAGED.to_string(),
            false => faults::died(&how, false).traceback.join("\n"),
        };
        self.publisher.stderr(&format!("{text}\n"));
    }

    /// Start a new evaluator; false if it ends at once.
    async fn revive(&mut self) -> bool {
        self.runner.revive().await;
        self.runner.forget();
        self.runner.bus.is_connected()
    }

    /// All parts, until one fails or the stop button is pressed.
    async fn run(
        &mut self,
        message: &JupyterMessage,
        request: &ExecuteRequest,
    ) -> Option<ReplyError> {
        let parts = parts(&request.code);
        if parts.is_empty() {
            return None;
        }
        if let Err(text) = self.evaluator().await {
            return Some(faults::plain("KernelError", &text));
        }
        self.runner.begin().await;
        self.restart().await;
        let asked = request.allow_stdin.then(|| message.clone());
        let (mut error, mut clock) = (None, None);
        for part in parts {
            if part == CellPart::Clock {
                self.clock(&mut clock);
                continue;
            }
            error = self.part(part, &request.code, asked.as_ref()).await;
            if error.is_some() || self.runner.interrupts.is_asked() {
                break;
            }
        }
        let asked = self.runner.interrupts.end();
        error.or_else(|| asked.then(faults::interrupted))
    }

    /// Start the clock, or tell what it says, and how much of it went into compiling.
    fn clock(&mut self, clock: &mut Option<(Instant, Duration)>) {
        match clock.take() {
            None => *clock = Some((Instant::now(), self.runner.compiled)),
            Some((start, before)) => {
                let (all, compiled) = (start.elapsed(), self.runner.compiled - before);
                let part = match compiled.is_zero() {
                    true => String::new(),
                    false => format!(", {:.3} s of them to compile", compiled.as_secs_f64()),
                };
                self.publisher.stdout(&format!("time: {:.3} s{part}\n", all.as_secs_f64()));
            }
        }
    }

    /// The variables of the session, as a table.
    async fn variables(&self) -> Option<ReplyError> {
        let (reply, answer) = oneshot::channel();
        let _ = self.runner.jobs.send(Job::Variables { reply }); // a dead engine drops the answer
        let Ok(all) = answer.await else {
            return Some(faults::plain("KernelError", "the compiler's thread has ended"));
        };
        let width = all.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let lines = all.iter().map(|(name, kind)| format!("{name:width$}  {kind}"));
        let text = lines.collect::<Vec<_>>().join("\n");
        self.publisher.result(&[("text/plain".into(), text.into())].into_iter().collect());
        None
    }

    /// One part of the cell; `person` sent the cell and can be asked.
    async fn part(
        &mut self,
        part: CellPart,
        cell: &str,
        person: Option<&JupyterMessage>,
    ) -> Option<ReplyError> {
        let questions = self.questions.clone();
        let ask = |prompt: String| {
            let (answer, wait) = oneshot::channel();
            if let Some(message) = person {
                let request = InputRequest { prompt, password: false }.as_child_of(message);
                let _ = questions.send(Question { request, answer }); // closed sockets drop the answer
            }
            wait
        };
        let request = match part {
            CellPart::Rust(code) => {
                self.runner.interrupts.enter(CellPhase::Compiling);
                let compiling = self.long(&code).map(|what| {
                    let bar = Bar::new(self.publisher.clone());
                    tokio::spawn(compiling(what, bar, self.runner.interrupts.clone()))
                });
                let outcome = self.runner.rust(&code, cell, self.count, &ask).await;
                self.runner.interrupts.enter(CellPhase::Running); // also where nothing was run
                if let Some(bar) = compiling {
                    let _ = bar.await; // it only draws
                }
                let Done { outputs, remark } = match outcome {
                    Ok(done) => done,
                    Err(error) => return Some(error),
                };
                self.awaited |= is_async(&code);
                shown(outputs).iter().for_each(|data| self.publisher.result(data));
                remark.iter().for_each(|text| self.publisher.stderr(text));
                return None;
            }
            CellPart::Variables => return self.variables().await,
            CellPart::Clock => return None, // `run` has heard it
            CellPart::Command(line) if line.ends_with('?') => {
                let name = line.trim_end_matches('?');
                let reply = self.help(name).await;
                if reply.found {
                    self.pages.push(Payload::Page { data: reply.data, start: 0 });
                    return None;
                }
                Request::Command { line: format!("help {name}") }
            }
            CellPart::Command(line) => Request::Command { line },
            CellPart::Config { text, file } => Request::Config { text, file },
            CellPart::Unknown(line) => {
                let text =
                    format!("unknown cell command `{line}`\n  hint: `%%ron` begins a config");
                return Some(faults::plain("CommandError", &text));
            }
        };
        self.runner.command(&request, &ask).await
    }

    /// Wait for the evaluator.
    ///
    /// Errors: the start has failed.
    async fn evaluator(&mut self) -> Result<(), String> {
        let mut begun = None; // since when the start is over
        loop {
            if let Some(Err(text)) = self.started.borrow().as_ref() {
                return Err(format!("the kernel could not start: {text}"));
            }
            if self.runner.bus.is_connected() {
                return Ok(());
            }
            if matches!(*self.started.borrow(), Some(Ok(()))) {
                self.runner.forget();
                self.restart().await;
                let late = begun.get_or_insert_with(Instant::now).elapsed() > PATIENCE;
                if late || self.broken && !self.revive().await {
                    return Err(DAMAGED.into());
                }
                self.broken = false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn complete(&mut self, request: &CompleteRequest) -> CompleteReply {
        let (code, cursor) = (&request.code, request.cursor_pos);
        let byte = Count::of(code, cursor).byte_of(code, cursor);
        let line = complete::line_start(code, byte);
        let typed = code[line..byte].strip_prefix('%').filter(|_| !is_inside(code, line));
        if let Some(typed) = typed {
            let request = Request::Complete { line: typed.into() };
            let offer = self.runner.question(&request, |event| match event {
                Event::Completions { start, words, files } => Some(Offer { start, words, files }),
                _ => None,
            });
            return complete::command(code, line, cursor, offer.await.unwrap_or_default());
        }
        let (reply, answer) = oneshot::channel();
        let _ = self.runner.jobs.send(Job::Complete { code: code.clone(), at: byte, reply });
        match answer.await {
            Ok(Some(found)) => complete::rust(code, cursor, found),
            _ => complete::nothing(cursor),
        }
    }

    /// Documentation of the word at the cursor; for a command its help.
    pub async fn inspect(&mut self, request: &InspectRequest) -> InspectReply {
        let at = complete::word_end(&request.code, request.cursor_pos);
        let line = complete::line_start(&request.code, at);
        let name = crate::cell::command(&request.code[line..]);
        if let Some(name) = name.filter(|_| !is_inside(&request.code, line)) {
            return self.help(name.split(char::is_whitespace).next().unwrap_or_default()).await;
        }
        let (reply, answer) = oneshot::channel();
        let _ = self.runner.jobs.send(Job::Inspect { code: request.code.clone(), at, reply });
        complete::documentation(answer.await.ok().flatten())
    }

    async fn help(&mut self, name: &str) -> InspectReply {
        let request = Request::Help { name: name.into() };
        let help = self.runner.question(&request, |event| match event {
            Event::Help { text } => Some(text),
            _ => None,
        });
        complete::documentation(
            help.await.flatten().map(|text| (text.clone(), format!("```\n{text}\n```"))),
        )
    }

    /// What takes long to compile in this code, if anything does.
    fn long(&self, code: &str) -> Option<&'static str> {
        let is_crate = code.lines().any(|line| line.trim_start().starts_with(":dep "));
        match (is_crate, is_async(code) && !self.awaited) {
            (true, _) => Some("the crates of `:dep`"),
            (false, true) => Some("tokio, which the first `.await` needs"),
            (false, false) => None,
        }
    }
}

fn is_async(code: &str) -> bool {
    code.contains(".await")
}

/// Whether the line at this byte begins within a text or a comment.
fn is_inside(code: &str, line: usize) -> bool {
    inside(code).contains(&code[..line].matches('\n').count())
}

/// Say below the cell how long it has been compiling, until it is compiled.
async fn compiling(what: &'static str, mut bar: Bar, interrupts: Interrupts) {
    let (start, mut shown) = (Instant::now(), 0);
    while interrupts.is_running() && interrupts.phase() == CellPhase::Compiling {
        tokio::time::sleep(LOOK).await;
        let seconds = start.elapsed().as_secs();
        if seconds > shown {
            shown = seconds;
            bar.put(0, None, &format!("compiling {what}: {seconds} s"));
        }
    }
    if bar.is_shown() {
        bar.put(0, None, &format!("compiling {what} took {} s", start.elapsed().as_secs()));
    }
}
