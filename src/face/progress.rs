//! A moving progress line for training and sampling. Plain lines if the output is not a terminal.

use super::signals::stop_for;
use super::terminal::{Pictures, Terminal, printable};
use crate::error::size;
use crate::lab::view::{View, plain};
use crate::lab::watch::{Watch, stop_asked};
use crate::metrics::StepRecord;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::Instant;

/// Shows the progress of one command.
pub struct ProgressLine {
    /// The moving line, if the output is a terminal.
    bar: Option<ProgressBar>,
    /// When the first step of this command ended, and its number.
    first: Option<(Instant, u64)>,
    /// Tenths already printed.
    printed: u64,
    /// Print each record as a line of JSON on standard output, and nothing else.
    json: bool,
    /// Somebody sits at the terminal and can be asked.
    asks: bool,
}

impl ProgressLine {
    pub fn new(json: bool) -> Self {
        let moves = std::io::stderr().is_terminal() && std::io::stdout().is_terminal() && !json;
        let style = ProgressStyle::with_template("{bar:24} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = moves
            .then(|| ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(12)));
        let bar = bar.map(|bar| bar.with_style(style.progress_chars("█▌ ")));
        Self { bar, first: None, printed: 0, json, asks: false }
    }

    /// For a line that was typed: questions are asked if it came from a terminal.
    pub fn asking() -> Self {
        let mut line = Self::new(false);
        line.asks = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        line
    }

    /// Shows how much of a download has come, in bytes.
    pub(super) fn bytes(&mut self, name: &str, done: u64, total: u64) {
        if !self.json {
            let left = self.left(done, total);
            let (came, all) = (size(done as f64), size(total as f64));
            self.line(done, total, format!("{name}: {came} of {all}{left}"));
        }
    }

    fn line(&mut self, done: u64, total: u64, text: String) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(text);
            return;
        }
        let tenth = done * 10 / total.max(1);
        if tenth > self.printed || (done == 1 && total >= 10) {
            self.printed = tenth;
            print(std::io::stdout(), &text);
        }
    }

    /// The remaining time at the speed so far, with a blank before it. Empty for the first step, which may be an odd one, and
    /// where less than a second is left.
    fn left(&mut self, done: u64, total: u64) -> String {
        // a stage that follows another counts from 1 again
        let Some((start, at)) = self.first.filter(|&(_, at)| at < done) else {
            self.first = Some((Instant::now(), done));
            return String::new();
        };
        let per_step = start.elapsed().as_secs_f64() / done.saturating_sub(at).max(1) as f64;
        let seconds = per_step * total.saturating_sub(done) as f64;
        if seconds < 1.0 { String::new() } else { format!(" {} left", duration(seconds)) }
    }
}

impl Watch for ProgressLine {
    fn record(&mut self, r: &StepRecord, progress: Option<(u64, u64)>) {
        if self.json {
            return print(std::io::stdout(), &serde_json::to_string(r).unwrap_or_default());
        }
        let (done, total) = progress.unwrap_or((r.step, r.steps));
        let left = self.left(done, total);
        let numbers = format!(
            "loss {:.3} acc {:.1}% norm {:.2} lr {} {:.0} img/s{left}",
            r.loss,
            r.accuracy * 100.0,
            r.grad_norm,
            plain(r.lr),
            r.images_per_s
        );
        let text = format!("{} {done}/{total} {numbers}", r.phase);
        self.line(done, total, text);
    }

    fn begins(&mut self, view: &View) -> bool {
        let terminal = Terminal::detect();
        let shows = !self.json && terminal.pictures != Pictures::Files;
        if shows {
            terminal.show(view);
        }
        shows
    }

    fn pass(&mut self, done: usize, total: usize) {
        if self.bar.is_some() {
            self.line(done as u64, total as u64, format!("step {done} of {total}"));
        }
    }

    fn note(&mut self, text: &str) {
        let text = printable(text);
        match &self.bar {
            Some(bar) => bar.println(text),
            None => print(std::io::stderr(), &text),
        }
    }

    fn confirm(&mut self, question: &str) -> bool {
        if !self.asks {
            return true;
        }
        let (mut out, mut answer) = (std::io::stdout(), String::new());
        let asked = write!(out, "{} [y/N] ", printable(question)).and_then(|()| out.flush());
        let read = asked.and_then(|()| std::io::stdin().read_line(&mut answer));
        read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
    }

    fn stop(&self) -> bool {
        stop_asked()
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Prints a line. If nobody can read it, because the reader has gone or the disk is full, the work is asked to stop: what
/// is done can still be saved.
pub fn print(mut to: impl Write, text: &str) {
    if writeln!(to, "{text}").and_then(|()| to.flush()).is_err() {
        stop_for(libc::SIGPIPE);
    }
}

/// Formats a duration: `7 s`, `3:05 min`, `2:10 h`.
fn duration(seconds: f64) -> String {
    let s = seconds.round() as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{}:{:02} min", s / 60, s % 60),
        _ => format!("{}:{:02} h", s / 3600, s / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_promises_no_time() {
        let mut line = ProgressLine::new(false);
        assert_eq!(line.left(1, 1000), "");
        std::thread::sleep(std::time::Duration::from_millis(3));
        let left = line.left(2, 1000); // 998 steps of 3 ms or more
        assert!(left.ends_with(" left") && !left.contains(" 0 s"), "{left}");
        assert_eq!((line.left(999, 1000), line.left(1000, 1000)), (String::new(), String::new()));
        let mut resumed = ProgressLine::new(false);
        assert_eq!(resumed.left(501, 1000), "");
    }

    #[test]
    fn durations_read_well() {
        let text = [6.6, 185.0, 7800.0].map(duration);
        assert_eq!(text, ["7 s", "3:05 min", "2:10 h"]);
    }
}
