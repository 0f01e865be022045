//! Scores of scenes as a table and as a chart over guidance or steps.

use crate::data::Source;
use crate::data::scenes::{SceneKind, ScenesConfig};
use crate::error::{Error, Result};
use crate::eval::{SceneScore, SceneScores, scenes};
use crate::lab::plot::{Axes, Plot, Series};
use crate::lab::reading::{SCORE_HEADERS, score_row};
use crate::lab::view::View;
use crate::networks::Networks;
use crate::sample::SampleConfig;
use clap::ValueEnum;

const GUIDANCE: [f64; 7] = [1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0];
const STEPS: [i64; 7] = [2, 4, 6, 8, 12, 16, 24];

/// The setting of the sampler that a chart runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Over {
    Guidance,
    Steps,
}

impl Over {
    fn name(self) -> &'static str {
        match self {
            Self::Guidance => "guidance",
            Self::Steps => "steps",
        }
    }

    /// The settings: each value, and the sampler that it makes of `base`.
    fn settings(self, base: &SampleConfig) -> Vec<(f64, SampleConfig)> {
        match self {
            Self::Guidance => GUIDANCE
                .iter()
                .map(|&cfg| (cfg, SampleConfig { cfg_scale: (cfg, cfg), ..base.clone() }))
                .collect(),
            Self::Steps => STEPS.iter().map(|&n| (n as f64, base.with_steps(n))).collect(),
        }
    }
}

/// The tables of `paella eval`.
pub fn tables(view: View, scores: &SceneScores) -> View {
    let table = |view: View, title: &str, all: &[SceneScore]| {
        view.text("").text(title).table(&SCORE_HEADERS, all.iter().map(score_row).collect())
    };
    let view = table(view, "generated pictures, read by rule:", &scores.generated);
    let view =
        table(view, "drawn pictures after the tokenizer, read by rule:", &scores.reconstructed);
    view.note(format!(
        "{:.1} different codes in a drawn picture. A caption is right if all that it says is; what it leaves out is right",
        scores.codes_per_picture
    ))
}

/// Whole captions right over a setting of the sampler, as a plot and as its numbers.
///
/// Errors: a model of other data; as [`scenes::sweep`].
pub fn chart(
    nets: &Networks,
    over: Over,
    note: &mut dyn FnMut(&str),
) -> Result<(View, Plot, serde_json::Value)> {
    let world = world(nets)?;
    let (values, settings): (Vec<f64>, Vec<SampleConfig>) =
        over.settings(&nets.config.sample).into_iter().unzip();
    let rows = scenes::sweep(nets, world, &settings, note)?;
    let line = |kind: SceneKind, objects: usize| {
        let at = |row: &Vec<SceneScore>| {
            row.iter().find(|s| (s.kind, s.objects) == (kind, objects)).map(|s| s.whole)
        };
        let points: Vec<(f64, f64)> = values
            .iter()
            .zip(&rows)
            .filter_map(|(&x, row)| at(row).map(|y| (x, y * 100.0)))
            .collect();
        let s = if objects == 1 { "" } else { "s" };
        (!points.is_empty())
            .then(|| Series::new(format!("{}, {objects} object{s}", kind.word()), points))
    };
    let shown = [
        (SceneKind::Ordinary, 1),
        (SceneKind::Pair, 1),
        (SceneKind::Ordinary, 2),
        (SceneKind::Pair, 2),
    ];
    let series: Vec<Series> = shown.into_iter().filter_map(|(kind, n)| line(kind, n)).collect();
    let table: Vec<Vec<String>> = values
        .iter()
        .enumerate()
        .map(|(i, value)| {
            let shares = series.iter().map(|one| format!("{:.1}%", one.points[i].1));
            [value.to_string()].into_iter().chain(shares).collect()
        })
        .collect();
    let headers: Vec<&str> =
        [over.name()].into_iter().chain(series.iter().map(|s| s.name.as_str())).collect();
    let view = View::new().table(&headers, table);
    let title = format!("Whole captions right over {}", over.name());
    let axes = Axes { title: &title, x: over.name(), y: "whole captions right, %" };
    let json = serde_json::json!({ "over": over.name(), "values": values, "scores": rows });
    Ok((view, Plot::lines(&axes, series), json))
}

fn world(nets: &Networks) -> Result<&ScenesConfig> {
    match &nets.config.data.source {
        Source::Scenes(world) => Ok(world),
        _ => {
            let hint = "leave out `--over`; only pictures of scenes are read by rule";
            Err(Error::command("this model was not trained on scenes", "eval", hint))
        }
    }
}
