//! The type of a command: name, arguments, help, and the function it runs.

use super::Lab;
use super::args::Args;
use super::view::View;
use super::watch::Watch;
use crate::error::Result;

/// The function of a command.
pub type CommandFn = fn(&mut Lab, &Args, &mut dyn Watch) -> Result<View>;

/// One row of the command table.
pub struct Command {
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    /// Name and arguments: `noise T`.
    pub synopsis: &'static str,
    /// One line for the list.
    pub summary: &'static str,
    /// Description in a few lines.
    pub help: &'static str,
    pub example: &'static str,
    /// Maximum number of words. None: any number, which form one text.
    pub words: Option<usize>,
    /// The keys it accepts as `key=value`.
    pub keys: &'static [&'static str],
    /// What its words are, for completion.
    pub takes: Takes,
    /// Functions that implement it, for `explain`.
    pub functions: &'static [&'static str],
    /// Whether it changes the session, so that `undo` can revert it.
    pub changes: bool,
    pub run: CommandFn,
}

/// What the words of a command name.
#[derive(Clone, Copy, Debug)]
pub enum Takes {
    Nothing,
    Caption,
    Setting,
    Command,
    Model,
    File,
    Source,
    OneOf(&'static [&'static str]),
    /// Names that are listed on demand.
    Names(fn() -> Vec<String>),
}
