//! evcxr on a thread of its own: one job after the other, since its context must not move.

use crate::apart;
use crate::place::Tools;
use crate::prepare;
use crate::prepare::late::{Types, declares};
use crate::tell::Tell;
use crate::trouble::Trouble;
use crate::workplace::Workplace;
use evcxr::{CommandContext, Completions, EvalCallbacks, EvalContext};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use tokio::sync::{oneshot, watch};

/// rustc's errors and rust-analyzer recurse deeply.
const STACK: usize = 64 << 20;
/// The session as a variable of the cells.
const LAB: &str =
    "let mut lab: paella::session::Session = paella::session().expect(\"the session begins\");";

pub struct Ran {
    pub outcome: Result<evcxr::EvalOutputs, evcxr::Error>,
    /// The source that was compiled. Positions of panics refer to it.
    pub source: String,
    /// Variables that are gone since this code.
    pub gone: Vec<String>,
    /// Where the session is since this code, if no longer in `lab`: `None` if nobody has it.
    pub taken: Option<Option<String>>,
}

pub enum Job {
    Run {
        code: String,
        reply: oneshot::Sender<Ran>,
    },
    Complete {
        code: String,
        at: usize,
        reply: oneshot::Sender<Option<Completions>>,
    },
    Inspect {
        code: String,
        at: usize,
        reply: oneshot::Sender<Option<(String, String)>>,
    },
    /// The variables with their types.
    Variables {
        reply: oneshot::Sender<Vec<(String, String)>>,
    },
    /// The evaluator died outside of a cell. evcxr does not notice that.
    Revive {
        reply: oneshot::Sender<()>,
    },
}

impl Job {
    fn needs_types(&self) -> bool {
        match self {
            Self::Run { code, .. } => declares(code),
            Self::Complete { .. } | Self::Inspect { .. } => true,
            Self::Variables { .. } | Self::Revive { .. } => false,
        }
    }
}

/// Start the thread. `tell` receives the lines of a preparation, `started` the outcome of the start.
pub fn start(
    place: Workplace,
    tools: Tools,
    tell: Tell,
    started: watch::Sender<Option<Result<(), String>>>,
) -> Sender<Job> {
    let (sender, jobs) = channel();
    let run = move || match Engine::new(&place, &tools, &tell, &jobs) {
        Ok((mut engine, first)) => {
            let _ = started.send(Some(Ok(()))); // nobody may wait any more
            first.into_iter().for_each(|job| engine.job(job));
            engine.work(&jobs);
        }
        Err(text) => {
            eprintln!("error: {text}");
            let _ = started.send(Some(Err(text)));
        }
    };
    let thread = std::thread::Builder::new().name("engine".into()).stack_size(STACK);
    if let Err(error) = thread.spawn(run) {
        eprintln!("error: no thread for the compiler: {error}");
    }
    sender
}

struct Engine {
    context: CommandContext,
    types: Types,
}

impl Engine {
    /// Prepare what is missing and run the prelude. Returns the first job if one is waiting already.
    fn new(
        place: &Workplace,
        tools: &Tools,
        tell: &Tell,
        jobs: &Receiver<Job>,
    ) -> Result<(Self, Option<Job>), String> {
        if prepare::find(tools).is_none() {
            apart::prepare(place, tell).map_err(|e| e.to_string())?;
        }
        place.fill().map_err(|e| e.to_string())?;
        Self::begin(place, || jobs.try_recv().ok())
    }

    /// Run the prelude, with the standard library's types only if the job that waits needs them.
    fn begin(
        place: &Workplace,
        waiting: impl FnOnce() -> Option<Job>,
    ) -> Result<(Self, Option<Job>), String> {
        let mut types = Types::at_start(place);
        let (context, _outputs) =
            EvalContext::with_subprocess_command(place.guard()).map_err(|e| e.to_string())?;
        let mut context = CommandContext::with_eval_context(context);
        let first = waiting();
        if first.as_ref().is_some_and(Job::needs_types) {
            types.know_from_start(); // the prelude's dependencies make rust-analyzer read the workspace again
        }
        let file = place.prepared.prelude();
        let prelude = std::fs::read_to_string(&file).map_err(|e| Trouble::file(&e, &file));
        let prelude = prelude.map_err(|e| e.to_string())? + LAB;
        context.execute(&prelude).map_err(|e| e.to_string())?;
        Ok((Self { context, types }, first))
    }

    fn work(&mut self, jobs: &Receiver<Job>) {
        loop {
            match jobs.recv_timeout(self.types.patience()) {
                Ok(job) => self.job(job),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => self.types.while_idle(&mut self.context),
            }
        }
    }

    fn job(&mut self, job: Job) {
        if job.needs_types() {
            self.types.know(&mut self.context);
        }
        // A failed `send` means that nobody waits for the answer any more.
        match job {
            Job::Run { code, reply } => {
                let before = self.variables();
                let outcome =
                    self.context.execute_with_callbacks(&code, &mut EvalCallbacks::default());
                let source = self.context.last_source().unwrap_or_default();
                let died = matches!(outcome, Err(evcxr::Error::SubprocessTerminated(_)));
                let after = self.variables();
                let is_gone = |name: &String| !after.iter().any(|(known, _)| known == name);
                let gone = before.into_iter().map(|(name, _)| name).filter(is_gone);
                let gone: Vec<String> = if died { Vec::new() } else { gone.collect() };
                let taken = gone.iter().any(|name| name == "lab").then(|| {
                    let holder = after.iter().find(|(_, kind)| kind.ends_with("session::Session"));
                    holder.map(|(name, _)| name.clone())
                });
                let _ = reply.send(Ran { outcome, source, gone, taken });
                if died {
                    self.begin_session();
                }
            }
            Job::Complete { code, at, reply } => {
                let _ = reply.send(self.context.completions(&code, at).ok());
            }
            Job::Inspect { code, at, reply } => {
                let found = self.context.hover_at(&code, at).ok();
                let _ = reply.send(found.filter(|(text, _)| text != "No documentation found"));
            }
            Job::Variables { reply } => {
                let _ = reply.send(self.variables());
            }
            Job::Revive { reply } => {
                let outcome = self.context.execute("();"); // fails, and starts the next evaluator
                if matches!(outcome, Err(evcxr::Error::SubprocessTerminated(_))) {
                    self.begin_session();
                }
                let _ = reply.send(());
            }
        }
    }

    /// Names and types, in the order of the names.
    fn variables(&self) -> Vec<(String, String)> {
        let all = self.context.variables_and_types();
        let mut all: Vec<(String, String)> =
            all.map(|(name, kind)| (name.into(), kind.into())).collect();
        all.sort();
        all
    }

    /// `lab` again, in a new evaluator.
    fn begin_session(&mut self) {
        if let Err(error) = self.context.execute(LAB) {
            eprintln!("error: {error}");
        }
    }
}

/// The start of a kernel, up to a cell whose variable has a type that only the standard library's sources tell.
///
/// Errors: the prelude or the cell does not compile.
pub fn rehearse(place: &Workplace) -> Result<(), String> {
    let (mut engine, _) = Engine::begin(place, || None)?;
    engine.types.while_idle(&mut engine.context);
    engine.context.execute("let rehearsed = vec![String::new()];").map_err(|e| e.to_string())?;
    Ok(())
}
