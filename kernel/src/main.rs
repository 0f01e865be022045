//! `paella-kernel`: the Jupyter kernel "Paella (Rust)".
//!
//! Three processes. The kernel speaks Jupyter's protocol and compiles cells with evcxr. The evaluator loads the compiled
//! cells and runs the commands. The guard stands between evcxr and the evaluator and sorts the evaluator's output.
//!
//! Open these first: [`kernel`] (one request after the other), [`runner`] (one part of a cell), [`engine`] (evcxr), [`guard`], [`prepare`] (built once;
//! with everything that serves speed alone).
#![allow(clippy::print_stderr, clippy::print_stdout)]

mod apart;
mod bus;
mod cell;
mod colours;
mod complete;
mod engine;
mod evaluate;
mod faults;
mod files;
mod guard;
mod history;
mod info;
mod install;
mod interrupt;
mod kernel;
mod messages;
mod place;
mod prepare;
mod prompt;
mod publish;
mod questions;
mod runner;
mod sockets;
mod split;
mod tell;
mod trouble;
mod whole;
mod workplace;

use std::process::ExitCode;
use trouble::Trouble;

const USAGE: &str = "paella-kernel install [--user | --prefix DIR] | uninstall [..] | prepare | prompt | run CONNECTION_FILE";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["run", file] => sockets::run(file),
        ["prompt"] => prompt::run(),
        ["prepare"] => prepare::ensure(&mut |line| eprintln!("{line}")).map(|_| ()),
        ["install", rest @ ..] => install::install(rest),
        ["uninstall", rest @ ..] => install::uninstall(rest),
        ["rehearse", folder, sysroot] => prepare::template::run(folder, sysroot, engine::rehearse),
        ["guard", library, bus] => guard::run(library, bus),
        ["evaluate", library, bus] => evaluate::run(library, bus),
        _ => Err(Trouble::new(
            "expected one of these",
            USAGE,
            "`paella kernel install` is the usual one",
        )),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("error: {trouble}");
            ExitCode::FAILURE
        }
    }
}
