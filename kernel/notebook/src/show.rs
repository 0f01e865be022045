//! How the value of a cell shows itself: pictures as pictures, answers as tables, all else as `Debug` has it.

use crate::bundle::Bundle;
use crate::html;
use crate::tensor;
use crate::wire;
use image::RgbImage;
use paella::config::{self, RunConfig};
use paella::face::terminal::Terminal;
use paella::lab::Reply;
use paella::lab::view::{Block, TokenGrid, View};
use paella::metrics::Record;
use paella::plan::{SampleConfig, Step};
use serde::Serialize;
use std::any::Any;
use std::fmt::Debug;
use tch::Tensor;

/// Every value that can be printed shows itself; a type of your own may have an `evcxr_display` method instead.
pub trait Show {
    /// Its forms, for the front end to choose from.
    fn bundle(&self) -> Bundle;

    /// Called on the last expression of a cell.
    fn evcxr_display(&self) {
        wire::result(&self.bundle());
    }
}

impl<T: Debug + 'static> Show for T {
    fn bundle(&self) -> Bundle {
        known(self).unwrap_or_else(|| Bundle::new().text(format!("{self:?}")))
    }
}

impl<T: Debug + Clone + 'static> Show for [T] {
    fn bundle(&self) -> Bundle {
        self.to_vec().bundle()
    }
}

impl Show for str {
    fn bundle(&self) -> Bundle {
        Bundle::new().text(format!("{self:?}"))
    }
}

/// The first of these types that it is, or holds.
fn known(value: &dyn Any) -> Option<Bundle> {
    if value.is::<()>() {
        return Some(Bundle::new());
    }
    own(value).or_else(|| configs(value)).or_else(|| answers(value))
}

/// Types with a look of their own.
fn own(value: &dyn Any) -> Option<Bundle> {
    macro_rules! looks {
        ($($type:ty => $look:expr,)*) => {
            $( if let Some(value) = value.downcast_ref::<$type>() { return Some($look(value)); } )*
        };
    }
    looks! {
        Tensor => tensor::bundle,
        View => view,
        RgbImage => |image: &RgbImage| picture(image, ""),
        Vec<RgbImage> => |images: &Vec<RgbImage>| pictures(images),
        TokenGrid => |grid: &TokenGrid| view(&View::new().tokens(grid.clone())),
        Vec<Step> => |plan: &Vec<Step>| rows(plan),
        Step => |step: &Step| fields(step),
        Vec<Record> => |records: &Vec<Record>| rows(records),
        Record => |record: &Record| fields(record),
        Bundle => Bundle::clone,
    }
    None
}

/// Configs: a table of paths, and RON as text.
fn configs(value: &dyn Any) -> Option<Bundle> {
    macro_rules! config_tables {
        ($($type:ty),* $(,)?) => {
            $( if let Some(config) = value.downcast_ref::<$type>() { return Some(config_table(config)); } )*
        };
    }
    config_tables!(
        RunConfig,
        SampleConfig,
        paella::data::DataConfig,
        paella::model::PaellaConfig,
        paella::optim::OptimConfig,
        paella::recipe::TrainConfig,
        paella::recipe::TokenizerTrainConfig,
        paella::tokens::text::TextConfig,
        paella::tokens::vqgan::VqConfig,
    );
    None
}

/// What `lab` answers: the value in it, or the error with its hint.
fn answers(value: &dyn Any) -> Option<Bundle> {
    macro_rules! inside {
        ($($type:ty),* $(,)?) => { $(
            if let Some(answer) = value.downcast_ref::<paella::Result<$type>>() {
                return Some(match answer {
                    Ok(value) => value.bundle(),
                    Err(error) => Bundle::new().text(format!("error: {error}")),
                });
            }
        )* };
    }
    inside!(View, (), Tensor, RgbImage, RunConfig, Vec<Record>, Option<Reply>);
    let reply = value.downcast_ref::<Option<Reply>>();
    reply.map(|reply| reply.as_ref().map(|reply| view(&reply.view)).unwrap_or_default())
}

/// All blocks in order as HTML and text; a single picture as PNG too.
pub fn view(view: &View) -> Bundle {
    let terminal = Terminal::plain();
    let (mut texts, mut page, mut pictures) = (Vec::new(), String::new(), Vec::new());
    for block in &view.blocks {
        match block {
            Block::Text(text) => {
                texts.push(text.clone());
                page += &html::lines(text);
            }
            Block::Note(text) => {
                texts.push(text.clone());
                page += &html::note(text);
            }
            Block::Table { headers, rows } => {
                texts.push(terminal.table(headers, rows));
                page += &html::table(headers, rows);
            }
            Block::Tokens(grid) => {
                texts.push(terminal.tokens(grid));
                page += &html::tokens(grid);
            }
            Block::Picture { image, caption, .. } => {
                texts.push(format!("picture: {caption}"));
                page += &html::picture(image, caption);
                pictures.push(image);
            }
            Block::Chart { image, sketch, caption, .. } => {
                texts.push(format!("{sketch}\n{caption}"));
                page += &html::picture(image, caption);
                pictures.push(image);
            }
        }
    }
    let bundle = match texts.is_empty() {
        true => Bundle::new(),
        false => Bundle::new().text(texts.join("\n")).html(page),
    };
    match pictures.as_slice() {
        [image] => bundle.png(image),
        _ => bundle,
    }
}

fn picture(image: &RgbImage, caption: &str) -> Bundle {
    let text = format!("picture, {} x {} pixels", image.width(), image.height());
    Bundle::new().html(html::picture(image, caption)).png(image).text(text)
}

fn pictures(images: &[RgbImage]) -> Bundle {
    match images {
        [] => Bundle::new().text("no pictures"),
        images => {
            let columns = (images.len() as f64).sqrt().ceil() as usize;
            picture(&paella::image::grid(images, columns, 2), &format!("{} pictures", images.len()))
        }
    }
}

fn config_table<T: Serialize>(config: &T) -> Bundle {
    let row = |path: String| {
        let value = config::get(config, &path).unwrap_or_default();
        vec![path, value]
    };
    let rows: Vec<Vec<String>> = config::paths(config).into_iter().map(row).collect();
    let headers = ["setting", "value"].map(String::from);
    Bundle::new().text(config::to_ron(config)).html(html::table(&headers, &rows))
}

/// One row per field.
fn fields<T: Serialize>(value: &T) -> Bundle {
    let (names, cells) = row(value);
    let rows: Vec<Vec<String>> = names.into_iter().zip(cells).map(|(n, c)| vec![n, c]).collect();
    table(&["field", "value"].map(String::from), &rows)
}

/// One row per value.
fn rows<T: Serialize>(values: &[T]) -> Bundle {
    let headers = values.first().map(|value| row(value).0).unwrap_or_default();
    let rows: Vec<Vec<String>> = values.iter().map(|value| row(value).1).collect();
    table(&headers, &rows)
}

fn table(headers: &[String], rows: &[Vec<String>]) -> Bundle {
    Bundle::new().text(Terminal::plain().table(headers, rows)).html(html::table(headers, rows))
}

/// Names and contents of the fields.
fn row<T: Serialize>(value: &T) -> (Vec<String>, Vec<String>) {
    let value = serde_json::to_value(value).unwrap_or_default();
    let fields = value.as_object().cloned().unwrap_or_default();
    let cell = |value: serde_json::Value| match value.as_f64().filter(|_| value.is_f64()) {
        Some(x) => format!("{x:.4}"),
        None => value.as_str().map_or_else(|| value.to_string(), String::from),
    };
    fields.into_iter().map(|(name, value)| (name, cell(value))).unzip()
}
