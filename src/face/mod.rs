//! What people look at: the command line, the prompt, scripts. A face reads, calls, shows; nothing else.

pub mod cli;
mod doctor;
mod kernel;
mod progress;
mod repl;
mod script;
mod signals;
pub mod terminal;
mod work;
