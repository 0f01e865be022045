//! A command at work, below its cell: a bar, the loss as it falls, pictures of the work so far.

use crate::bundle::Bundle;
use crate::bus::emit;
use crate::html;
use crate::output::Slot;
use crate::views::picture;
use paella::error::counted;
use paella::lab::loss_plot;
use paella::lab::view::{View, ViewBlock};
use paella::lab::watch::{Preview, Watch, stop_asked};
use paella::metrics::StepRecord;
use paella_wire::Event;
use std::time::{Duration, Instant};

/// Time between two drawings of the bar.
const BAR: Duration = Duration::from_millis(150);
/// Time between two drawings of the losses, and between two pictures of a sampling run.
const PAUSE: Duration = Duration::from_secs(1);
/// Time between two pictures of a training, which take a sampling run each.
const LONG_PAUSE: Duration = Duration::from_secs(10);
/// Watching takes at most one part in this many of the time.
const SHARE: u32 = 33;

/// Pace of repeated drawing: the time of the last one, and how long it took.
struct Pace {
    drawn: Instant,
    took: Duration,
    /// Nothing has been drawn yet; `drawn` is the start of the command.
    fresh: bool,
}

impl Pace {
    fn new() -> Self {
        Self { drawn: Instant::now(), took: Duration::ZERO, fresh: true }
    }

    /// After a pause, longer if drawing takes long. At the end too, if something has been drawn.
    fn is_due(&self, pause: Duration, last: bool) -> bool {
        (last && !self.fresh) || self.drawn.elapsed() > pause.max(self.took * SHARE)
    }

    /// Drawing began at `start` and is done.
    fn done(&mut self, start: Instant) {
        *self = Self { drawn: Instant::now(), took: start.elapsed(), fresh: false };
    }
}

/// Watches one command.
pub struct Live {
    bar: Slot,
    chart: Slot,
    preview: Slot,
    barred: Pace,
    charted: Pace,
    looked: Pace,
    /// When the picture that is being made was asked for.
    asked: Instant,
    /// Phase of training that the losses belong to.
    phase: String,
    losses: Vec<(f64, f64)>,
}

impl Live {
    pub fn new() -> Self {
        let [bar, chart, preview] = [(); 3].map(|()| Slot::new());
        let [barred, charted, looked] = [(); 3].map(|()| Pace::new());
        let (asked, phase, losses) = (Instant::now(), String::new(), Vec::new());
        Self { bar, chart, preview, barred, charted, looked, asked, phase, losses }
    }

    fn bar(&mut self, done: u64, total: u64, text: &str) {
        if done == total || self.barred.fresh || self.barred.is_due(BAR, false) {
            let (start, bar) = (Instant::now(), html::bar(done, Some(total), text));
            self.bar.put(&Bundle::new().text(text).html(bar));
            self.barred.done(start);
        }
    }

    /// Draw the losses. The last drawing stays in the notebook and has a PNG too.
    fn chart(&mut self, phase: &str, last: bool) {
        let (start, plot) = (Instant::now(), loss_plot(phase, self.losses.clone()));
        let loss = self.losses.last().map_or(0.0, |p| p.1);
        let caption = format!("loss {loss:.3} after {}", counted(self.losses.len(), "step"));
        let text = Bundle::new().text(&caption);
        self.chart.put(&match plot.svg(&caption) {
            Ok(svg) if !last => text.svg(svg),
            _ => text.plot(&plot, &caption),
        });
        self.charted.done(start);
    }
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}

impl Watch for Live {
    fn record(&mut self, r: &StepRecord, progress: Option<(u64, u64)>) {
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
            (self.phase, self.losses) = (r.phase.clone(), Vec::new()); // its steps begin at 0 again
        }
        self.losses.push((r.step as f64, r.loss));
        self.bar(done, total, &text);
        let last = done == total;
        if self.losses.len() > 1 && self.charted.is_due(PAUSE, last) {
            self.chart(&r.phase, last);
        }
    }

    fn pass(&mut self, done: usize, total: usize) {
        self.bar(done as u64, total as u64, &format!("step {done} of {total}"));
    }

    fn begins(&mut self, view: &View) -> bool {
        for block in &view.blocks {
            if let ViewBlock::Picture { image, caption, .. } = block {
                Slot::new().put(&picture(image, caption));
            }
        }
        true
    }

    fn wants_preview(&mut self, last: bool) -> bool {
        self.asked = Instant::now();
        match self.losses.is_empty() {
            true => !last && self.looked.is_due(PAUSE, false), // the last one of a sampling run is its answer
            false => self.looked.is_due(LONG_PAUSE, last),
        }
    }

    fn preview(&mut self, preview: Preview) {
        self.preview.put(&picture(&preview.image, &preview.caption));
        self.looked.done(self.asked);
    }

    fn note(&mut self, text: &str) {
        emit(&Event::Stderr { text: format!("{text}\n") });
    }

    fn stop(&self) -> bool {
        stop_asked()
    }
}
