//! `for x in paella::progress(xs)`: a bar below the cell, and an end after the current step when the stop button is pressed.

use crate::bundle::Bundle;
use crate::html;
use crate::output::Slot;
use paella::lab::watch::stop_asked;
use std::time::{Duration, Instant};

/// Time between two drawings.
const PAUSE: Duration = Duration::from_millis(100);

/// The items of a loop, counted and shown.
pub struct ProgressBar<I> {
    items: I,
    done: u64,
    total: Option<u64>,
    start: Instant,
    drawn: Option<Instant>,
    over: bool,
    slot: Slot,
}

/// Count the steps of a loop below the cell. An interrupt ends the loop after its current step. The cell goes on behind it,
/// and all variables are kept.
pub fn progress<I: IntoIterator>(items: I) -> ProgressBar<I::IntoIter> {
    let items = items.into_iter();
    let (least, most) = items.size_hint();
    let total = most.filter(|most| *most == least).map(|n| n as u64);
    let (start, slot) = (Instant::now(), Slot::new());
    ProgressBar { items, done: 0, total, start, drawn: None, over: false, slot }
}

impl<I> ProgressBar<I> {
    fn draw(&mut self, end: &str) {
        let seconds = self.start.elapsed().as_secs_f64();
        let rate = self.done as f64 / seconds.max(1e-9);
        let count = match self.total {
            Some(total) => format!("{} of {total}", self.done),
            None => self.done.to_string(),
        };
        let text = format!("{end}{count}, {seconds:.1} s, {rate:.1} a second");
        let bar = html::bar(self.done, self.total, &text);
        self.slot.put(&Bundle::new().text(text).html(bar));
        self.drawn = Some(Instant::now());
    }
}

impl<I: Iterator> Iterator for ProgressBar<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        if self.over {
            return None;
        }
        if self.drawn.is_none_or(|at| at.elapsed() > PAUSE) {
            self.draw("");
        }
        let stopped = stop_asked();
        let item = if stopped { None } else { self.items.next() };
        match item {
            Some(_) => self.done += 1,
            None => {
                self.over = true;
                self.done = self.done.max(self.total.filter(|_| !stopped).unwrap_or(0));
                self.draw(if stopped { "stopped after " } else { "" });
            }
        }
        item
    }
}
