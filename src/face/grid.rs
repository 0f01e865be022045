//! `paella grid`: one text under several settings, on a sheet.

use super::common::{Common, lab_by_chance};
use super::progress::ProgressLine;
use super::sample::{each_once, save_as, size};
use super::shell::{mistaken_option, part_weights};
use super::work::show_view;
use crate::error::{Result, counted};
use crate::image;
use crate::lab::SampleRequest;
use crate::lab::folder::replaceable;
use crate::lab::grid::GridAxis;
use crate::model::weigh::PartWeights;
use clap::Args;
use std::path::PathBuf;

/// One or two of the settings have several values; the first of them in this list goes across, the other down.
#[derive(Args)]
pub struct GridArgs {
    /// What the pictures show; several words need no quotes
    #[arg(value_name = "TEXT", required = true)]
    text: Vec<String>,
    /// Passes of the model
    #[arg(long, value_name = "N,N,..")]
    steps: Option<String>,
    /// Guidance
    #[arg(long, value_name = "S,S,..")]
    cfg: Option<String>,
    /// Softmax divisor
    #[arg(long, value_name = "T,T,..")]
    temperature: Option<String>,
    /// Seeds; without them all pictures have one
    #[arg(long, value_name = "N,N,..", conflicts_with = "seed")]
    seeds: Option<String>,
    /// With and without the picture that a prior guesses
    #[arg(long, value_name = "on,off")]
    prior: Option<String>,
    /// What the pictures should not show
    #[arg(long, value_name = "TEXT", default_value = "")]
    negative: String,
    /// Width and height of a picture in pixels
    #[arg(long, value_name = "WxH", value_parser = size)]
    size: Option<(i64, i64)>,
    /// How much the attention to each part counts: "text=1.2 clip_text=1 clip_image=0.4"
    #[arg(long, value_name = "WEIGHTS", value_parser = part_weights)]
    weights: Option<PartWeights>,
    /// Write the sheet here; else into the run folder
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write a film of the sheet as its pictures emerge
    #[arg(long, value_name = "FILE.gif")]
    gif: Option<PathBuf>,
}

/// `paella grid`: a sheet with labelled axes.
pub fn grid(args: &GridArgs, common: &Common) -> Result<()> {
    args.out.iter().try_for_each(|file| image::format_of(file).map(|_| ()))?;
    let files = [&args.out, &args.gif].into_iter().flatten();
    each_once(files.clone())?;
    let older = files.map(|file| replaceable(file)).collect::<Result<Vec<bool>>>()?;
    let older = older.into_iter().filter(|there| *there).count();
    let named = [
        ("steps", &args.steps),
        ("cfg", &args.cfg),
        ("temperature", &args.temperature),
        ("seed", &args.seeds),
        ("prior", &args.prior),
    ];
    let axes =
        named.iter().filter_map(|(name, values)| Some(GridAxis::parse(name, values.as_ref()?)));
    let axes = axes.collect::<Result<Vec<_>>>()?;
    let request = SampleRequest {
        text: args.text.join(" "),
        negative: args.negative.clone(),
        size: args.size,
        weights: args.weights.clone(),
        seed: common.seed,
        ..SampleRequest::default()
    };
    let mut lab = lab_by_chance(common)?;
    let mut progress = ProgressLine::new(common.json);
    let mut view = lab.grid(axes, &request, args.gif.as_deref(), &mut progress)?;
    drop(progress);
    match &args.out {
        Some(file) => save_as(&mut view, file)?,
        None => lab.keep(&mut view, "grid")?,
    }
    view = view.notes(mistaken_option(&args.text.join(" ")));
    if older > 0 {
        view = view.note(format!("in place of {}", counted(older, "older file")));
    }
    show_view(view, common)
}
