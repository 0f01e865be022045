//! The kernel: one cell after the other, each part to the engine or to the session.

use crate::cell::{Part, parts};
use crate::complete::{self, Offer};
use crate::engine::Job;
use crate::faults;
use crate::history::History;
use crate::publish::Publisher;
use crate::runner::{Runner, shown};
use jupyter_protocol::{
    CompleteReply, CompleteRequest, ExecuteInput, ExecuteReply, ExecuteRequest, ExecutionCount,
    InputRequest, InspectReply, InspectRequest, JupyterMessage, Payload, ReplyError, ReplyStatus,
};
use paella_wire::{Event, Request};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// A question to the person, with the channel for its answer.
pub struct Question {
    pub request: JupyterMessage,
    pub answer: oneshot::Sender<String>,
}

/// Outcome of the engine's start; `None` until it ends.
pub type Started = watch::Receiver<Option<Result<(), String>>>;

pub struct Kernel {
    pub runner: Runner,
    pub publisher: Publisher,
    pub questions: mpsc::UnboundedSender<Question>,
    pub history: Arc<Mutex<History>>,
    pub started: Started,
    pub count: usize,
    /// Pages that the cell asks the front end to open.
    pub pages: Vec<Payload>,
}

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
        let user_expressions = Some(HashMap::new());
        let error = error.map(Box::new);
        let payload = std::mem::take(&mut self.pages);
        ExecuteReply { status, execution_count, payload, user_expressions, error }
            .as_child_of(message)
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
        let asked = request.allow_stdin.then(|| message.clone());
        let mut error = None;
        for part in parts {
            error = self.part(part, &request.code, asked.as_ref()).await;
            if error.is_some() || self.runner.interrupts.is_asked() {
                break;
            }
        }
        let asked = self.runner.interrupts.end();
        error.or_else(|| asked.then(faults::interrupted))
    }

    /// One part of the cell; `person` sent the cell and can be asked.
    async fn part(
        &mut self,
        part: Part,
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
            Part::Rust(code) => {
                let outputs = match self.runner.rust(&code, cell, self.count, &ask).await {
                    Ok(outputs) => outputs,
                    Err(error) => return Some(error),
                };
                shown(outputs).iter().for_each(|data| self.publisher.result(data));
                return None;
            }
            Part::Command(line) if line.ends_with('?') => {
                let name = line.trim_end_matches('?');
                let reply = self.help(name).await;
                if reply.found {
                    self.pages.push(Payload::Page { data: reply.data, start: 0 });
                    return None;
                }
                Request::Command { line: format!("help {name}") }
            }
            Part::Command(line) => Request::Command { line },
            Part::Config { text, file } => Request::Config { text, file },
            Part::Unknown(line) => {
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
        loop {
            if let Some(Err(text)) = self.started.borrow().as_ref() {
                return Err(format!("the kernel could not start: {text}"));
            }
            if self.runner.bus.is_connected() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn complete(&mut self, request: &CompleteRequest) -> CompleteReply {
        let (code, cursor) = (&request.code, request.cursor_pos);
        let byte = complete::byte_of(code, cursor);
        let line = complete::line_start(code, byte);
        if let Some(typed) = code[line..byte].strip_prefix('%') {
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
            Ok(Some(found)) => complete::rust(code, found),
            _ => complete::nothing(cursor),
        }
    }

    /// Documentation of the word at the cursor; for a command its help.
    pub async fn inspect(&mut self, request: &InspectRequest) -> InspectReply {
        let at = complete::word_end(&request.code, request.cursor_pos);
        let line = complete::line_start(&request.code, at);
        if let Some(name) = crate::cell::command(&request.code[line..]) {
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
}
