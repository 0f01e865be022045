//! The plots of a session. The numbers are collected here, and drawn by `plot` and `sketch`.

use super::Lab;
use super::plot::{Axes, Plot, Series};
use super::sketch;
use super::view::View;
use crate::error::{Result, counted};

/// Width of a sketch in characters.
const WIDTH: usize = 60;
const HEIGHT: usize = 10;

/// The arguments that `plot` accepts.
pub const PLOTS: &[&str] = &["loss", "noise", "tokens", "schedule"];

impl Lab {
    /// Plots the loss of every training step of this session, with its running mean.
    pub fn plot_loss(&self) -> Result<View> {
        let phase = self.log().last().map(|r| r.phase.clone()).unwrap_or_default();
        let log: Vec<_> = self.log().iter().filter(|r| r.phase == phase).collect();
        if log.is_empty() {
            return Err(Self::fault("there is nothing to plot yet", "`train 50` comes first"));
        }
        let losses: Vec<(f64, f64)> =
            log.iter().enumerate().map(|(i, r)| (i as f64 + 1.0, r.loss)).collect();
        let ys: Vec<f64> = smoothed(&losses).iter().map(|p| p.1).collect();
        let text = format!(
            "{}\n{}",
            sketch::curve(&ys, WIDTH, HEIGHT),
            sketch::x_axis("1", &log.len().to_string(), "step", WIDTH)
        );
        Ok(View::new().chart(
            loss_plot(&phase, losses),
            text,
            format!(
                "loss over {}, the last {:.3}",
                counted(log.len(), "step"),
                log[log.len() - 1].loss
            ),
        ))
    }

    /// Plots the loss over the noise ratio.
    pub fn plot_noise(&mut self, count: Option<i64>) -> Result<View> {
        let (levels, what) = self.levels(count)?;
        let points = levels.iter().map(|l| (l.t, l.loss)).collect();
        let axes =
            Axes { title: "Loss over the noise ratio", x: "noise ratio T", y: "loss (nats)" };
        let plot = Plot::lines(&axes, vec![Series::new("loss", points)]);
        let rows: Vec<(String, f64)> =
            levels.iter().map(|l| (format!("T = {:.1}", l.t), l.loss)).collect();
        Ok(View::new().chart(
            plot,
            sketch::bars(&rows, WIDTH - 20),
            format!("loss over T for {what}"),
        ))
    }

    /// Plots the uses of each code in up to 256 pictures, the most used first.
    pub fn plot_tokens(&mut self) -> Result<View> {
        let mut counts = self.code_counts(256)?;
        counts.sort_by(|a, b| b.total_cmp(a));
        let used = counts.iter().filter(|&&n| n > 0.0).count();
        let axes = Axes {
            title: "How often each code is used",
            x: "code, the most used first",
            y: "uses",
        };
        let plot = Plot::histogram(&axes, &counts);
        let text = format!(
            "{}\n{}",
            sketch::curve(&counts, WIDTH, HEIGHT),
            sketch::x_axis("0", &counts.len().to_string(), "codes, the most used first", WIDTH)
        );
        Ok(View::new().chart(plot, text, format!("{used} of {} codes in use", counts.len())))
    }

    /// Plots noise ratio, temperature and guidance over the steps of a run.
    pub fn plot_schedule(&self) -> Result<View> {
        let schedule = match &self.state.workspace.sampling {
            Some(run) => run.schedule.clone(),
            None => self.state.settings.sample.schedule(),
        };
        let most = schedule.iter().map(|s| s.cfg_scale).fold(1.0, f64::max);
        let series = |name: String, y: &dyn Fn(usize) -> f64| {
            Series::new(name, (0..schedule.len()).map(|i| (i as f64 + 1.0, y(i))).collect())
        };
        let all = vec![
            series("noise ratio before".into(), &|i| schedule[i].t),
            series("noise ratio after".into(), &|i| schedule[i].t_next),
            series("temperature".into(), &|i| schedule[i].temperature),
            series(format!("guidance / {most}"), &|i| schedule[i].cfg_scale / most),
        ];
        let axes = Axes { title: "The schedule of a sampling run", x: "step", y: "value" };
        let plot = Plot::lines(&axes, all);
        let rows: Vec<(String, f64)> =
            schedule.iter().enumerate().map(|(i, s)| (format!("step {} T", i + 1), s.t)).collect();
        Ok(View::new().chart(
            plot,
            sketch::bars(&rows, WIDTH - 20),
            format!("the schedule of {}", counted(schedule.len(), "step")),
        ))
    }
}

/// A plot of the losses (step, loss) of a phase as a thin curve, with their running mean.
pub fn loss_plot(phase: &str, losses: Vec<(f64, f64)>) -> Plot {
    let y = if phase == "denoiser" { "loss (nats)" } else { "loss" };
    let title = format!("Loss of the {phase} while training");
    let mean = Series::new("running mean", smoothed(&losses));
    Plot::lines(&Axes { title: &title, x: "step", y }, vec![Series::faint(losses), mean])
}

/// Exponential running mean over about 1/20 of the points.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let keep = 1.0 - 1.0 / (points.len() as f64 / 20.0).max(1.0);
    let mut mean = points.first().map_or(0.0, |p| p.1);
    let next = |&(x, y): &(f64, f64)| {
        mean = keep * mean + (1.0 - keep) * y;
        (x, mean)
    };
    points.iter().map(next).collect()
}
