//! The evaluation process: cells from evcxr and requests from the kernel, one after the other on one thread.
#![allow(clippy::print_stdout)] // evcxr reads it

use crate::bus::{self, Lines, emit};
use crate::cell::Cells;
use paella_wire::{Event, Request};
use std::os::fd::RawFd;

/// What one turn brought.
pub(crate) enum Turn {
    /// A cell was run, or nothing came.
    Done,
    /// The kernel wants this.
    Asked(Request),
    /// The kernel is gone.
    Over,
}

pub(crate) struct Evaluator {
    variables: Cells,
    cells: Lines,
}

impl Evaluator {
    /// `cells` is where evcxr writes.
    pub(crate) fn new(cells: RawFd) -> Self {
        Self { variables: Cells::new(), cells: Lines::of(cells) }
    }

    /// Wait for one cell, and run it, or for one request.
    pub(crate) fn turn(&mut self) -> Turn {
        let (cell, request) = bus::wait(&self.cells);
        if request {
            return match bus::request() {
                Some(Ok(request)) => Turn::Asked(request),
                Some(Err(())) => Turn::Done,
                None => Turn::Over,
            };
        }
        let line = if cell { self.cells.line() } else { return Turn::Done };
        let Some(line) = line else { return Turn::Over };
        if let Err(text) = self.variables.run(&line) {
            let text = format!("the cell cannot be loaded: {text}\n");
            emit(&Event::Stderr { text });
            std::process::exit(97);
        }
        println!("EVCXR_EXECUTION_COMPLETE");
        Turn::Done
    }
}
