//! The measures a check can use. Each row reads one number or yes/no from the session.

use super::guesses::{doubt, guessed, held_back_loss, shows};
use crate::config;
use crate::error::{Error, Result};
use crate::lab::canvas::EditCanvas;
use crate::lab::view::plain;
use crate::lab::workspace::{Sampling, ints};
use crate::lab::{Lab, psnr};
use std::collections::BTreeMap;
use std::rc::Rc;
use tch::Kind;

/// One value that can be read from a session.
#[derive(Debug)]
pub struct Measure {
    pub name: &'static str,
    /// What follows the name, such as `PATH`. Empty if it takes no argument.
    pub argument: &'static str,
    /// Description of the number, for messages. `{}` stands for the argument.
    pub says: &'static str,
    pub unit: Unit,
    pub take: fn(&mut Lab, &str) -> Result<f64>,
}

impl PartialEq for Measure {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// How a number is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// 1 is yes, 0 is no.
    Yes,
    /// 0..=1, printed in percent.
    Share,
    Count,
    /// Printed with this unit after it; may be empty.
    Number(&'static str),
}

impl Unit {
    /// Formats a number with its unit.
    pub fn show(self, y: f64) -> String {
        match self {
            Self::Share => format!("{:.1} %", y * 100.0),
            Self::Yes | Self::Count => format!("{y:.0}"),
            Self::Number(name) => format!("{} {name}", plain(y)).trim_end().into(),
        }
    }
}

type Take = fn(&mut Lab, &str) -> Result<f64>;

const fn row(
    name: &'static str,
    argument: &'static str,
    unit: Unit,
    says: &'static str,
    take: Take,
) -> Measure {
    Measure { name, argument, says, unit, take }
}

use Unit::{Count, Number, Share, Yes};

/// All measures, in the order of the lessons.
pub const MEASURES: &[Measure] = &[
    row("caption", "TEXT", Yes, "the picture in hand is of `{}`", |lab, text| {
        Ok(yes(lab.workspace().picture()?.caption.to_lowercase().contains(text)))
    }),
    row("codes", "", Count, "different codes in the picture", |lab, _| {
        Ok(counts(lab)?.len() as f64)
    }),
    row("top_code", "", Share, "places that hold the most frequent code", |lab, _| {
        let counts = counts(lab)?;
        Ok(counts.values().max().map_or(0.0, |&n| n as f64) / counts.values().sum::<i64>() as f64)
    }),
    row("psnr", "", Number("dB"), "likeness of the decoded tokens to the picture", likeness),
    row("noise_ratio", "", Number(""), "the noise ratio T", |lab, _| {
        Ok(f64::from(lab.workspace().noised()?.ratio()))
    }),
    row("noised_share", "", Share, "tokens that are noise", |lab, _| {
        Ok(lab.workspace().noised()?.mask.to_kind(Kind::Float).mean(Kind::Float).double_value(&[]))
    }),
    row("noised_count", "", Count, "tokens that are noise", |lab, _| {
        Ok(lab.workspace().noised()?.mask.sum(Kind::Int64).double_value(&[]))
    }),
    row("lucky", "", Count, "noised places that drew their own code again", |lab, _| {
        let (noised, tokens) = (lab.workspace().noised()?, lab.workspace().tokens()?);
        let same = noised.tokens.eq_tensor(&tokens).logical_and(&noised.mask);
        Ok(same.sum(Kind::Int64).double_value(&[]))
    }),
    row("guessed", "", Share, "noised tokens that the model guesses right", |lab, _| {
        guessed(lab, None)
    }),
    row(
        "text_gain",
        "",
        Share,
        "noised tokens guessed right with the caption, less those without",
        |lab, _| Ok(guessed(lab, None)? - guessed(lab, Some(""))?),
    ),
    row("doubt", "", Number("bits"), "mean uncertainty of the model", |lab, _| doubt(lab)),
    row("model", "NAME", Yes, "the model in hand is `{}`", |lab, name| {
        Ok(yes(lab.status().0 == name))
    }),
    row("steps", "", Count, "training steps of this model", |lab, _| Ok(lab.status().1 as f64)),
    row("phase", "NAME", Yes, "the last step trained the {}", |lab, name| {
        Ok(yes(lab.log().last().is_some_and(|record| record.phase == name)))
    }),
    row("loss", "", Number("nats"), "loss, mean of the last 20 steps", recent_loss),
    row(
        "held_back_loss",
        "",
        Number("nats"),
        "loss on pictures held back, half of their tokens noised",
        |lab, _| held_back_loss(lab),
    ),
    row("setting", "PATH", Number(""), "the setting `{}`", setting),
    row(
        "shows",
        "NAME",
        Yes,
        "of all real pictures, one of `{}` is nearest to the one in hand",
        |lab, name| Ok(yes(shows(lab)? == name)),
    ),
    row(
        "misread",
        "",
        Yes,
        "the picture was generated, and a rule reads something else than its caption",
        |lab, _| Ok(yes(lab.is_misread()?)),
    ),
    row("run_text", "TEXT", Yes, "the sampling run is of `{}`", |lab, text| {
        Ok(yes(lab.workspace().sampling()?.text.contains(text)))
    }),
    row("run_negative", "TEXT", Yes, "the sampling run leads away from `{}`", |lab, text| {
        Ok(yes(lab.workspace().sampling()?.negative.contains(text)))
    }),
    row("run_unnamed", "", Yes, "the sampling run has the empty text", |lab, _| {
        Ok(yes(lab.workspace().sampling()?.text.is_empty()))
    }),
    row("run_steps", "", Count, "steps of the sampling run", |lab, _| {
        Ok(lab.workspace().sampling()?.schedule.len() as f64)
    }),
    row("run_left", "", Count, "steps of the sampling run still to take", |lab, _| {
        let run = lab.workspace().sampling()?;
        Ok((run.schedule.len() + 1 - run.path.len()) as f64)
    }),
    row("run_temperature", "", Number(""), "highest temperature of the sampling run", |lab, _| {
        Ok(lab
            .workspace()
            .sampling()?
            .schedule
            .iter()
            .map(|step| step.temperature)
            .fold(0.0, f64::max))
    }),
    row("run_guidance", "", Number(""), "highest guidance of the sampling run", |lab, _| {
        Ok(lab
            .workspace()
            .sampling()?
            .schedule
            .iter()
            .map(|step| step.cfg_scale)
            .fold(0.0, f64::max))
    }),
    row("run_last_guidance", "", Number(""), "guidance of the last step of the run", |lab, _| {
        Ok(lab.workspace().sampling()?.schedule.last().map_or(0.0, |step| step.cfg_scale))
    }),
    row("run_renoised", "", Share, "most noise put back after a step of the run", |lab, _| {
        Ok(lab.workspace().sampling()?.schedule.iter().map(|step| step.t_next).fold(0.0, f64::max))
    }),
    row("settled", "", Share, "tokens that half of the run left as they are at its end", settled),
    row("sampled", "", Share, "tokens that the run samples", |lab, _| {
        let run = lab.workspace().sampling()?;
        let mask = &edited(&run)?.mask;
        Ok(mask.to_kind(Kind::Float).mean(Kind::Float).double_value(&[]))
    }),
    row("run_noise", "", Share, "noise that the run begins with", |lab, _| {
        Ok(lab.workspace().sampling()?.schedule.first().map_or(0.0, |step| step.t))
    }),
    row("wide", "", Count, "pixels from the left to the right of the picture", |lab, _| {
        Ok(lab.workspace().picture()?.images.size()[3] as f64)
    }),
    row("text_bytes", "", Count, "numbers that the text encoder sees", |lab, _| {
        let caption = lab.workspace().picture()?.caption.clone();
        Ok(lab.networks(|nets| nets.config.text.ids(&caption).len())? as f64)
    }),
    row("parameters", "", Number("million"), "parameters of the model in hand", |lab, _| {
        Ok(lab.networks(|nets| nets.parameters().iter().map(|(_, n)| n).sum::<i64>())? as f64 / 1e6)
    }),
    row("fits", "", Yes, "the settings fit together", |lab, _| {
        Ok(yes(lab.settings().check().is_empty()))
    }),
    row("rows", "RANKS", Count, "pictures of an update on each of {} devices", |lab, ranks| {
        Ok(split(lab, ranks)?.rows as f64)
    }),
    row("passes", "RANKS", Count, "passes of an update on each of {} devices", |lab, ranks| {
        Ok(split(lab, ranks)?.passes as f64)
    }),
];

fn yes(answer: bool) -> f64 {
    if answer { 1.0 } else { 0.0 }
}

/// The error for a value that the session does not have.
fn missing(what: &str, hint: &str) -> Error {
    Error::command(what, "", hint)
}

/// Occurrences of each code in the current picture.
fn counts(lab: &Lab) -> Result<BTreeMap<i64, i64>> {
    let mut counts = BTreeMap::new();
    ints(lab.workspace().tokens()?.as_ref())
        .into_iter()
        .for_each(|code| *counts.entry(code).or_default() += 1);
    Ok(counts)
}

fn likeness(lab: &mut Lab, _: &str) -> Result<f64> {
    let (tokens, picture) = (lab.workspace().tokens()?, lab.workspace().picture()?);
    let decoded = lab.networks(|nets| nets.decode(&tokens).to_device(tch::Device::Cpu))?;
    Ok(psnr(&decoded, &picture.images))
}

fn recent_loss(lab: &mut Lab, _: &str) -> Result<f64> {
    let last =
        lab.log().last().ok_or_else(|| missing("nothing was trained yet", "`train 20` does"))?;
    let same: Vec<f64> =
        lab.log().iter().rev().take(20).filter(|r| r.phase == last.phase).map(|r| r.loss).collect();
    Ok(same.iter().sum::<f64>() / same.len() as f64)
}

/// The value of a setting as a number, with true as 1 and false as 0.
fn setting(lab: &mut Lab, path: &str) -> Result<f64> {
    let text = config::get(lab.settings(), path)?;
    match text.trim() {
        "true" => Ok(1.0),
        "false" => Ok(0.0),
        text => {
            let number = text.trim_start_matches("Some(").trim_end_matches(')').parse();
            number.map_err(|_| missing(&format!("`{path}` is `{text}`"), "a number is asked for"))
        }
    }
}

/// Fraction of the tokens that are the same after half of the steps as after the last.
fn settled(lab: &mut Lab, _: &str) -> Result<f64> {
    let run: Rc<Sampling> = lab.workspace().sampling()?;
    if run.path.len() <= run.schedule.len() {
        return Err(missing("the run is not at its end", "`n 100` goes there"));
    }
    let (half, end) = (&run.path[run.schedule.len() / 2], &run.path[run.schedule.len()]);
    Ok(half.eq_tensor(end).to_kind(Kind::Float).mean(Kind::Float).double_value(&[]))
}

/// The picture that a run edits.
fn edited(run: &Sampling) -> Result<&EditCanvas> {
    let hint = "`start \"green apple\" area=left` begins one that does";
    run.canvas.as_deref().ok_or_else(|| missing("the run edits no picture", hint))
}

fn split(lab: &Lab, ranks: &str) -> Result<crate::recipe::Split> {
    let ranks =
        ranks.parse().map_err(|_| missing(&format!("`{ranks}` is no count of devices"), ""))?;
    lab.settings().train.split(ranks).map_err(|fault| Error::Config(vec![fault]))
}
