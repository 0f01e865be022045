//! What a command is: its name, its words, its help, and what it runs.

use super::Lab;
use super::args::Args;
use super::view::View;
use super::watch::Watch;
use crate::error::Result;

/// What a command does with its arguments.
pub type CommandFn = fn(&mut Lab, &Args, &mut dyn Watch) -> Result<View>;

pub struct Command {
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    /// Name and arguments: `noise T`.
    pub synopsis: &'static str,
    /// One line for the list.
    pub summary: &'static str,
    /// What it does, in a few lines.
    pub help: &'static str,
    pub example: &'static str,
    /// Most words it takes; None: any number, they are one text.
    pub words: Option<usize>,
    /// The keys of its `key=value`.
    pub keys: &'static [&'static str],
    /// What its words are, for completion.
    pub takes: Takes,
    /// Functions of this program that do the work, for `explain`.
    pub functions: &'static [&'static str],
    /// Whether `undo` has something to take back.
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
    /// Names that are looked up when they are asked for.
    Names(fn() -> Vec<String>),
}
