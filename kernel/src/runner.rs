//! One piece of a cell at a time: Rust through the compiler, commands straight to the session.

use crate::bus::Bus;
use crate::engine::{Job, Ran};
use crate::faults::{self, Panic};
use crate::interrupt::{CellPhase, Interrupts};
use jupyter_protocol::ReplyError;
use paella_wire::{Event, Media, Request};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Asks the person for a line. A dropped sender means that there is no answer.
pub type Ask<'a> = &'a (dyn Fn(String) -> oneshot::Receiver<String> + Sync);

/// Runs the parts of a cell: through the compiler or straight in the evaluator.
pub struct CellRunner {
    pub bus: Bus,
    pub jobs: Sender<Job>,
    /// Events that are not shown: ends, panics, questions, answers.
    pub events: mpsc::UnboundedReceiver<Event>,
    pub interrupts: Interrupts,
    /// Commands want a `%` in front.
    sign: bool,
    /// How the evaluator has ended, if it did while no cell ran.
    lost: Option<String>,
    /// Time that went into compiling, of all cells.
    pub compiled: Duration,
}

/// What a piece of Rust left.
pub struct Done {
    /// What evcxr itself shows.
    pub outputs: evcxr::EvalOutputs,
    /// A remark, if the session is no longer in `lab`.
    pub remark: Option<String>,
}

/// Events of one part of a cell.
#[derive(Default)]
struct Heard {
    panic: Option<Panic>,
    exit: Option<String>,
    /// A `?` returned an error.
    failed: bool,
    /// The compiled cell was run.
    ran: bool,
    /// A message that one side did not understand.
    refused: Option<String>,
}

impl CellRunner {
    /// `sign`: commands want a `%` in front.
    pub fn new(
        bus: Bus,
        jobs: Sender<Job>,
        events: mpsc::UnboundedReceiver<Event>,
        interrupts: Interrupts,
        sign: bool,
    ) -> Self {
        Self { bus, jobs, events, interrupts, sign, lost: None, compiled: Duration::ZERO }
    }

    /// Wait, between cells, until the evaluator ends by itself.
    pub async fn watch(&mut self) {
        while self.lost.is_none() {
            match self.events.recv().await {
                Some(event) => self.note(event),
                None => std::future::pending().await, // the kernel is about to end
            }
        }
    }

    /// How the evaluator has ended, if it did while no cell ran. It is said once.
    pub fn take_loss(&mut self) -> Option<String> {
        self.lost.take().filter(|_| !self.bus.is_connected())
    }

    /// An event that no cell waits for.
    fn note(&mut self, event: Event) {
        match event {
            Event::Exit { text } => self.lost = Some(text),
            Event::Hello { .. } => self.lost = None,
            Event::Refused { text } => eprintln!("error: {text}"), // no cell to show it below
            _ => {}
        }
    }

    /// A cell begins. Events from before it are dropped.
    pub async fn begin(&mut self) {
        self.interrupts.begin();
        self.forget();
        self.bus.send(&Request::Begin).await;
    }

    /// Drop the events between two cells.
    pub fn forget(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.note(event);
        }
    }

    /// Compile and run `code`, a part of `cell`. A cell that is stopped while it is compiled is not run.
    pub async fn rust(
        &mut self,
        code: &str,
        cell: &str,
        number: usize,
        ask: Ask<'_>,
    ) -> Result<Done, ReplyError> {
        let (reply, mut answer) = oneshot::channel();
        let (mut heard, start) = (Heard::default(), Instant::now());
        let mut compiled = None;
        self.interrupts.enter(CellPhase::Compiling);
        let _ = self.jobs.send(Job::Run { code: code.into(), reply }); // a dead engine drops the answer
        let ended = || {
            faults::plain(
                "KernelError",
                "the compiler's thread has ended\n  hint: restart the kernel",
            )
        };
        let ran = loop {
            tokio::select! {
                biased;
                ran = &mut answer => break ran,
                event = self.events.recv() => match event {
                    Some(event) => {
                        self.hear(event, &mut heard, ask).await;
                        if heard.ran && compiled.is_none() {
                            compiled = Some(start.elapsed());
                        }
                    }
                    None => return Err(ended()),
                },
            }
        };
        self.compiled += compiled.unwrap_or_else(|| start.elapsed());
        let Ok(Ran { outcome, source, gone, taken }) = ran else { return Err(ended()) };
        let died = matches!(outcome, Err(evcxr::Error::SubprocessTerminated(_)));
        self.hear_all(died, &mut heard, ask).await;
        if !died {
            self.lost = heard.exit.take(); // it has ended while the cell was compiled
        }
        match (outcome, &heard.panic) {
            (Err(evcxr::Error::CompilationErrors(errors)), _) => {
                Err(faults::compilation(&errors, cell, number, self.sign))
            }
            (Err(evcxr::Error::SubprocessTerminated(_)), _) => {
                let how = heard.exit.unwrap_or_else(|| "it was killed".into());
                Err(faults::died(&how, self.interrupts.has_killed()))
            }
            (Err(error), _) => Err(faults::other(&error.to_string())),
            (Ok(_), None) if !heard.ran && self.interrupts.is_asked() => {
                Err(faults::not_run(&gone))
            }
            (Ok(_), Some(panic)) => Err(faults::panic(panic, cell, &source, number)),
            (Ok(_), None) if heard.failed => Err(faults::failed()),
            (Ok(outputs), None) => match heard.refused {
                Some(text) => Err(faults::plain("KernelError", &text)),
                None => Ok(Done { outputs, remark: taken.map(faults::taken) }),
            },
        }
    }

    /// A request to the session, until it is done.
    pub async fn command(&mut self, request: &Request, ask: Ask<'_>) -> Option<ReplyError> {
        let mut heard = Heard::default();
        self.interrupts.enter(CellPhase::Command);
        self.bus.send(request).await;
        while heard.exit.is_none() {
            match self.events.recv().await? {
                Event::Done { error } => {
                    return error.map(|text| faults::plain("CommandError", &text));
                }
                Event::Refused { text } => return Some(faults::plain("KernelError", &text)),
                event => self.hear(event, &mut heard, ask).await,
            }
        }
        self.revive().await;
        Some(faults::died(&heard.exit.unwrap_or_default(), self.interrupts.has_killed()))
    }

    /// Start a new evaluator after one has died without evcxr's notice.
    pub async fn revive(&self) {
        let (reply, again) = oneshot::channel();
        let _ = self.jobs.send(Job::Revive { reply }); // a dead engine drops the answer
        let _ = again.await;
    }

    /// Ask the session and wait for the answer that `pick` takes, a few seconds at most.
    pub async fn question<T>(
        &mut self,
        request: &Request,
        pick: impl Fn(Event) -> Option<T>,
    ) -> Option<T> {
        self.forget();
        if !self.bus.send(request).await {
            return None;
        }
        while let Ok(Some(event)) =
            tokio::time::timeout(Duration::from_secs(5), self.events.recv()).await
        {
            if matches!(event, Event::Refused { .. } | Event::Exit { .. }) {
                self.note(event);
                return None;
            }
            if let Some(answer) = pick(event) {
                return Some(answer);
            }
        }
        None
    }

    /// Take in all events from before the end of the cell.
    async fn hear_all(&mut self, died: bool, heard: &mut Heard, ask: Ask<'_>) {
        if !died && !self.bus.send(&Request::Sync).await {
            return;
        }
        let patience = Duration::from_secs(if died { 2 } else { 3600 });
        while heard.exit.is_none() {
            let Ok(Some(event)) = tokio::time::timeout(patience, self.events.recv()).await else {
                return;
            };
            if event == Event::Synced {
                return;
            }
            self.hear(event, heard, ask).await;
        }
    }

    async fn hear(&self, event: Event, heard: &mut Heard, ask: Ask<'_>) {
        match event {
            Event::Panic { text, file, line } => heard.panic = Some(Panic { text, file, line }),
            Event::Exit { text } => heard.exit = Some(text),
            Event::Failed => heard.failed = true,
            Event::Running => {
                heard.ran = true;
                self.interrupts.enter(CellPhase::Running);
            }
            Event::Refused { text } => heard.refused = Some(text),
            Event::Input { prompt } => {
                let answer = tokio::select! {
                    biased;
                    () = self.interrupts.asked() => None,
                    () = self.bus.gone() => None,
                    answer = ask(prompt) => answer.ok(),
                };
                let nobody = || Request::NoAnswer { stopped: self.interrupts.is_asked() };
                let reply = answer.map_or_else(nobody, |text| Request::Answer { text });
                self.bus.send(&reply).await;
            }
            _ => {} // shown by the publisher, or an answer to a question that was given up
        }
    }
}

/// Contents that evcxr itself shows: answers of its `:commands`, values of types with a display of their own. A lone `()`
/// is nothing.
pub fn shown(outputs: evcxr::EvalOutputs) -> Option<Media> {
    let contents = outputs.content_by_mime_type.into_iter();
    let data: Media = contents.map(|(mime, text)| (mime, text.into())).collect();
    let nothing = data.len() == 1 && data.get("text/plain").is_some_and(|text| text == "()");
    (!data.is_empty() && !nothing).then_some(data)
}
