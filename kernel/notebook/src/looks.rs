//! How the types of this program look in a notebook.

use crate::bundle::Bundle;
use crate::session::Session;
use crate::views::{picture, view};
use crate::{debug, html, tables, tensor};
use image::RgbImage;
use paella::data::{self, Dataset};
use paella::lab::plot::{Axes, Plot, Series};
use paella::lab::view::{TokenGrid, View};
use paella::lab::workspace::{self, token_grid};
use paella::lab::{LossAtRatio, Reply, loss_plot};
use paella::metrics::StepRecord;
use paella::networks::Networks;
use paella::noise::Noised;
use paella::sample::Step;
use paella::train::{feed::Batch, gallery::ProgressSheet};
use std::fmt::{Debug, Display};
use std::rc::Rc;
use std::sync::Arc;
use tch::Tensor;

/// Pictures of a data set that are shown.
const SOME: usize = 16;
/// Numbers from which on a list is drawn as a curve.
const MANY: usize = 24;

/// A look of its own.
pub trait Look {
    fn look(&self) -> Bundle;
}

/// Types with one expression for how they look.
macro_rules! looks {
    ($($type:ty => |$value:ident| $look:expr;)*) => {
        $( impl Look for $type { fn look(&self) -> Bundle { let $value = self; $look } } )*
    };
}

looks! {
    () => |_nothing| Bundle::new();
    Bundle => |bundle| bundle.clone();
    Tensor => |tensor| tensor::bundle(tensor);
    Vec<Tensor> => |tensors| Bundle::stacked(&tensors.iter().take(SOME).map(Look::look).collect::<Vec<_>>());
    (Tensor, Tensor) => |pair| Bundle::stacked(&[pair.0.look(), pair.1.look()]);
    (Tensor, Tensor, Tensor) => |three| Bundle::stacked(&[three.0.look(), three.1.look(), three.2.look()]);
    RgbImage => |image| picture(image, "");
    Vec<RgbImage> => |images| sheet(images, &format!("{} pictures", images.len()));
    View => |answer| view(answer);
    Reply => |reply| view(&reply.view);
    TokenGrid => |grid| view(&View::new().tokens(grid.clone()));
    Plot => |plot| Bundle::new().plot(plot, "").text(format!("plot: {}", plot.title()));
    Step => |step| tables::fields(step);
    Vec<Step> => |plan| tables::rows(plan);
    StepRecord => |record| tables::fields(record);
    Vec<StepRecord> => |records| log(records);
    Vec<LossAtRatio> => |levels| tables::rows(levels);
    (Vec<LossAtRatio>, String) => |both| Bundle::stacked(&[tables::rows(&both.0), Bundle::new().text(&both.1)]);
    data::Record => |record| tables::fields(record);
    Vec<data::Record> => |records| tables::rows(records);
    Dataset => |data| dataset(data);
    ProgressSheet => |gallery| picture(&gallery.sheet, &gallery.captions.join(", "));
    Batch => |batch| batch_of(batch);
    Networks => |nets| parameters(nets);
    Session => |lab| session(lab);
    workspace::Workspace => |workspace| shapes(&workspace.shapes());
    workspace::Picture => |one| Bundle::stacked(&[one.images.look(), Bundle::new().text(&one.caption)]);
    Noised => |noised| {
        let known = crate::session::peek(|lab| lab.colors_of(&noised.tokens)).flatten();
        let caption = format!("T = {}", noised.ratio());
        token_grid(&noised.tokens, Some(&noised.mask), &known.unwrap_or_default(), caption).look()
    };
    workspace::Sampling => |run| {
        let text = format!("\"{}\", seed {}, {} of {} steps", run.text, run.seed, run.path.len() - 1, run.plan.len());
        Bundle::stacked(&[Bundle::new().text(text), run.plan.look()])
    };
    Vec<f64> => |ys| numbers(ys, ys);
    Vec<f32> => |ys| numbers(ys, &ys.iter().map(|&y| f64::from(y)).collect::<Vec<_>>());
    Vec<(f64, f64)> => |points| curve(points, points);
}

/// Configs: a table of paths, and RON as text.
macro_rules! settings {
    ($($type:ty),* $(,)?) => {
        $( impl Look for $type { fn look(&self) -> Bundle { tables::settings(self) } } )*
    };
}

settings!(
    paella::checkpoint::SaveConfig,
    paella::config::PriorStageConfig,
    paella::config::RunConfig,
    paella::config::TokenizerConfig,
    paella::config::WeightsConfig,
    paella::data::DataConfig,
    paella::data::stream::StreamConfig,
    paella::dist::DistConfig,
    paella::model::LevelConfig,
    paella::model::PaellaConfig,
    paella::model::clip::ClipConfig,
    paella::model::prior::PriorConfig,
    paella::model::prior::PriorSampleConfig,
    paella::optim::OptimConfig,
    paella::sample::SampleConfig,
    paella::recipe::EvalConfig,
    paella::recipe::LogConfig,
    paella::recipe::Precision,
    paella::recipe::PriorTrainConfig,
    paella::recipe::TokenizerTrainConfig,
    paella::recipe::TrainConfig,
    paella::tokens::text::TextConfig,
    paella::tokens::vqgan::VqConfig,
);

impl<T: Look> Look for Rc<T> {
    fn look(&self) -> Bundle {
        (**self).look()
    }
}

impl<T: Look> Look for Arc<T> {
    fn look(&self) -> Bundle {
        (**self).look()
    }
}

impl<T: Look> Look for Box<T> {
    fn look(&self) -> Bundle {
        (**self).look()
    }
}

impl<T: Look> Look for Option<T> {
    fn look(&self) -> Bundle {
        self.as_ref().map_or_else(|| Bundle::new().text("None"), Look::look)
    }
}

/// What came of it, or the error with its hint.
impl<T: Look, E: Display> Look for Result<T, E> {
    fn look(&self) -> Bundle {
        self.as_ref().map_or_else(|error| Bundle::new().text(format!("error: {error}")), Look::look)
    }
}

fn sheet(images: &[RgbImage], caption: &str) -> Bundle {
    match images {
        [] => Bundle::new().text("no pictures"),
        images => {
            let columns = (images.len() as f64).sqrt().ceil() as usize;
            picture(&paella::image::grid(images, columns, 2), caption)
        }
    }
}

/// The losses as a curve, and the numbers.
fn log(records: &[StepRecord]) -> Bundle {
    let Some(last) = records.last() else { return Bundle::new().text("no training steps") };
    let own = records.iter().filter(|record| record.phase == last.phase);
    let losses: Vec<(f64, f64)> = own.map(|record| (record.step as f64, record.loss)).collect();
    let text = format!("{} training steps", records.len());
    let table = tables::rows(records);
    if losses.len() < 2 {
        return Bundle::stacked(&[Bundle::new().text(text), table]);
    }
    let plot = Bundle::new().plot(&loss_plot(&last.phase, losses), "").text(text);
    Bundle::stacked(&[plot, table])
}

fn dataset(data: &Dataset) -> Bundle {
    let (n, size) = (data.len(), data.images.size());
    let picks: Vec<i64> = (0..n.min(SOME)).map(|i| (i * n / n.min(SOME)) as i64).collect();
    let images = data.images(&picks);
    let pictures = paella::image::all_from_tensor(&images);
    let captions = data.captions(&picks).join("; ");
    let caption = format!("{n} pictures of {} x {} pixels, such as: {captions}", size[2], size[3]);
    sheet(&pictures, &caption)
}

fn batch_of(batch: &Batch) -> Bundle {
    let captions = Bundle::new().text(batch.captions.join("; "));
    match &batch.images {
        Some(images) => Bundle::stacked(&[images.look(), captions]),
        None => Bundle::stacked(&[batch.tokens.look(), captions]),
    }
}

fn parameters(nets: &Networks) -> Bundle {
    let row = |(name, n): (&str, i64)| vec![name.to_string(), n.to_string()];
    let rows: Vec<Vec<String>> = nets.parameters().into_iter().map(row).collect();
    tables::table(&["network", "parameters"], &rows)
}

fn shapes(shapes: &[(&str, String)]) -> Bundle {
    let row = |(name, shape): &(&str, String)| vec![name.to_string(), shape.clone()];
    match shapes {
        [] => Bundle::new().text("nothing is in hand: `%show 0` or `lab.show(..)` takes a picture"),
        shapes => tables::table(&["in hand", "shape"], &shapes.iter().map(row).collect::<Vec<_>>()),
    }
}

/// The session itself.
fn session(lab: &Session) -> Bundle {
    let (model, step) = lab.status();
    let text =
        format!("session on the model {model}, {step} training steps; `%help` lists the commands");
    let head = Bundle::new().text(&text).html(html::note(&text));
    Bundle::stacked(&[head, shapes(&lab.workspace().shapes())])
}

/// A long list of numbers as a curve.
fn numbers(value: &dyn Debug, ys: &[f64]) -> Bundle {
    let points: Vec<(f64, f64)> = ys.iter().enumerate().map(|(i, &y)| (i as f64, y)).collect();
    curve(value, &points)
}

fn curve(value: &dyn Debug, points: &[(f64, f64)]) -> Bundle {
    let text = Bundle::new().text(debug::text(value));
    if points.len() < MANY {
        return text;
    }
    let title = format!("{} values", points.len());
    let axes = Axes { title: &title, x: "", y: "" };
    text.plot(&Plot::lines(&axes, vec![Series::new("", points.to_vec())]), "")
}
