//! One piece of a cell at a time: Rust through the compiler, commands straight to the session.

use crate::bus::Bus;
use crate::engine::{Job, Ran};
use crate::faults;
use crate::interrupt::Interrupts;
use jupyter_protocol::ReplyError;
use serde_json::{Value, json};
use std::sync::mpsc::Sender;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Asks the person for a line. A sender that is dropped is no answer.
pub type Ask<'a> = &'a (dyn Fn(String) -> oneshot::Receiver<String> + Sync);

/// What compiles, what evaluates, and what is heard of it.
pub struct Runner {
    pub bus: Bus,
    pub jobs: Sender<Job>,
    /// What the evaluator says and nobody shows: ends, panics, questions.
    pub events: mpsc::UnboundedReceiver<Value>,
    pub interrupts: Interrupts,
    /// Commands want a `%` in front.
    pub sign: bool,
}

/// What the evaluator said about one part of a cell.
#[derive(Default)]
struct Heard {
    panic: Option<Value>,
    exit: Option<String>,
}

impl Runner {
    /// A cell begins: what was said before it is forgotten.
    pub async fn begin(&mut self) {
        self.interrupts.begin();
        self.forget();
        self.bus.send(&json!({ "kind": "begin" })).await;
    }

    /// Said between the cells.
    pub fn forget(&mut self) {
        while self.events.try_recv().is_ok() {}
    }

    /// Compile and run `code`, a part of `cell`; what evcxr itself has to show comes back.
    pub async fn rust(
        &mut self,
        code: &str,
        cell: &str,
        number: usize,
        ask: Ask<'_>,
    ) -> Result<evcxr::EvalOutputs, ReplyError> {
        let (reply, mut answer) = oneshot::channel();
        let mut heard = Heard::default();
        let _ = self.jobs.send(Job::Run { code: code.into(), reply }); // a dead engine drops the answer
        let gone =
            || faults::plain("KernelError", "the compiler's thread has ended\n  hint: start anew");
        let ran = loop {
            tokio::select! {
                ran = &mut answer => break ran,
                event = self.events.recv() => match event {
                    Some(event) => self.hear(event, &mut heard, ask).await,
                    None => return Err(gone()),
                },
            }
        };
        let Ok(Ran { outcome, source }) = ran else { return Err(gone()) };
        let died = matches!(outcome, Err(evcxr::Error::SubprocessTerminated(_)));
        self.hear_all(died, &mut heard, ask).await;
        match (outcome, &heard.panic) {
            (Err(evcxr::Error::CompilationErrors(errors)), _) => {
                Err(faults::compilation(&errors, cell, number, self.sign))
            }
            (Err(evcxr::Error::SubprocessTerminated(_)), _) => {
                let how = heard.exit.unwrap_or_else(|| "it was killed".into());
                Err(faults::died(&how, self.interrupts.has_killed()))
            }
            (Err(error), _) => Err(faults::other(&error.to_string())),
            (Ok(_), Some(panic)) => Err(faults::panic(panic, cell, &source, number)),
            (Ok(outputs), None) => Ok(outputs),
        }
    }

    /// A request to the session, until it is done.
    pub async fn command(&mut self, request: &Value, ask: Ask<'_>) -> Option<ReplyError> {
        let mut heard = Heard::default();
        self.bus.send(request).await;
        while heard.exit.is_none() {
            let event = self.events.recv().await?;
            if event["kind"] == "done" {
                return event["error"].as_str().map(|text| faults::plain("CommandError", text));
            }
            self.hear(event, &mut heard, ask).await;
        }
        self.revive().await;
        Some(faults::died(&heard.exit.unwrap_or_default(), self.interrupts.has_killed()))
    }

    /// A new evaluator, after one has died where evcxr does not see it.
    pub async fn revive(&self) {
        let (reply, again) = oneshot::channel();
        let _ = self.jobs.send(Job::Revive { reply }); // a dead engine drops the answer
        let _ = again.await;
    }

    /// Ask the session and wait for its answer of that kind, a few seconds at most.
    pub async fn question(&mut self, request: &Value, kind: &str) -> Option<Value> {
        self.forget();
        if !self.bus.send(request).await {
            return None;
        }
        while let Ok(Some(event)) =
            tokio::time::timeout(Duration::from_secs(5), self.events.recv()).await
        {
            if event["kind"] == kind {
                return Some(event);
            }
        }
        None
    }

    /// Everything that was said before the end of the cell.
    async fn hear_all(&mut self, died: bool, heard: &mut Heard, ask: Ask<'_>) {
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

    async fn hear(&self, event: Value, heard: &mut Heard, ask: Ask<'_>) {
        match event["kind"].as_str() {
            Some("panic") => heard.panic = Some(event),
            Some("exit") => heard.exit = event["text"].as_str().map(String::from),
            Some("input") => {
                let prompt = event["prompt"].as_str().unwrap_or_default().to_string();
                let text = ask(prompt).await.unwrap_or_default(); // empty where nobody can answer
                self.bus.send(&json!({ "kind": "answer", "text": text })).await;
            }
            _ => {}
        }
    }
}

/// What evcxr itself has to show, MIME type to content: answers of its `:commands`, values of types with a display of
/// their own. A lone `()` is nothing.
pub fn shown(outputs: evcxr::EvalOutputs) -> Option<Value> {
    let contents = outputs.content_by_mime_type.into_iter();
    let data: serde_json::Map<String, Value> =
        contents.map(|(mime, text)| (mime, Value::String(text))).collect();
    let nothing = data.len() == 1 && data.get("text/plain").is_some_and(|text| text == "()");
    (!data.is_empty() && !nothing).then_some(Value::Object(data))
}
