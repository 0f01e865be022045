//! `paella sample`: writes pictures from a text, or one for each caption of a list, or edits one.
#![allow(clippy::print_stdout)]

use super::common::{Common, lab_by_chance};
use super::progress::ProgressLine;
use super::shell::{in_shell, mistaken_option, part_weights};
use super::work::show_view;
use crate::config::full_place;
use crate::error::{Error, Result};
use crate::image::{self, film};
use crate::lab::edit::{self, Area, Edit, Side};
use crate::lab::folder::replaceable;
use crate::lab::mix::{MixPart, MixSource};
use crate::lab::parts;
use crate::lab::view::{View, ViewBlock};
use crate::lab::{Looked, Pick, SampleRequest};
use crate::model::weigh::{PARTS, PartWeights};
use crate::near::there;
use clap::Args;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct SampleArgs {
    /// What the picture shows; several words need no quotes
    #[arg(value_name = "TEXT", required_unless_present = "from")]
    text: Vec<String>,
    /// A picture for each caption of this file, one a line, into the folder `--out`; goes on where it was stopped
    #[arg(long, value_name = "FILE", requires = "out", conflicts_with_all = ["text", "count", "sheet", "gif", "to", "picture", "image", "attention"])]
    pub(super) from: Option<PathBuf>,
    /// Passes of the model
    #[arg(long, value_parser = clap::value_parser!(i64).range(1..=1000))]
    steps: Option<i64>,
    /// Guidance: one number, or first and last as 8..4
    #[arg(long, value_name = "S", value_parser = |t: &str| pair(t, 0.0))]
    cfg: Option<(f64, f64)>,
    /// Softmax divisor: one number, or first and last as 0.7..0.3
    #[arg(long, value_name = "T", value_parser = |t: &str| pair(t, 0.01))]
    temperature: Option<(f64, f64)>,
    /// Number of pictures; each has a seed of its own, one more than the last
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i64).range(1..=64))]
    count: i64,
    /// What the picture should not show
    #[arg(long, value_name = "TEXT", default_value = "")]
    negative: String,
    /// Write the picture here, several as FILE-1, FILE-2, ..; else a sheet of them into the run folder. A folder with `--from`
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// Also write all pictures on one sheet
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
    /// Write a film of the pictures as they emerge; with `--to`, of the pictures one after the other
    #[arg(long, value_name = "FILE.gif")]
    gif: Option<PathBuf>,
    /// With `--from`: beside each picture a film of how it emerged, as GIF
    #[arg(long, requires = "from")]
    pub(super) films: bool,
    /// Width and height in pixels
    #[arg(long, value_name = "WxH", value_parser = size)]
    size: Option<(i64, i64)>,
    /// Go from TEXT to this one, over `--count` pictures with one seed; or from the `--picture` to this one
    #[arg(long, value_name = "TEXT|FILE")]
    to: Option<String>,
    /// A picture whose CLIP vector stands beside TEXT, "" for none; again for a mixture, weights as FILE:0.7
    #[arg(long, value_name = "FILE[:WEIGHT]")]
    picture: Vec<String>,
    /// Weight of TEXT beside the pictures
    #[arg(long, value_name = "WEIGHT", requires = "picture", default_value_t = 1.0, value_parser = weight)]
    text_weight: f64,
    /// How much the attention to each part counts: "text=1.2 clip_text=1 clip_image=0.4", or factors of the last vectors
    #[arg(long, value_name = "WEIGHTS", value_parser = part_weights)]
    weights: Option<PartWeights>,
    /// Whether the picture that a prior guesses stands beside TEXT
    #[arg(long, value_name = "on|off", value_parser = on_or_off)]
    prior: Option<bool>,
    /// Also draw which places of the first picture look at this word of TEXT, or at a part: text, clip_text or clip_image
    #[arg(long, value_name = "WORD")]
    attention: Option<String>,
    #[command(flatten)]
    edit: EditArgs,
}

/// What to do with a picture that is there. TEXT "" stands for its caption.
#[derive(Args)]
struct EditArgs {
    /// Edit this picture instead of making one from nothing. It is read as `--size`, else as it is if its shorter side is
    /// as long as in training, else its middle square
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Sample this area of it: left, right, top, bottom, middle, X,Y,W,H, a circle X,Y,R, in pixels of the picture as it is read, or a
    /// picture, white on black
    #[arg(long, requires = "image", conflicts_with_all = ["outpaint", "strength"])]
    area: Option<Area>,
    /// Continue it beyond this side: left, right, top or bottom
    #[arg(long, value_name = "SIDE", requires = "image", conflicts_with = "strength")]
    outpaint: Option<Side>,
    /// Pixels to add at that side
    #[arg(long, value_name = "PIXELS", requires = "outpaint", default_value_t = edit::BY, value_parser = clap::value_parser!(i64).range(1..=4096))]
    by: i64,
    /// Start from it under this share of noise, 0.01 to 1 [default: 0.6]
    #[arg(long, requires = "image", value_parser = share)]
    strength: Option<f64>,
    /// What is not sampled keeps its pixels, not only its tokens
    #[arg(long, requires = "image")]
    keep_pixels: bool,
}

impl EditArgs {
    /// None without a picture.
    fn edit(&self) -> Option<Edit> {
        self.image.as_ref()?;
        let area = self.area.clone().map(Edit::Inpaint);
        let side = self.outpaint.map(|side| Edit::Outpaint(side, self.by));
        Some(area.or(side).unwrap_or(Edit::Renoise(self.strength.unwrap_or(edit::STRENGTH))))
    }
}

fn share(text: &str) -> std::result::Result<f64, String> {
    let number = text.parse().ok().filter(|share| (0.01..=1.0).contains(share));
    number.ok_or_else(|| "a number from 0.01 to 1".into())
}

fn on_or_off(text: &str) -> std::result::Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("on or off".into()),
    }
}

fn weight(text: &str) -> std::result::Result<f64, String> {
    let number = text.parse().ok().filter(|&weight| parts::is_weight(weight));
    number.ok_or_else(|| "a number above 0".into())
}

/// The pictures of `--picture`, and TEXT unless it is empty.
fn mix(args: &SampleArgs) -> Result<Vec<MixPart>> {
    if args.picture.is_empty() {
        return Ok(Vec::new());
    }
    let mut parts = parts::parts(&args.picture)?;
    for part in &parts {
        let (what, hint) = match &part.source {
            MixSource::File(_) => continue,
            MixSource::Text(name) => (format!("there is no file `{name}`"), "--picture FILE"),
            MixSource::Current if args.edit.image.is_some() => continue,
            MixSource::Current => ("there is no picture yet".into(), "--picture FILE"),
        };
        return Err(Error::command(what, "--picture", hint));
    }
    if args.text().is_empty() && args.text_weight != 1.0 {
        let hint = "a TEXT that is not empty, or no `--text-weight`";
        return Err(Error::command("the weight of no text does nothing", "--text-weight", hint));
    }
    if !args.text().is_empty() {
        let source = MixSource::Text(args.text());
        parts.push(MixPart { source, weight: args.text_weight });
    }
    Ok(parts)
}

/// The pictures at the ends of a way from one to another. None: no such way is asked for.
fn way(args: &SampleArgs) -> Result<Option<[MixSource; 2]>> {
    let (Some(to), [from, more @ ..]) = (&args.to, args.picture.as_slice()) else {
        return Ok(None);
    };
    if !more.is_empty() || !args.text().is_empty() {
        let hint = "`paella sample \"\" --picture a.png --to b.png --count 8`";
        return Err(Error::command(
            "a way to a picture begins with one picture alone",
            "--to",
            hint,
        ));
    }
    there(Path::new(from), "--picture FILE")?;
    there(Path::new(to), "--to FILE")?;
    Ok(Some([from, to].map(|file| MixSource::File(file.into()))))
}

pub(super) fn size(text: &str) -> std::result::Result<(i64, i64), String> {
    edit::size(text).ok_or_else(|| "width x height, such as 96x64".into())
}

fn pair(text: &str, least: f64) -> std::result::Result<(f64, f64), String> {
    let (a, b) = text.split_once("..").unwrap_or((text, text));
    let number = |t: &str| t.parse::<f64>().ok().filter(|y| (least..=100.0).contains(y));
    number(a)
        .zip(number(b))
        .ok_or_else(|| format!("numbers from {least} to 100, one or two: 8 or 8..4"))
}

impl SampleArgs {
    fn text(&self) -> String {
        self.text.join(" ")
    }

    /// What the session is asked for. A seed that is not given is left out.
    pub(super) fn request(&self, common: &Common) -> Result<SampleRequest> {
        let (mix, to_picture, to) = match way(self)? {
            None => (mix(self)?, None, self.to.clone()),
            Some([from, to]) => (vec![MixPart { source: from, weight: 1.0 }], Some(to), None),
        };
        Ok(SampleRequest {
            text: self.text(),
            negative: self.negative.clone(),
            steps: self.steps,
            cfg_scale: self.cfg,
            temperature: self.temperature,
            greedy: None,
            seed: common.seed,
            count: self.count,
            edit: self.edit.edit(),
            keep_pixels: self.edit.keep_pixels,
            size: self.size.filter(|_| self.edit.image.is_none()), // else that of the picture which is edited
            to,
            mix,
            to_picture,
            each: Vec::new(),
            weights: self.weights.clone(),
            prior: self.prior,
        })
    }
}

/// `paella sample`: writes pictures from a text.
pub fn sample(args: &SampleArgs, common: &Common) -> Result<()> {
    let outs = args.out.as_ref().map(|out| numbered(out, args.count)).unwrap_or_default();
    for file in outs.iter().chain(&args.sheet) {
        image::format_of(file)?;
    }
    args.gif.iter().try_for_each(|file| film::is_gif(file))?;
    let map = args.attention.as_ref().and(args.out.as_ref()).map(|out| beside(out, "attention"));
    let all = || outs.iter().chain(&args.sheet).chain(&args.gif).chain(&map);
    each_once(all())?;
    let older = all().filter_map(|file| match replaceable(file) {
        Ok(there) => there.then(|| Ok(file.display().to_string())),
        Err(error) => Some(Err(error)),
    });
    let older = older.collect::<Result<Vec<String>>>()?;
    if let Some(picture) = &args.edit.image {
        there(picture, "--image FILE")?;
    }
    if args.to.is_some() && args.count < 2 {
        let hint = "--count 8: from the first text to the second in eight pictures";
        return Err(Error::command("one picture is not on the way to another", "--to", hint));
    }
    if args.edit.keep_pixels && matches!(args.edit.edit(), Some(Edit::Renoise(_))) {
        let hint = "with `--area` or `--outpaint`: from a picture under noise all of it is sampled";
        return Err(Error::command("`--keep-pixels` would do nothing", "paella sample", hint));
    }
    let looked = args.attention.as_ref().map(|word| looked_at(word, &args.text()));
    let text = args.text().to_lowercase();
    if let Some(Looked::Word(word)) = &looked
        && !text.contains(&word.to_lowercase())
        && args.edit.image.is_none()
    {
        let hint = format!("--attention with a word of the text, or one of {}", PARTS.join(", "));
        return Err(Error::command(format!("the text has no `{word}`"), "--attention", hint));
    }
    let mut lab = lab_by_chance(common)?;
    if args.attention.is_none() {
        lab.sample_once();
    }
    let request = args.request(common)?;
    let read = match &args.edit.image {
        Some(picture) => lab.show(&Pick::File(picture.clone(), args.size))?,
        None => View::new(),
    };
    let mut progress = ProgressLine::new(common.json);
    let run = lab.walk(&request, &mut progress)?;
    drop(progress);
    let images = lab.images(&run)?;
    let mut view = lab.finish(&run, &images)?;
    for (picture, file) in image::all_from_tensor(&images).iter().zip(&outs) {
        image::save(picture, file)?;
    }
    match (&args.sheet, outs.as_slice()) {
        (Some(sheet), _) => save_as(&mut view, sheet)?,
        (None, []) => lab.keep(&mut view, "sample")?,
        (None, [one]) => save_as(&mut view, one)?,
        (None, _) => {}
    }
    if outs.len() > 1 || args.sheet.is_some() {
        for (seed, file) in run.seeds().iter().zip(&outs) {
            view = view.note(format!("seed {seed}: {}", file.display()));
        }
    }
    // what fails from here on is told behind the pictures
    let mut failed = None;
    if let Some(file) = &args.gif {
        match film::write(lab.frames(&run)?.into_iter().map(Ok), file) {
            Ok(()) => view = view.note(format!("film: {}", file.display())),
            Err(error) => failed = Some(error),
        }
    }
    view = view.notes(read.blocks.into_iter().filter_map(ViewBlock::into_note));
    view = view.notes(mistaken_option(&args.text()));
    if !older.is_empty() {
        view = view.note(format!("in place of older files: {}", older.join(", ")));
    }
    let shown = view.blocks.iter().rev().find_map(|block| match block {
        ViewBlock::Picture { file, .. } => file.clone(), // several pictures: their sheet
        _ => None,
    });
    match looked.map(|looked| lab.attention(Some(&looked), false)) {
        Some(Ok(mut looked)) => {
            match &map {
                Some(file) => save_as(&mut looked, file)?,
                None => lab.keep(&mut looked, "attention")?,
            }
            view = view.then(looked);
        }
        Some(Err(error)) => {
            // both are told
            view = view.notes(failed.replace(error).map(|earlier| earlier.to_string()));
        }
        None => {}
    }
    if !common.json {
        show_view(view, common)?;
        return failed.map_or(Ok(()), Err);
    }
    let row = |(k, seed): (usize, &u64)| {
        let file = outs.get(k).or(shown.as_ref());
        serde_json::json!({ "seed": seed, "steps": run.path.len() - 1, "caption": run.caption(), "file": file })
    };
    let mut all = in_shell(view).to_json();
    all["pictures"] = run.seeds().iter().enumerate().map(row).collect();
    println!("{all}");
    failed.map_or(Ok(()), Err)
}

/// A word of the text; else a part, if it is the name of one.
fn looked_at(word: &str, text: &str) -> Looked {
    let said = text.to_lowercase().contains(&word.to_lowercase());
    match PARTS.contains(&word) && !said {
        true => Looked::Part(word.into()),
        false => Looked::Word(word.into()),
    }
}

/// `x-NAME.png` for `x.png`.
fn beside(file: &Path, name: &str) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let ending = file.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
    file.with_file_name(format!("{stem}-{name}{ending}"))
}

/// `x.png` for one picture, `x-1.png`, `x-2.png`, .. for several.
fn numbered(out: &Path, count: i64) -> Vec<PathBuf> {
    match count {
        1 => vec![out.to_path_buf()],
        _ => (1..=count).map(|k| beside(out, &k.to_string())).collect(),
    }
}

/// Errors: two of the files are the same.
pub(super) fn each_once<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for file in files {
        if !seen.insert(full_place(&file.display().to_string())) {
            let what = "two of these would be written into one file";
            return Err(Error::command(what, file.display().to_string(), "give each another name"));
        }
    }
    Ok(())
}

pub(super) fn save_as(view: &mut View, out: &Path) -> Result<()> {
    // the last one: before it an edit shows what it samples
    for block in view.blocks.iter_mut().rev() {
        if let ViewBlock::Picture { image, file, .. } = block {
            image::save(image, out)?;
            *file = Some(out.into());
            return Ok(());
        }
    }
    Ok(())
}
