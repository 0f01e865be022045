//! The subcommands for work other than training and sampling: eval, show, config.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use super::common::{Common, device, lab, pasted, tell_sizes};
use super::progress::ProgressLine;
use super::scenes::{self, Over};
use super::shell::{in_shell, part_weights};
use super::terminal::Terminal;
use crate::config::{self, RunConfig};
use crate::error::{Error, Result, counted, no_option};
use crate::eval::InceptionNet;
use crate::lab::Origin;
use crate::lab::args::quoted;
use crate::lab::folder::replaceable;
use crate::lab::view::View;
use crate::model::weigh::PartWeights;
use crate::near::there;
use crate::networks::Networks;
use crate::{eval, image};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct Eval {
    /// A model folder, a shipped model's name, or the config of a run whose model is trained
    #[arg(value_name = "CONFIG|DIR|NAME")]
    what: Option<String>,
    /// Scenes: whole captions right over a setting of the sampler, instead of all scores
    #[arg(long, value_enum)]
    over: Option<Over>,
    /// Write the chart of `--over` here, as PNG
    #[arg(long, value_name = "FILE", requires = "over")]
    chart: Option<PathBuf>,
    /// CLIP score, retrieval and distances by this CLIP: ViT-H-14 of open_clip, in place of the model's own
    #[arg(long, value_name = "FILE", conflicts_with = "over")]
    clip: Option<PathBuf>,
    /// Also FID, with these weights: pt_inception-2015-12-05-6726825d.pth of pytorch-fid
    #[arg(long, value_name = "FILE", conflicts_with = "over")]
    inception: Option<PathBuf>,
    /// Also pictures made under these weights, as in `paella sample`: "text=1.2 clip_text=1 clip_image=0.4"
    #[arg(long, value_name = "WEIGHTS", conflicts_with = "over", value_parser = part_weights)]
    weights: Option<PartWeights>,
}

#[derive(Subcommand)]
pub enum ConfigCommand {
    /// List everything that is wrong in a config file
    Check { file: PathBuf },
    /// Print a config file in full, every default written out
    Show { file: PathBuf },
    /// What differs from the defaults, or from another file
    Diff { file: PathBuf, other: Option<PathBuf> },
}

/// `paella show`: shows a picture of the data set.
pub fn show(what: &str, common: &Common) -> Result<()> {
    let mut lab = lab(common)?;
    let line = format!("show {}", quoted(what, Some('"')));
    let reply = lab.turn(&line, &mut ProgressLine::new(common.json))?;
    reply.map_or(Ok(()), |reply| show_view(reply.view, common))
}

/// `paella eval`: scores a model.
pub fn eval(args: &Eval, common: &Common) -> Result<()> {
    let replaces = args.chart.as_deref().map(replaceable).transpose()?;
    if let (Some(what), Some(model)) = (&args.what, &common.model) {
        let hint = format!("one of them: `{}`", pasted(&["eval", what]));
        let what = format!("two models are named: `{what}` and `--model {model}`");
        return Err(Error::command(what, "eval", hint));
    }
    let name = args.what.clone().or_else(|| common.model.clone());
    let name = name.or_else(|| crate::lab::model::shipped_models().first().cloned());
    let name = name.ok_or_else(|| Error::command("which model?", "eval", "paella eval DIR"))?;
    let folder = match Origin::find(&name)? {
        Origin::Folder(folder) => folder,
        Origin::Config(file) => trained(&RunConfig::read(&file)?.name),
    };
    let device = device(common)?;
    for (option, file) in [("clip", &args.clip), ("inception", &args.inception)] {
        file.iter().try_for_each(|file| there(file, &format!("paella eval --{option} FILE")))?;
    }
    let inception = args.inception.as_deref().map(|file| InceptionNet::read(file, device));
    let clip = args.clip.as_deref().map(|file| eval::read_vit_h(file, device));
    let (inception, clip, weights) =
        (inception.transpose()?, clip.transpose()?, args.weights.clone());
    let options = eval::Options { inception, clip, weights };
    eprintln!("{}:", folder.display());
    let nets = Networks::load(&folder, device)?;
    if let Some(over) = args.over {
        chart(&nets, over, args.chart.as_deref(), common)?;
        if let (Some(true), Some(file)) = (replaces, &args.chart) {
            eprintln!("in place of an older file: {}", file.display());
        }
        return Ok(());
    }
    let scores = eval::run(&nets, &options, &mut |note| eprintln!("{note} ..."))?;
    if common.json {
        println!("{}", serde_json::to_string(&scores).unwrap_or_default());
        return Ok(());
    }
    let view = scores_view(&scores, nets.config.eval.feature_size);
    let weights = options
        .weights
        .map(|weights| format!("re-weighted: {weights}, as `--weights` of `sample` has them"));
    let clip = args.clip.as_ref().map(|file| format!("CLIP: {}", file.display()));
    Terminal::detect().show(&view.notes(clip.into_iter().chain(weights)));
    Ok(())
}

/// Whole captions right over a setting of the sampler.
fn chart(nets: &Networks, over: Over, file: Option<&Path>, common: &Common) -> Result<()> {
    let (view, plot, json) = scenes::chart(nets, over, &mut |note| eprintln!("{note} ..."))?;
    if let Some(file) = file {
        image::save(&plot.image("")?, file)?;
    }
    match common.json {
        true => println!("{json}"),
        false => Terminal::detect().show(&view),
    }
    Ok(())
}

/// The model folder of a run, else the shipped model with this name.
fn trained(name: &str) -> PathBuf {
    let own = Path::new("runs").join(name).join("model");
    match Origin::find(name) {
        Ok(Origin::Folder(shipped)) if !own.join("config.ron").is_file() => shipped,
        _ => own,
    }
}

fn scores_view(scores: &eval::Scores, feature_size: i64) -> View {
    let percent = |share: f64| format!("{:.1}%", share * 100.0);
    let mut rows = vec![
        vec!["tokenizer, PSNR".to_string(), format!("{:.2} dB", scores.psnr_db)],
        vec!["codes in use".into(), percent(scores.codes_used)],
    ];
    let concepts = [
        ("training captions", &scores.concepts_train),
        ("held-out pairs", &scores.concepts_held_out),
    ];
    for (name, score) in concepts.into_iter().filter_map(|(name, s)| s.as_ref().map(|s| (name, s)))
    {
        if score.captions == 0 {
            continue;
        }
        rows.push(vec![
            format!("{name}: concept at rank 1"),
            format!(
                "{} of {}, among {}",
                percent(score.rank1),
                counted(score.captions, "caption"),
                counted(format!("{:.0}", score.candidates), "picture")
            ),
        ]);
        rows.push(vec![format!("{name}: concept at rank 5"), percent(score.rank5)]);
    }
    if let Some(c) = &scores.classifier {
        rows.push(vec!["classifier on real pictures".into(), percent(c.on_real)]);
        rows.push(vec![
            "classifier on generated pictures".into(),
            format!("{} of {}", percent(c.on_generated), c.pictures),
        ]);
    }
    let guess = |g: &eval::Guess| {
        vec![format!("{:.1}", g.t), format!("{:.3}", g.cross_entropy), percent(g.accuracy)]
    };
    let view = View::new().table(&["score", "value"], rows).text("").table(
        &["T", "nats per noised token", "accuracy"],
        scores.guesses.iter().map(guess).collect(),
    );
    let view = fid_table(clip_tables(nearest_table(view, scores), scores), scores);
    let view = match &scores.scenes {
        Some(scores) => scenes::tables(view, scores),
        None => view,
    };
    match scores.concepts_train {
        None => view,
        Some(_) => view.note(format!(
            "concept: that of the nearest real picture of the same style, both averaged to {feature_size} x {feature_size}, Euclidean distance"
        )),
    }
}

/// Adds a row for each kind of pictures that were compared with those of the training.
fn nearest_table(view: View, scores: &eval::Scores) -> View {
    let Some(eval::NearestScore { below, .. }) = scores.nearest.first() else { return view };
    let row = |s: &eval::NearestScore| {
        let kind = format!("{}: {}", s.kind, s.pictures);
        vec![kind, format!("{:.1}%", s.recited * 100.0), format!("{:.3}", s.median)]
    };
    let rows = scores.nearest.iter().map(row).collect();
    view.text("").table(&["pictures", "recited", "distance to the nearest, median"], rows).note(
        format!(
            "recited: nearer than {below:.3} to a picture of the training; 19 of 20 of these are farther than that from their \
             nearest other. Distances: root mean squares over averaged cells, 1 is black against white"
        ),
    )
}

/// Adds a row for each kind of pictures that CLIP has scored.
fn clip_tables(view: View, scores: &eval::Scores) -> View {
    let number = |x: Option<f64>, digits: usize| x.map_or("".into(), |x| format!("{x:.digits$}"));
    let row = |part: &str, s: &eval::ClipScore| {
        vec![
            format!("{part}: {}", s.pictures),
            format!("{:.1}", s.score),
            format!("{:.1}% of {}", s.rank1 * 100.0, s.captions),
            format!("{:.1}%", s.rank5 * 100.0),
            number(s.frechet, 1),
            number(s.kernel, 3),
        ]
    };
    let parts = [("training", &scores.clip_train), ("held out", &scores.clip_held_out)];
    let rows: Vec<_> =
        parts.iter().flat_map(|(part, all)| all.iter().map(|s| row(part, s))).collect();
    if rows.is_empty() {
        return view;
    }
    let headers =
        ["pictures", "CLIP score", "own caption at rank 1", "rank 5", "Fréchet", "kernel"];
    view.text("").table(&headers, rows).note(
        "CLIP score: 100 x cosine of picture and caption. Distances: to the real pictures of the part, in the features of \
         that CLIP, the model's own unless another is named; they compare models with the same CLIP only",
    )
}

/// Adds a row for each kind of pictures of which there is a FID.
fn fid_table(view: View, scores: &eval::Scores) -> View {
    let row = |part: &str, s: &eval::FidScore| {
        let fid = s.fid.map_or(String::new(), |fid| format!("{fid:.1}"));
        vec![format!("{part}: {}", s.pictures), fid, s.count.to_string(), s.real.to_string()]
    };
    let parts = [("training", &scores.fid_train), ("held out", &scores.fid_held_out)];
    let rows: Vec<_> =
        parts.iter().flat_map(|(part, all)| all.iter().map(|s| row(part, s))).collect();
    if rows.is_empty() {
        return view;
    }
    view.text("").table(&["pictures", "FID", "number", "real pictures"], rows).note(
        "FID: Fréchet distance to the real pictures of the part, in 2,048 features of InceptionV3. Below about 10,000 \
         pictures it is too high, the more the fewer there are: compare equal numbers only; `eval.captions` sets them",
    )
}

/// `paella config`: checks, prints or compares config files.
pub fn config(what: &ConfigCommand, json: bool) -> Result<()> {
    match what {
        ConfigCommand::Check { file } => {
            let all = |config: &RunConfig| [config.check(), config.look()].concat();
            let config = RunConfig::read_with(file, all)?;
            match json {
                true => println!("{}", serde_json::json!({ "ok": true, "name": config.name })),
                false => println!("{}: no faults", file.display()),
            }
            if config.name.is_empty() {
                let line = pasted(&["train", &no_option(file), "--out", "runs/NAME"]);
                eprintln!("it has no `name`: `{line}` names the folder of the run");
            }
            tell_sizes(&config);
        }
        ConfigCommand::Show { file } => {
            let config = RunConfig::read(file)?;
            match json {
                true => println!("{}", serde_json::to_string(&config).unwrap_or_default()),
                false => println!("{}", config::to_ron(&config)),
            }
        }
        ConfigCommand::Diff { file, other } => {
            let a = other
                .as_ref()
                .map_or_else(|| Ok(RunConfig::default()), |_| RunConfig::read(file))?;
            let b = RunConfig::read(other.as_ref().unwrap_or(file))?;
            let rows = config::diff(&a, &b);
            if json {
                println!("{}", serde_json::json!(rows));
            } else {
                rows.iter().for_each(|it| println!("{}: {} -> {}", it.path, it.from, it.to));
            }
        }
    }
    Ok(())
}

/// Shows a view, with its hints as the shell has them.
pub(super) fn show_view(view: View, common: &Common) -> Result<()> {
    let view = in_shell(view);
    match common.json {
        true => println!("{}", view.to_json()),
        false => Terminal::detect().show(&view),
    }
    Ok(())
}
