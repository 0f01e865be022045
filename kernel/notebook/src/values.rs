//! The looks that take more than one expression.

use crate::bundle::Bundle;
use crate::look::Look;
use crate::session::{Session, peek};
use crate::views::picture;
use crate::{debug, html, tables};
use image::RgbImage;
use paella::data::Dataset;
use paella::error::counted;
use paella::lab::loss_plot;
use paella::lab::plot::{Axes, Plot, Series};
use paella::lab::workspace::{self, token_grid};
use paella::metrics::StepRecord;
use paella::networks::Networks;
use paella::noise::Noised;
use paella::train::feed::Batch;
use std::fmt::Debug;
use tch::Tensor;

/// Pictures of a data set, or tensors of a list, that are shown.
const SOME: usize = 16;
/// Numbers from which on a list is drawn as a curve.
const MANY: usize = 24;

pub fn sheet(images: &[RgbImage], caption: &str) -> Bundle {
    match images {
        [] => Bundle::new().text("no pictures"),
        images => picture(&paella::image::square_grid(images, 2), caption),
    }
}

/// The losses as a curve, and the numbers.
pub fn log(records: &[StepRecord]) -> Bundle {
    let Some(last) = records.last() else { return Bundle::new().text("no training steps") };
    let own = records.iter().filter(|record| record.phase == last.phase);
    let losses: Vec<(f64, f64)> = own.map(|record| (record.step as f64, record.loss)).collect();
    let text = counted(records.len(), "training step");
    let table = tables::rows(records);
    if losses.len() < 2 {
        return Bundle::stacked(&[Bundle::new().text(text), table]);
    }
    let plot = Bundle::new().plot(&loss_plot(&last.phase, losses), "").text(text);
    Bundle::stacked(&[plot, table])
}

pub fn dataset(data: &Dataset) -> Bundle {
    let (n, size) = (data.len(), data.images.size());
    let picks: Vec<i64> = (0..n.min(SOME)).map(|i| (i * n / n.min(SOME)) as i64).collect();
    let images = data.images(&picks);
    let pictures = paella::image::all_from_tensor(&images);
    let captions = data.captions(&picks).join("; ");
    let caption = format!(
        "{} of {} x {} pixels, such as: {captions}",
        counted(n, "picture"),
        size[2],
        size[3]
    );
    sheet(&pictures, &caption)
}

pub fn batch_of(batch: &Batch) -> Bundle {
    let captions = Bundle::new().text(batch.captions.join("; "));
    match &batch.images {
        Some(images) => Bundle::stacked(&[images.look(), captions]),
        None => Bundle::stacked(&[batch.tokens.look(), captions]),
    }
}

pub fn parameters(nets: &Networks) -> Bundle {
    let row = |(name, n): (&str, i64)| vec![name.to_string(), n.to_string()];
    let rows: Vec<Vec<String>> = nets.parameters().into_iter().map(row).collect();
    tables::table(&["network", "parameters"], &rows)
}

pub fn shapes(shapes: &[(&str, String)]) -> Bundle {
    let row = |(name, shape): &(&str, String)| vec![name.to_string(), shape.clone()];
    match shapes {
        [] => Bundle::new().text("nothing is in hand: `%show 0` or `lab.show(..)` takes a picture"),
        shapes => tables::table(&["in hand", "shape"], &shapes.iter().map(row).collect::<Vec<_>>()),
    }
}

/// The session itself.
pub fn session(lab: &Session) -> Bundle {
    let (model, step) = lab.status();
    let trained = counted(step, "training step");
    let text = format!("session on the model {model}, {trained}; `%help` lists the commands");
    let head = Bundle::new().text(&text).html(html::note(&text));
    Bundle::stacked(&[head, shapes(&lab.workspace().shapes())])
}

/// A long list of numbers as a curve.
pub fn numbers(value: &dyn Debug, ys: &[f64]) -> Bundle {
    let points: Vec<(f64, f64)> = ys.iter().enumerate().map(|(i, &y)| (i as f64, y)).collect();
    curve(value, &points)
}

pub fn curve(value: &dyn Debug, points: &[(f64, f64)]) -> Bundle {
    let text = Bundle::new().text(debug::text(value));
    if points.len() < MANY {
        return text;
    }
    let title = counted(points.len(), "value");
    let axes = Axes { title: &title, x: "", y: "" };
    text.plot(&Plot::lines(&axes, vec![Series::new("", points.to_vec())]), "")
}

/// Several tensors, one below the other.
pub fn stack(tensors: &[Tensor]) -> Bundle {
    Bundle::stacked(&tensors.iter().take(SOME).map(Look::look).collect::<Vec<_>>())
}

/// Noised tokens on the colours of the codebook, the noise framed.
pub fn noised(noised: &Noised) -> Bundle {
    let colors = peek(|lab| lab.colors_of(&noised.tokens)).flatten().unwrap_or_default();
    let caption = format!("T = {}", noised.ratio());
    token_grid(&noised.tokens, Some(&noised.mask), &colors, caption).look()
}

/// A sampling run: what it draws, how far it is, its schedule.
pub fn sampling(run: &workspace::Sampling) -> Bundle {
    let (done, steps) = (run.path.len() - 1, run.schedule.len());
    let text =
        format!("\"{}\", seed {}, {done} of {}", run.text, run.seeds()[0], counted(steps, "step"));
    Bundle::stacked(&[Bundle::new().text(text), run.schedule.look()])
}
