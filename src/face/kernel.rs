//! `paella kernel`: hands over to the program `paella-kernel`, which is built apart.

use super::common::Common;
use crate::error::{Error, Result};
use clap::{Args, Subcommand};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

#[derive(Subcommand)]
pub enum KernelCommand {
    /// Prepare the kernel and tell Jupyter of it
    Install(Target),
    /// Take it out of Jupyter's list
    Uninstall(Target),
}

/// For whom.
#[derive(Args)]
pub struct Target {
    /// For this user; so without both
    #[arg(long, conflicts_with = "prefix")]
    user: bool,
    /// Below this folder, such as a virtual environment
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
}

/// Run it.
///
/// Errors: `paella-kernel` is not there or fails; it has told why.
pub fn run(what: &KernelCommand) -> Result<()> {
    let (name, target) = match what {
        KernelCommand::Install(target) => ("install", target),
        KernelCommand::Uninstall(target) => ("uninstall", target),
    };
    let mut command = Command::new(program());
    command.arg(name);
    if let Some(prefix) = &target.prefix {
        command.arg("--prefix").arg(prefix);
    }
    let hint = "`make kernel` in the repository builds and installs it";
    let fault = |what: String| Error::command(what, format!("paella kernel {name}"), hint);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(fault(format!("`paella-kernel` ended with {status}"))),
        Err(error) => Err(fault(format!("`paella-kernel` does not run: {error}"))),
    }
}

/// Become the prompt that takes Rust, too.
///
/// Errors: `paella-kernel` is not there.
pub fn prompt(common: &Common) -> Result<()> {
    let error = Command::new(program()).arg("prompt").envs(common.to_env()).exec();
    let hint = "`make kernel` in the repository builds it; `paella` without --rust needs none";
    Err(Error::command(format!("`paella-kernel` does not run: {error}"), "paella --rust", hint))
}

/// Beside this program, else somewhere in PATH.
fn program() -> PathBuf {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(|own| own.parent()).map(|dir| dir.join("paella-kernel"));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| "paella-kernel".into())
}
