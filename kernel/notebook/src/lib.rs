//! Everything a notebook cell sees: all of `paella`, and the parts for notebooks.
//!
//! It is one shared library, so that cells compile against it fast and all see the same session. The kernel's evaluation
//! process loads it and calls [`entry::paella_evaluate`], which runs cells and commands one after the other.
//!
//! In the order of use, each module uses only those before it: png, html, bundle, bus, screen, output, session, debug,
//! tables, tensor, views, look, values, known, show, progress, live, own, requests, cell, prepare, evaluator, prompt,
//! entry.
#![allow(clashing_extern_declarations)] // the names in `symbols` are declared for the linker only

pub mod bundle;
pub mod bus;
pub mod cell;
mod debug;
pub mod entry;
pub mod evaluator;
pub mod html;
mod known;
pub mod live;
pub mod look;
pub mod output;
mod own;
pub mod png;
mod prepare;
pub mod progress;
mod prompt;
mod requests;
mod screen;
pub mod session;
pub mod show;
mod tables;
pub mod tensor;
mod values;
mod views;

/// The C functions of libtch. Only what is public is exported.
#[doc(hidden)]
pub mod symbols {
    include!(concat!(env!("OUT_DIR"), "/symbols.rs"));
}

pub use ::image::RgbImage;
pub use paella::*;
pub use tch;

pub use output::{Slot, clear_output, input};
pub use progress::progress;
pub use session::session;
pub use show::{Show, display};
