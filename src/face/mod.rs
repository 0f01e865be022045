//! User interfaces: the command line, the prompt, scripts. A face reads input, calls the library and prints, and does
//! nothing else.

mod bench;
pub mod cli;
pub mod common;
mod doctor;
mod flags;
mod grid;
mod kept;
mod kernel;
mod lesson;
mod list;
mod markdown;
mod plan;
mod precompute;
mod progress;
pub mod repl;
pub mod rust;
mod sample;
mod scenes;
mod script;
mod shell;
mod signals;
pub mod terminal;
mod train;
mod variables;
mod weights;
mod work;
