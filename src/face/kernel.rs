//! `paella kernel`: runs the program `paella-kernel`, which is built separately.

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

/// Runs `paella-kernel`.
///
/// Errors: `paella-kernel` is missing or fails; it has printed the reason.
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

/// Replaces this process by the prompt that also takes Rust.
///
/// Errors: `paella-kernel` is missing.
pub fn prompt(common: &Common) -> Result<()> {
    let error = Command::new(program()).arg("prompt").envs(common.to_env()).exec();
    let hint = "`make kernel` in the repository builds it; `paella` without --rust needs none";
    Err(Error::command(format!("`paella-kernel` does not run: {error}"), "paella --rust", hint))
}

/// Path of `paella-kernel`: beside this program, else from PATH.
fn program() -> PathBuf {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(|own| own.parent()).map(|dir| dir.join("paella-kernel"));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| "paella-kernel".into())
}
