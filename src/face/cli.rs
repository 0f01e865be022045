//! The command line: clap parses the arguments, `lab`, `train` and `eval` do the work, this module prints.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use super::bench::{self, BenchArgs};
use super::common::{Common, answer, lab, lab_by_chance, outside_cause, report, unwritable};
use super::precompute::{self, Precompute};
use super::signals::{end_on_interrupt, interrupted_code};
use super::terminal::{Terminal, printable};
use super::{
    doctor, flags, grid, kernel, lesson, list, plan, progress, repl, sample, script, shell, train,
    variables, weights, work,
};
use crate::error::{Error, Fault, Result};
use crate::lab::turn;
use crate::lab::watch::{STOP, stop_asked};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::cell::RefCell;
use std::ffi::OsString;
use std::io::{ErrorKind, IsTerminal};
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
    after_help = "Begin with `paella`, then `help`. `paella doctor` checks the installation. `paella --help` lists \
                  the environment variables.",
    after_long_help = flags::VARIABLES
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

#[derive(Subcommand)]
enum Command {
    /// Train a model from a config: tokenizer, then denoiser; Ctrl-C stops with a checkpoint
    Train(train::TrainArgs),
    /// What a run takes on given cards: parameters, memory, time; nothing is allocated
    Plan(plan::Plan),
    /// Speed and memory of a config's denoiser on this machine, with random weights
    Bench(BenchArgs),
    /// Make tokens (and text vectors) of a stream before training
    Precompute(Precompute),
    /// Make pictures from a text
    Sample(Box<sample::SampleArgs>),
    /// One text under several settings, on a sheet: steps, guidance, temperature, seeds
    Grid(Box<grid::GridArgs>),
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
    /// Weights of another program as .safetensors, compared with a network
    Convert(weights::ConvertArgs),
    /// Bring the released weights from the Hugging Face hub
    Pull(weights::PullArgs),
    /// What is installed, what is missing and how to get it; or whether weights are whole and fit
    Doctor(doctor::DoctorArgs),
    /// The Jupyter kernel "Paella (Rust)"
    Kernel {
        #[command(subcommand)]
        what: kernel::KernelCommand,
    },
    /// Completions for a shell, to standard output
    Completions { shell: clap_complete::Shell },
}

impl Command {
    /// Whether Ctrl-C has nothing to wait for: nobody looks for it between two steps, and nothing is to be kept.
    fn ends_at_once(&self) -> bool {
        !matches!(self, Self::Train(_) | Self::Precompute(_) | Self::Sample(_) | Self::Lesson(_))
    }
}

/// The command line as it is read and as `--help` shows it.
pub(super) fn command() -> clap::Command {
    flags::fitted(Cli::command())
}

/// Reads the arguments, runs the command, and returns the exit code: 0 success, 1 failure, 2 bad arguments, 130 work that
/// Ctrl-C has stopped; `train` has more.
pub fn main() -> ExitCode {
    turn::quiet_panics();
    leave_with_the_reader();
    let cli = match read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            return match error.print() {
                Err(e) if e.kind() != ErrorKind::BrokenPipe => {
                    report(&unwritable(&e), false);
                    ExitCode::FAILURE
                }
                _ => ExitCode::from(error.exit_code() as u8),
            };
        }
    };
    // A second Ctrl-C has no further effect while the first one waits for its step. The prompt handles Ctrl-C itself.
    let _ = ctrlc::set_handler(|| STOP.store(true, Ordering::Relaxed));
    let json = cli.common.json;
    for remark in variables::remarks(|name| std::env::var(name).ok()) {
        progress::print(std::io::stderr(), &printable(&remark));
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| run(cli)));
    match outcome.unwrap_or_else(|panic| Err(broken(panic.as_ref()))) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            report(&error, json);
            ExitCode::FAILURE
        }
    }
}

/// The options and the command of a call.
fn read<A: Into<OsString> + Clone>(
    args: impl IntoIterator<Item = A>,
) -> std::result::Result<Cli, clap::Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(args)?;
    flags::check(&mut command, &matches, !std::io::stdin().is_terminal())?;
    Cli::from_arg_matches(&matches)
}

/// Runs a command in this process, as `main` does for the arguments of the program: the first one is its name. Returns the
/// exit code.
///
/// Errors: those of the arguments and of the command. A panic is passed on.
pub fn call<A: Into<OsString> + Clone>(args: impl IntoIterator<Item = A>) -> Result<u8> {
    let wrong = |error: clap::Error| Error::command(error.to_string(), "", "paella --help");
    run(read(args).map_err(wrong)?)
}

/// The error for a panic: its cause outside of this program, else a fault of this program.
fn broken(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let cause = text.and_then(|text| outside_cause(text, "paella"));
    cause.unwrap_or_else(|| turn::internal_error("paella"))
}

/// Makes `paella ... | head` end quietly when `head` ends, instead of failing to print.
fn leave_with_the_reader() {
    // SAFETY: restores the default action of a signal, before any thread is started.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Runs the command. Returns the exit code.
fn run(cli: Cli) -> Result<u8> {
    if cli.command.as_ref().is_some_and(Command::ends_at_once) {
        end_on_interrupt();
    }
    let common = cli.common;
    let pipe = !std::io::stdin().is_terminal();
    let is_prompt = match &cli.command {
        None => cli.script.is_none() && (cli.rust || !pipe),
        Some(command) => matches!(command, Command::Lesson(_)),
    };
    let is_subcommand = cli.command.is_some() && !is_prompt;
    let done = match cli.command {
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
            None => {
                let lab = lab_by_chance(&common)?;
                repl::run(Rc::new(RefCell::new(lab)), &Terminal::detect(), None)
            }
        },
        Some(_) if cli.script.is_some() => {
            Err(Error::command("--script goes without a subcommand", "", "paella --script FILE"))
        }
        Some(_) if cli.rust => {
            Err(Error::command("--rust goes without a subcommand", "", "paella --rust"))
        }
        Some(Command::Train(train)) => return train::train(&train, &common),
        Some(Command::Plan(plan)) => plan::run(&plan, &common),
        Some(Command::Bench(args)) => bench::run(&args, &common),
        Some(Command::Precompute(args)) => return precompute::precompute(&args, &common),
        Some(Command::Sample(args)) if args.from.is_some() => list::sample_list(&args, &common),
        Some(Command::Sample(sample)) => sample::sample(&sample, &common),
        Some(Command::Grid(args)) => grid::grid(&args, &common),
        Some(Command::Eval(eval)) => work::eval(&eval, &common),
        Some(Command::Show { what }) => work::show(&what.join(" "), &common),
        Some(Command::Config { what }) => work::config(&what, common.json),
        Some(Command::Lesson(choice)) => lesson::run(&choice, &common),
        Some(Command::Lessons { what }) => lesson::build(&what),
        Some(Command::Kernel { what }) => kernel::run(&what),
        Some(Command::Convert(args)) => weights::convert(&args, &common),
        Some(Command::Pull(args)) => weights::pull(&args, &common),
        Some(Command::Doctor(args)) => doctor::run(&args, common.json),
        Some(Command::Completions { shell }) => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut command(), "paella", &mut text);
            answer(&String::from_utf8_lossy(&text))
        }
    };
    // a person at the prompt stops one command, and the session goes on
    let done = done.map_err(|error| match is_subcommand {
        true => error.map(|fault| Fault { hint: shell::flags(&fault.hint), ..fault }),
        false => error,
    });
    done.map(|()| if stop_asked() && !is_prompt { interrupted_code() } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::find::OF_THE_SHELL;
    use crate::lab::table::COMMANDS;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn the_prompt_knows_every_subcommand() {
        let at_the_prompt = |name: &str| COMMANDS.iter().any(|command| command.name == name);
        for one in command().get_subcommands().map(clap::Command::get_name) {
            let known = at_the_prompt(one) || OF_THE_SHELL.contains(&one) || one == "help";
            assert!(known, "{one}");
        }
    }
}
