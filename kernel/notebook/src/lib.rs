//! What a notebook cell sees: all of `paella`, and what only a notebook has.
//!
//! It is one shared library, so that cells compile against it fast and all see the same session. The kernel's evaluation
//! process loads it and calls [`evaluator::paella_evaluate`], which runs cells and commands one after the other.
#![allow(clashing_extern_declarations)] // the names in `symbols` are declared for the linker only

pub mod bundle;
pub mod cell;
mod debug;
pub mod evaluator;
pub mod html;
mod known;
pub mod live;
mod looks;
pub mod progress;
mod prompt;
pub mod session;
mod shared;
pub mod show;
mod tables;
pub mod tensor;
mod views;
pub mod wire;

/// The C functions of libtch. Only what is public is exported.
#[doc(hidden)]
pub mod symbols {
    include!(concat!(env!("OUT_DIR"), "/symbols.rs"));
}

pub use paella::*;
pub use tch;

pub use progress::progress;
pub use session::session;
pub use show::Show;
pub use wire::{Slot, clear_output, display, input};
