//! A command at work, below its cell: a bar, the loss as it falls, the picture as it appears.

use crate::bundle::Bundle;
use crate::html;
use crate::wire::{Slot, emit};
use image::RgbImage;
use paella::lab::plot::{Axes, Series, lines};
use paella::lab::watch::{Watch, stop_asked};
use paella::metrics::Record;
use serde_json::json;
use std::time::{Duration, Instant};

/// Time between two drawings of the bar.
const PAUSE: Duration = Duration::from_millis(150);
/// Time between two pictures, which cost more.
const LONG_PAUSE: Duration = Duration::from_millis(1000);

/// Watches one command.
pub struct Live {
    bar: Slot,
    picture: Slot,
    drawn: Option<Instant>,
    pictured: Option<Instant>,
    /// What the losses below are of.
    phase: String,
    losses: Vec<(f64, f64)>,
    start: Instant,
}

impl Live {
    pub fn new() -> Self {
        let (bar, picture) = (Slot::new(), Slot::new());
        let (drawn, pictured, phase, losses) = (None, None, String::new(), Vec::new());
        Self { bar, picture, drawn, pictured, phase, losses, start: Instant::now() }
    }

    fn bar(&mut self, done: u64, total: u64, text: &str) {
        if done == total || self.drawn.is_none_or(|at| at.elapsed() > PAUSE) {
            self.drawn = Some(Instant::now());
            let bar = html::bar(done, Some(total), text);
            self.bar.put(&Bundle::new().text(text).html(bar));
        }
    }

    /// True when the next picture may be drawn.
    fn picture_is_due(&mut self, last: bool) -> bool {
        let since = self.pictured.unwrap_or(self.start);
        let due = last && self.pictured.is_some() || since.elapsed() > LONG_PAUSE;
        if due {
            self.pictured = Some(Instant::now());
        }
        due
    }

    fn chart(&mut self, phase: &str) {
        let title = format!("Loss of the {phase} while training");
        let axes = Axes { title: &title, x: "step", y: "loss (nats)" };
        if let Ok(image) = lines(&axes, &[Series::new("loss", self.losses.clone())]) {
            let last = self.losses.last().map_or(0.0, |p| p.1);
            let text = format!("loss {last:.3} after {} steps", self.losses.len());
            self.picture.put(&Bundle::new().text(text).png(&image));
        }
    }
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}

impl Watch for Live {
    fn record(&mut self, r: &Record, progress: Option<(u64, u64)>) {
        let (done, total) = progress.unwrap_or((r.step, r.steps));
        let text = format!(
            "{} {done}/{total} loss {:.3} acc {:.1}% norm {:.2} lr {:.1e} {:.0} img/s",
            r.phase,
            r.loss,
            r.accuracy * 100.0,
            r.grad_norm,
            r.lr,
            r.images_per_s
        );
        if self.phase != r.phase {
            (self.phase, self.losses) = (r.phase.clone(), Vec::new()); // its steps begin anew
        }
        self.losses.push((r.step as f64, r.loss));
        self.bar(done, total, &text);
        if self.losses.len() > 1 && self.picture_is_due(done == total) {
            self.chart(&r.phase);
        }
    }

    fn pass(&mut self, done: usize, total: usize) {
        self.bar(done as u64, total as u64, &format!("step {done} of {total}"));
    }

    fn preview(&mut self, picture: &dyn Fn() -> RgbImage) {
        if self.picture_is_due(false) {
            let image = picture();
            let html = html::picture(&image, "so far");
            self.picture.put(&Bundle::new().text("the picture so far").html(html).png(&image));
        }
    }

    fn note(&mut self, text: &str) {
        emit(&json!({ "kind": "stderr", "text": format!("{text}\n") }));
    }

    fn stop(&self) -> bool {
        stop_asked()
    }
}
