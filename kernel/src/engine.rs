//! evcxr on a thread of its own: one job after the other, since its context must not move.

use crate::place::Tools;
use crate::prepare;
use crate::trouble::Tell;
use crate::workplace::{LEVELS, Workplace};
use evcxr::{CommandContext, Completions, EvalCallbacks, EvalContext};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// rustc's errors and rust-analyzer recurse deeply.
const STACK: usize = 64 << 20;
/// The session as a variable of the cells.
const LAB: &str =
    "let mut lab: paella::session::Session = paella::session().expect(\"the session begins\");";
/// Analysed first of all with the standard library: the first inference of a tensor's type costs a second otherwise.
const WARM: &str = "let xs = Tensor::randn([2, 2], (Kind::Float, Device::Cpu)); let ys = xs.matmul(&xs); let view = lab.encode(); ys.";

pub struct Ran {
    pub outcome: Result<evcxr::EvalOutputs, evcxr::Error>,
    /// What was compiled in the end: positions of panics are in there.
    pub source: String,
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
    /// The evaluator died in a command, which evcxr does not see.
    Revive {
        reply: oneshot::Sender<()>,
    },
}

/// Start the thread. `tell` hears what has to be prepared, `started` how it went.
pub fn start(
    place: Workplace,
    tools: Tools,
    tell: Tell,
    started: watch::Sender<Option<Result<(), String>>>,
) -> Sender<Job> {
    let (sender, jobs) = channel();
    let run = move || match Engine::new(&place, &tools, &tell) {
        Ok(mut engine) => {
            let _ = started.send(Some(Ok(()))); // nobody may wait any more
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

/// Until the first `let`, or until nothing else is to do, cells are compiled without knowing the standard library's types:
/// that takes as long as all the rest of the start.
struct Engine {
    context: CommandContext,
    place: Workplace,
    /// The standard library is known.
    typed: bool,
}

impl Engine {
    /// Prepare what is not, and run the prelude.
    fn new(place: &Workplace, tools: &Tools, tell: &Tell) -> Result<Self, String> {
        if prepare::find(tools).is_none() {
            prepare::ensure(&mut |line| tell(&format!("{line}\n"))).map_err(|e| e.to_string())?;
        }
        place.fill().map_err(|e| e.to_string())?;
        let context = context(place, prepare::prelude(&place.prepared) + LAB)?;
        Ok(Self { context, place: place.clone(), typed: false })
    }

    /// Let rust-analyzer read the standard library at its next look, if it has not.
    fn know_types(&mut self) {
        if !std::mem::replace(&mut self.typed, true) {
            self.place.analyse_all();
            let level = format!(":opt {}", LEVELS[1]); // what `analyse_all` has written is then evcxr's own
            let _ = self.context.execute(&level); // compiles nothing
        }
    }

    /// Look, so that the next cell need not wait.
    fn warm(&mut self) {
        self.know_types();
        let _ = self.context.completions(WARM, WARM.len()); // only to have been there
    }

    fn work(&mut self, jobs: &Receiver<Job>) {
        let mut warm = false;
        loop {
            let wait = Duration::from_millis(if warm { 3_600_000 } else { 20 });
            match jobs.recv_timeout(wait) {
                Ok(job) => self.job(job),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    self.warm();
                    warm = true;
                }
            }
        }
    }

    fn job(&mut self, job: Job) {
        // Whoever asked may have gone: then nobody waits for the answer.
        match job {
            Job::Run { code, reply } => {
                if declares(&code) {
                    self.know_types();
                }
                let outcome =
                    self.context.execute_with_callbacks(&code, &mut EvalCallbacks::default());
                let source = self.context.last_source().unwrap_or_default();
                let died = matches!(outcome, Err(evcxr::Error::SubprocessTerminated(_)));
                let _ = reply.send(Ran { outcome, source });
                if died {
                    self.begin_session();
                }
            }
            Job::Complete { code, at, reply } => {
                self.know_types();
                let _ = reply.send(self.context.completions(&code, at).ok());
            }
            Job::Inspect { code, at, reply } => {
                self.know_types();
                let found = self.context.hover_at(&code, at).ok();
                let _ = reply.send(found.filter(|(text, _)| text != "No documentation found"));
            }
            Job::Revive { reply } => {
                let _ = self.context.execute("();"); // fails, and starts the next evaluator
                self.begin_session();
                let _ = reply.send(());
            }
        }
    }

    /// `lab` again, in a new evaluator.
    fn begin_session(&mut self) {
        if let Err(error) = self.context.execute(LAB) {
            eprintln!("error: {error}");
        }
    }
}

/// Whether a cell may have variables, whose types have to be found out.
fn declares(code: &str) -> bool {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "let")
}

/// A context in which the prelude has run, without the standard library's types.
pub fn context(place: &Workplace, prelude: String) -> Result<CommandContext, String> {
    place.analyse_little();
    let (context, _outputs) =
        EvalContext::with_subprocess_command(place.guard()).map_err(|e| e.to_string())?;
    let mut context = CommandContext::with_eval_context(context);
    context.execute(&prelude).map_err(|e| e.to_string())?;
    Ok(context)
}

#[cfg(test)]
mod tests {
    #[test]
    fn variables_are_seen() {
        assert!(
            super::declares("lab.show();\nlet a = 1;") && super::declares("if let Some(x) = y {}")
        );
        assert!(!super::declares("lab.outlet()") && !super::declares("1 + 1"));
    }
}
