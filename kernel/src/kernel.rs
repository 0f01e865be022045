//! The kernel: one cell after the other, each part to the engine or to the session.

use crate::bus::Bus;
use crate::cell::{Part, parts};
use crate::complete;
use crate::engine::{Job, Ran};
use crate::faults;
use crate::history::History;
use crate::interrupt::Interrupts;
use crate::publish::Publisher;
use jupyter_protocol::{
    CompleteReply, CompleteRequest, ExecuteInput, ExecuteReply, ExecuteRequest, ExecutionCount,
    InputRequest, InspectReply, InspectRequest, JupyterMessage, Payload, ReplyError, ReplyStatus,
};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// A question to the person, and where the answer goes.
pub struct Question {
    pub request: JupyterMessage,
    pub answer: oneshot::Sender<String>,
}

/// How the engine's start went; `None` while it goes on.
pub type Started = watch::Receiver<Option<Result<(), String>>>;

pub struct Kernel {
    pub bus: Bus,
    pub jobs: Sender<Job>,
    pub publisher: Publisher,
    /// What the evaluator says and nobody shows: ends, panics, questions.
    pub events: mpsc::UnboundedReceiver<Value>,
    pub questions: mpsc::UnboundedSender<Question>,
    pub interrupts: Interrupts,
    pub history: Arc<Mutex<History>>,
    pub started: Started,
    pub count: usize,
    /// Pages that the cell asks the front end to open.
    pub pages: Vec<Payload>,
}

/// What the evaluator said about one part of a cell.
#[derive(Default)]
struct Heard {
    panic: Option<Value>,
    exit: Option<String>,
}

impl Kernel {
    /// Run a cell. True if it did what it should.
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
        self.interrupts.begin();
        while self.events.try_recv().is_ok() {} // said between the cells
        self.bus.send(&json!({ "kind": "begin" })).await;
        let ask = request.allow_stdin.then_some(message);
        let mut error = None;
        for part in parts {
            error = match part {
                Part::Rust(code) => self.rust(&code, &request.code, ask).await,
                Part::Command(line) if line.ends_with('?') => {
                    self.page(line.trim_end_matches('?')).await
                }
                Part::Command(line) => {
                    self.command(&json!({ "kind": "command", "line": line }), ask).await
                }
                Part::Config { text, file } => {
                    self.command(&json!({ "kind": "config", "text": text, "file": file }), ask)
                        .await
                }
                Part::Unknown(line) => Some(faults::plain(
                    "CommandError",
                    &format!("unknown cell command `{line}`\n  hint: `%%ron` begins a config"),
                )),
            };
            if error.is_some() || self.interrupts.is_asked() {
                break;
            }
        }
        let asked = self.interrupts.end();
        error.or_else(|| asked.then(faults::interrupted))
    }

    /// Wait until there is an evaluator, or until it is clear that there will be none.
    async fn evaluator(&mut self) -> Result<(), String> {
        loop {
            if let Some(Err(text)) = self.started.borrow().as_ref() {
                return Err(format!("the kernel could not start: {text}"));
            }
            if self.bus.is_connected() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn rust(
        &mut self,
        code: &str,
        cell: &str,
        ask: Option<&JupyterMessage>,
    ) -> Option<ReplyError> {
        let (reply, mut answer) = oneshot::channel();
        let mut heard = Heard::default();
        let _ = self.jobs.send(Job::Run { code: code.into(), reply }); // a dead engine drops the answer
        let ran = loop {
            tokio::select! {
                ran = &mut answer => break ran,
                event = self.events.recv() => self.hear(event?, &mut heard, ask).await,
            }
        };
        let Ok(Ran { outcome, source }) = ran else {
            let text = "the compiler's thread has ended\n  hint: restart the kernel";
            return Some(faults::plain("KernelError", text));
        };
        let died = matches!(outcome, Err(evcxr::Error::SubprocessTerminated(_)));
        self.hear_all(died, &mut heard, ask).await;
        match outcome {
            Err(evcxr::Error::CompilationErrors(errors)) => {
                Some(faults::compilation(&errors, cell, self.count))
            }
            Err(evcxr::Error::SubprocessTerminated(_)) => {
                let how = heard.exit.unwrap_or_else(|| "it was killed".into());
                Some(faults::died(&how, self.interrupts.has_killed()))
            }
            Err(error) => Some(faults::other(&error.to_string())),
            Ok(outputs) => {
                if let Some(panic) = &heard.panic {
                    return Some(faults::panic(panic, cell, &source, self.count));
                }
                self.show(outputs);
                None
            }
        }
    }

    /// What evcxr itself has to show: answers of its `:commands`, values of types with a display of their own.
    fn show(&self, outputs: evcxr::EvalOutputs) {
        let contents = outputs.content_by_mime_type.into_iter();
        let data: serde_json::Map<String, Value> =
            contents.map(|(mime, text)| (mime, Value::String(text))).collect();
        let nothing = data.len() == 1 && data.get("text/plain").is_some_and(|text| text == "()");
        if !data.is_empty() && !nothing {
            self.publisher.result(&Value::Object(data));
        }
    }

    /// Everything that was said before the end of the cell.
    async fn hear_all(&mut self, died: bool, heard: &mut Heard, ask: Option<&JupyterMessage>) {
        if !died && !self.bus.send(&json!({ "kind": "sync" })).await {
            return;
        }
        let patience = Duration::from_secs(if died { 2 } else { 3600 });
        while heard.exit.is_none() {
            let Ok(Some(event)) = tokio::time::timeout(patience, self.events.recv()).await else {
                return;
            };
            if event["kind"] == "synced" {
                return;
            }
            self.hear(event, heard, ask).await;
        }
    }

    async fn hear(&self, event: Value, heard: &mut Heard, ask: Option<&JupyterMessage>) {
        match event["kind"].as_str() {
            Some("panic") => heard.panic = Some(event),
            Some("exit") => heard.exit = event["text"].as_str().map(String::from),
            Some("input") => {
                let prompt = event["prompt"].as_str().unwrap_or_default().to_string();
                let text = self.ask(prompt, ask).await;
                self.bus.send(&json!({ "kind": "answer", "text": text })).await;
            }
            _ => {}
        }
    }

    /// Ask the person; empty where the front end cannot.
    async fn ask(&self, prompt: String, ask: Option<&JupyterMessage>) -> String {
        let Some(message) = ask else { return String::new() };
        let (answer, wait) = oneshot::channel();
        let request = InputRequest { prompt, password: false }.as_child_of(message);
        let _ = self.questions.send(Question { request, answer }); // closed sockets drop the answer
        wait.await.unwrap_or_default()
    }

    /// A request to the session, until it is done.
    async fn command(
        &mut self,
        request: &Value,
        ask: Option<&JupyterMessage>,
    ) -> Option<ReplyError> {
        let mut heard = Heard::default();
        self.bus.send(request).await;
        while heard.exit.is_none() {
            let event = self.events.recv().await?;
            if event["kind"] == "done" {
                return event["error"].as_str().map(|text| faults::plain("CommandError", text));
            }
            self.hear(event, &mut heard, ask).await;
        }
        let (reply, again) = oneshot::channel();
        let _ = self.jobs.send(Job::Revive { reply }); // as above
        let _ = again.await;
        Some(faults::died(&heard.exit.unwrap_or_default(), self.interrupts.has_killed()))
    }

    /// `%noise?`: the help of a command as a page of its own.
    async fn page(&mut self, name: &str) -> Option<ReplyError> {
        let reply = self.help(name).await;
        if !reply.found {
            return self
                .command(&json!({ "kind": "command", "line": format!("help {name}") }), None)
                .await;
        }
        self.pages.push(Payload::Page { data: reply.data, start: 0 });
        None
    }

    pub async fn complete(&mut self, request: &CompleteRequest) -> CompleteReply {
        let (code, cursor) = (&request.code, request.cursor_pos);
        let byte = complete::byte_of(code, cursor);
        let line = complete::line_start(code, byte);
        if let Some(typed) = code[line..byte].strip_prefix('%') {
            let event = self.words(typed).await;
            return complete::command(code, line, cursor, &event);
        }
        let (reply, answer) = oneshot::channel();
        let _ = self.jobs.send(Job::Complete { code: code.clone(), at: byte, reply });
        match answer.await {
            Ok(Some(found)) => complete::rust(code, found),
            _ => complete::nothing(cursor),
        }
    }

    /// What the session offers behind `%`.
    async fn words(&mut self, typed: &str) -> Value {
        while self.events.try_recv().is_ok() {} // said between the cells
        if !self.bus.send(&json!({ "kind": "complete", "line": typed })).await {
            return Value::Null;
        }
        while let Ok(Some(event)) =
            tokio::time::timeout(Duration::from_secs(5), self.events.recv()).await
        {
            if event["kind"] == "completions" {
                return event;
            }
        }
        Value::Null
    }

    /// Documentation of the word at the cursor; for a command its help.
    pub async fn inspect(&mut self, request: &InspectRequest) -> InspectReply {
        let at = complete::word_end(&request.code, request.cursor_pos);
        let line = complete::line_start(&request.code, at);
        if let Some(name) = crate::cell::command(&request.code[line..]) {
            return self.help(name.split(char::is_whitespace).next().unwrap_or_default()).await;
        }
        let (reply, answer) = oneshot::channel();
        let _ = self.jobs.send(Job::Inspect { code: request.code.clone(), at, reply });
        complete::documentation(answer.await.ok().flatten())
    }

    async fn help(&mut self, name: &str) -> InspectReply {
        while self.events.try_recv().is_ok() {} // said between the cells
        if !self.bus.send(&json!({ "kind": "help", "name": name })).await {
            return InspectReply::default();
        }
        while let Ok(Some(event)) =
            tokio::time::timeout(Duration::from_secs(5), self.events.recv()).await
        {
            if event["kind"] == "help" {
                let text = event["text"].as_str().map(String::from);
                return complete::documentation(
                    text.map(|text| (text.clone(), format!("```\n{text}\n```"))),
                );
            }
        }
        InspectReply::default()
    }
}
