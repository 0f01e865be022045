//! The command line: what to do is read by clap, done by `lab`, `train` and `eval`, shown here.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use super::precompute::{self, Precompute};
use super::terminal::Terminal;
use super::{doctor, kernel, lesson, plan, repl, script, train, work};
use crate::device::DeviceChoice;
use crate::error::{Error, Result};
use crate::lab::watch::STOP;
use crate::lab::{Lab, Origin, turn};
use clap::{Args, CommandFactory, Parser, Subcommand};
use std::cell::RefCell;
use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::atomic::Ordering;

/// Paella: text to image by un-noising tokens, to touch and to train.
///
/// Without a subcommand it opens a prompt, or runs the commands that come in through a pipe.
#[derive(Parser)]
#[command(
    name = "paella",
    version,
    after_help = "Begin with `paella`, then `help`. `paella doctor` checks the installation."
)]
struct Cli {
    #[command(flatten)]
    common: Common,
    /// Run the commands in this file, one a line
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// A prompt that takes Rust beside the commands; needs what `make kernel` builds
    #[arg(long, conflicts_with_all = ["script", "json"])]
    rust: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What every subcommand understands.
#[derive(Args, Clone, Default)]
pub struct Common {
    /// A shipped model, a model folder, or a config file for an untrained model
    #[arg(long, global = true, value_name = "NAME|DIR|CONFIG")]
    pub model: Option<String>,
    /// auto, cpu, cuda or cuda:N; for `plan` a kind of card
    #[arg(long, global = true, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Start chance from this number
    #[arg(long, global = true, value_name = "N")]
    pub seed: Option<u64>,
    /// Folder for the pictures that are shown
    #[arg(long, global = true, value_name = "DIR")]
    pub runs: Option<PathBuf>,
    /// Answer in JSON, for programs
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Train a model from a config: tokenizer, then denoiser; Ctrl-C stops with a checkpoint
    Train(train::TrainArgs),
    /// What a run takes on given cards: parameters, memory, time; nothing is allocated
    Plan(plan::Plan),
    /// Make tokens (and text vectors) of a stream before training
    Precompute(Precompute),
    /// Make pictures from a text
    Sample(work::SampleArgs),
    /// Score a model on the pictures held back
    Eval(work::Eval),
    /// Show a picture of the data set by number or caption
    Show {
        /// A number or the beginning of a caption
        #[arg(value_name = "N|CAPTION", required = true)]
        what: Vec<String>,
    },
    /// Check, print or compare config files
    Config {
        #[command(subcommand)]
        what: work::ConfigCommand,
    },
    /// Take a lesson at the prompt, or list them
    Lesson(lesson::Choice),
    /// The lessons as Jupyter notebooks
    Lessons {
        #[command(subcommand)]
        what: lesson::Lessons,
    },
    /// What is installed, what is missing and how to get it
    Doctor,
    /// The Jupyter kernel "Paella (Rust)"
    Kernel {
        #[command(subcommand)]
        what: kernel::KernelCommand,
    },
    /// Completions for a shell, to standard output
    Completions { shell: clap_complete::Shell },
}

/// Where a session is begun by another program, it says in these variables what to begin with.
const VARIABLES: [&str; 4] = ["PAELLA_MODEL", "PAELLA_DEVICE", "PAELLA_SEED", "PAELLA_RUNS"];

impl Common {
    /// From the environment of a process that has no arguments of its own.
    ///
    /// Errors: PAELLA_SEED is no number.
    pub fn from_env() -> Result<Self> {
        let [model, device, seed, runs] =
            VARIABLES.map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        let number = |text: String| {
            let fault =
                || Error::command(format!("{text:?} is no seed"), VARIABLES[2], "a whole number");
            text.parse().map_err(|_| fault())
        };
        let seed = seed.map(number).transpose()?;
        Ok(Self { model, device, seed, runs: runs.map(PathBuf::from), json: false })
    }

    /// For `from_env` of the process that this one becomes.
    pub(super) fn to_env(&self) -> Vec<(&'static str, String)> {
        let runs = self.runs.as_ref().map(|folder| folder.display().to_string());
        let values =
            [self.model.clone(), self.device.clone(), self.seed.map(|n| n.to_string()), runs];
        VARIABLES.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// Read the arguments, do it, and answer with the exit code: 0 done, 1 failed, 2 not understood.
pub fn main() -> ExitCode {
    turn::quiet_panics();
    leave_with_the_reader();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    // A second Ctrl-C while the first one waits for its step changes nothing; the prompt has its own handling.
    let _ = ctrlc::set_handler(|| STOP.store(true, Ordering::Relaxed));
    let json = cli.common.json;
    let outcome = catch_unwind(AssertUnwindSafe(|| run(cli)));
    match outcome.unwrap_or_else(|_| Err(turn::internal_error("paella"))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error, json);
            ExitCode::FAILURE
        }
    }
}

/// `paella ... | head` ends quietly when `head` does, instead of failing to print.
fn leave_with_the_reader() {
    // SAFETY: restores the default action of a signal, before any thread is started.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

pub fn report(error: &Error, json: bool) {
    if json {
        let fault = |f: &crate::Fault| serde_json::json!({ "error": f.what, "in": f.place, "hint": f.hint });
        let faults: Vec<_> = error.faults().iter().map(fault).collect();
        println!("{}", serde_json::json!({ "errors": faults }));
    } else {
        Terminal::detect().error(error);
    }
}

fn run(cli: Cli) -> Result<()> {
    let common = cli.common;
    let pipe = !std::io::stdin().is_terminal();
    match cli.command {
        None => match cli.script {
            Some(file) => {
                script::run_file(&mut lab(&common)?, &file, &Terminal::detect(), common.json)
            }
            None if cli.rust => kernel::prompt(&common),
            None if pipe => {
                let lines = std::io::stdin().lock();
                script::run(
                    &mut lab(&common)?,
                    lines,
                    "standard input",
                    &Terminal::detect(),
                    common.json,
                )
            }
            None => repl::run(Rc::new(RefCell::new(lab(&common)?)), &Terminal::detect(), None),
        },
        Some(_) if cli.script.is_some() => {
            Err(Error::command("--script goes without a subcommand", "", "paella --script FILE"))
        }
        Some(_) if cli.rust => {
            Err(Error::command("--rust goes without a subcommand", "", "paella --rust"))
        }
        Some(Command::Train(train)) => train::train(&train, &common),
        Some(Command::Plan(plan)) => plan::run(&plan, &common),
        Some(Command::Precompute(args)) => precompute::precompute(&args, &common),
        Some(Command::Sample(sample)) => work::sample(&sample, &common),
        Some(Command::Eval(eval)) => work::eval(&eval, &common),
        Some(Command::Show { what }) => work::show(&what.join(" "), &common),
        Some(Command::Config { what }) => work::config(&what, common.json),
        Some(Command::Lesson(choice)) => lesson::run(&choice, &common),
        Some(Command::Lessons { what }) => lesson::build(&what),
        Some(Command::Kernel { what }) => kernel::run(&what),
        Some(Command::Doctor) => doctor::run(common.json),
        Some(Command::Completions { shell }) => {
            clap_complete::generate(shell, &mut Cli::command(), "paella", &mut std::io::stdout());
            Ok(())
        }
    }
}

/// The device that is asked for, else the one that is there.
pub fn device(common: &Common) -> Result<tch::Device> {
    common.device.as_deref().map_or(Ok(DeviceChoice::Auto), str::parse)?.open()
}

/// A session on the model that is asked for, else on the first shipped one.
pub fn lab(common: &Common) -> Result<Lab> {
    let origin = match &common.model {
        Some(name) => Origin::find(name)?,
        None => Origin::first()?,
    };
    let mut lab = Lab::new(origin, device(common)?)?;
    if let Some(seed) = common.seed {
        lab.seed(seed);
    }
    if let Some(folder) = &common.runs {
        lab.runs_in(folder);
    }
    Ok(lab)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
