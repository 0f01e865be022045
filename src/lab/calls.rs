//! The functions that the rows of the command table run. Each reads its arguments and calls the Lab. The
//! number of words and the keys are checked before, from the row.

use super::args::{Args, quoted};
use super::attention::Looked;
use super::edit::{self, Area, Edit, Side};
use super::file::names_a_file;
use super::grid::{GRID_AXES, GridAxis};
use super::list::CaptionList;
use super::mix::{MixPart, MixSource};
use super::parts;
use super::picture::source_of;
use super::plots::PLOTS;
use super::view::View;
use super::watch::Watch;
use super::{Lab, Pick, SampleRequest};
use crate::data::home;
use crate::error::Result;
use crate::image::{self, film};
use crate::near::{did_you_mean, no_file};
use std::path::Path;

type Watching<'a> = &'a mut dyn Watch;

pub fn data(lab: &mut Lab, args: &Args, _: Watching) -> Result<View> {
    let source = args.words.first().map(|w| source_of(w)).transpose()?;
    let names = |key: &str| {
        args.get(key).map(|v| v.split(',').filter(|n| !n.is_empty()).map(String::from).collect())
    };
    let (groups, styles) = (names("group"), names("style"));
    let size = args.key("size", 8i64..=1024)?;
    let limit = args.key("limit", 1u64..=1_000_000_000)?;
    let another = source.is_some();
    lab.choose_data(source, |config| {
        config.groups =
            groups.unwrap_or(if another { Vec::new() } else { std::mem::take(&mut config.groups) });
        config.styles =
            styles.unwrap_or(if another { Vec::new() } else { std::mem::take(&mut config.styles) });
        config.size = size.unwrap_or(config.size);
        config.limit = limit.map(|n| n as usize).or(config.limit);
    })
}

pub fn show(lab: &mut Lab, args: &Args, _: Watching) -> Result<View> {
    let size = args.get("size").map(|size| size_of(args, size)).transpose()?;
    let text = args.joined();
    let path = home(Path::new(&text));
    if path.is_file() {
        return lab.show(&Pick::File(path, size));
    }
    if size.is_some() {
        let line = "show \"FILE\" size=96x64";
        return Err(match names_a_file(&path) {
            true => no_file(&path, line),
            false => args.fault("`size` is for a picture in a file", line),
        });
    }
    if args.words.is_empty() {
        return lab.show_again();
    }
    if let Ok(index) = text.parse::<i64>() {
        return lab.show(&Pick::Index(index));
    }
    // a folder may have the name of a caption
    let missing = |error| if names_a_file(&path) { no_file(&path, "show \"FILE\"") } else { error };
    lab.show(&Pick::Caption(text)).map_err(missing)
}

pub fn caption(lab: &mut Lab, args: &Args, _: Watching) -> Result<View> {
    match args.words.as_slice() {
        [] => lab.caption(),
        [word] if word.parse::<i64>().is_ok() => {
            let index = args.first_number("N", 0..=i64::MAX)?;
            lab.caption_of(index)
        }
        _ => lab.find_captions(&args.joined()),
    }
}

pub fn encode(lab: &mut Lab, _: &Args, _: Watching) -> Result<View> {
    lab.encode()
}

pub fn decode(lab: &mut Lab, _: &Args, _: Watching) -> Result<View> {
    lab.decode()
}

pub fn codebook(lab: &mut Lab, _: &Args, _: Watching) -> Result<View> {
    lab.codebook()
}

pub fn noise(lab: &mut Lab, args: &Args, _: Watching) -> Result<View> {
    lab.noise(args.first_number("T", 0.0..=1.0)?)
}

pub fn predict(lab: &mut Lab, args: &Args, _: Watching) -> Result<View> {
    let text = args.joined();
    lab.predict(Some(text.as_str()).filter(|_| !args.words.is_empty()))
}

pub fn loss(lab: &mut Lab, args: &Args, _: Watching) -> Result<View> {
    lab.loss(args.word(0, "N", 1i64..=256)?)
}

/// Reads the words as text, and the keys of a sampling. `otherwise` is the edit without a key for one.
fn request(args: &Args, otherwise: Option<Edit>) -> Result<SampleRequest> {
    Ok(SampleRequest {
        text: args.joined(),
        negative: args.get("negative").unwrap_or_default().into(),
        steps: args.key("steps", 1i64..=1000)?,
        cfg_scale: args.key_pair("cfg", 0.0..=100.0)?,
        temperature: args.key_pair("temperature", 0.01..=100.0)?,
        greedy: yes_or_no(args, "greedy")?,
        seed: args.key("seed", 0..=u64::MAX)?,
        count: args.key("count", 1i64..=64)?.unwrap_or(1),
        size: args.get("size").map(|size| size_of(args, size)).transpose()?,
        keep_pixels: keeps_pixels(args)?,
        edit: edit(args, otherwise)?,
        to: None,
        mix: match args.get("picture") {
            Some(pictures) => mixed(args, pictures)?,
            None => Vec::new(),
        },
        to_picture: None,
        each: Vec::new(),
        weights: args.get("weights").map(str::parse).transpose()?,
        prior: yes_or_no(args, "prior")?,
    })
}

fn yes_or_no(args: &Args, key: &str) -> Result<Option<bool>> {
    match args.get(key) {
        None => Ok(None),
        Some("true" | "yes" | "on" | "1") => Ok(Some(true)),
        Some("false" | "no" | "off" | "0") => Ok(Some(false)),
        Some(other) => {
            Err(args.fault(format!("`{other}` is neither true nor false"), format!("{key}=true")))
        }
    }
}

/// The pictures that the key `picture` names, and the words as a text.
fn mixed(args: &Args, pictures: &str) -> Result<Vec<MixPart>> {
    let names: Vec<String> = pictures.split(',').map(|name| name.trim().to_string()).collect();
    let mut parts = parts::parts(&names)?;
    if let Some(MixSource::Text(name)) =
        parts.iter().map(|part| &part.source).find(|part| matches!(part, MixSource::Text(_)))
    {
        let hint =
            "picture=a.png, picture=a.png:0.7,b.png:0.3, or picture=this for the current one";
        return Err(args.fault(format!("`{name}` is no picture"), hint));
    }
    if !args.words.is_empty() {
        parts.push(MixPart { source: MixSource::Text(args.joined()), weight: 1.0 });
    }
    Ok(parts)
}

/// `96x64`: width and height.
fn size_of(args: &Args, size: &str) -> Result<(i64, i64)> {
    let sides = edit::size(size);
    sides.ok_or_else(|| args.fault(format!("`{size}` is no size"), "width x height: size=96x64"))
}

fn keeps_pixels(args: &Args) -> Result<bool> {
    match args.get("keep") {
        None | Some("tokens") => Ok(false),
        Some("pixels") => Ok(true),
        Some(other) => {
            Err(args.fault(format!("cannot keep `{other}`"), "keep=pixels or keep=tokens"))
        }
    }
}

fn by(args: &Args) -> Result<i64> {
    Ok(args.key("by", 1i64..=4096)?.unwrap_or(edit::BY))
}

/// The edit that the keys `area`, `side` with `by`, or `strength` ask for, else `otherwise`.
fn edit(args: &Args, otherwise: Option<Edit>) -> Result<Option<Edit>> {
    let area = args.get("area").map(|area| Ok(Edit::Inpaint(area.parse()?)));
    let side = args.get("side").map(|side| Ok(Edit::Outpaint(side.parse()?, by(args)?)));
    let strength = args.key("strength", 0.01..=1.0)?.map(|share| Ok(Edit::Renoise(share)));
    let mut all: Vec<Result<Edit>> = area.into_iter().chain(side).chain(strength).collect();
    if all.len() > 1 {
        return Err(args.fault("one edit at a time", "one of area=, side= and strength="));
    }
    let edit = all.pop().transpose()?.or(otherwise);
    if args.get("by").is_some() && !matches!(edit, Some(Edit::Outpaint(..))) {
        return Err(args.fault("`by` without a side", "side=right by=16"));
    }
    if args.get("keep").is_some() && matches!(edit, None | Some(Edit::Renoise(_))) {
        return Err(args.fault("`keep` without an area or a side", "area=left keep=pixels"));
    }
    Ok(edit)
}

pub fn inpaint(lab: &mut Lab, args: &Args, watch: Watching) -> Result<View> {
    let (args, remark) = read_as(args, "area", |text| match text.parse() {
        Ok(Area::Mask(file)) => file.is_file(), // a text may have a dot too
        area => area.is_ok(),
    });
    let view = lab.sample(&request(&args, Some(Edit::Inpaint(Area::Middle)))?, watch)?;
    Ok(view.notes(remark))
}

pub fn outpaint(lab: &mut Lab, args: &Args, watch: Watching) -> Result<View> {
    let (args, side) = read_as(args, "side", |text| text.parse::<Side>().is_ok());
    let (args, pixels) = read_as(&args, "by", |text| text.parse::<i64>().is_ok());
    let edit = Edit::Outpaint(Side::Right, by(&args)?);
    let view = lab.sample(&request(&args, Some(edit))?, watch)?;
    Ok(view.notes(side.or(pixels)))
}

pub fn edit_picture(lab: &mut Lab, args: &Args, watch: Watching) -> Result<View> {
    let (args, remark) = read_as(args, "strength", |text| {
        text.starts_with(|c: char| c.is_ascii_digit() || c == '.') && text.parse::<f64>().is_ok()
    });
    let view = lab.sample(&request(&args, Some(Edit::Renoise(edit::STRENGTH)))?, watch)?;
    Ok(view.notes(remark))
}

/// Reads words that are the value of a key as that: `inpaint left` is `inpaint area=left`. The remark says so.
fn read_as(args: &Args, key: &str, is_value: impl Fn(&str) -> bool) -> (Args, Option<String>) {
    let (mut args, words) = (args.clone(), args.joined());
    if args.get(key).is_some() || !is_value(&words) {
        return (args, None);
    }
    let pair = format!("{key}={}", quoted(&words, None));
    let remark = format!("`{words}` is read as `{pair}`; beside a `{key}=` it would be a text");
    args.words.clear();
    args.pairs.push((key.into(), words));
    (args, Some(remark))
}

pub fn vary(lab: &mut Lab, args: &Args, watch: Watching) -> Result<View> {
    let mix = parts::parts(&args.words)?;
    lab.sample(&SampleRequest { mix, ..request(args, None)? }, watch)
}

pub fn morph(lab: &mut Lab, args: &Args, watch: Watching) -> Result<View> {
    let Some(to) = args.get("to") else {
        return Err(args.misused("the second text is missing: to=TEXT"));
    };
    lab.sample(&way(args, to)?, watch)
}

/// Pictures from what the words say to `to`.
fn way(args: &Args, to: &str) -> Result<SampleRequest> {
    let count = args.key("frames", 2i64..=64)?.unwrap_or(8);
    let request = SampleRequest { count, ..request(args, None)? };
    if request.edit.is_some() || !request.mix.is_empty() {
        return Err(args.fault("a way from one to another edits no picture", "`to` alone"));
    }
    Ok(match parts::ends(&args.joined(), to)? {
        None => SampleRequest { to: Some(to.into()), ..request },
        Some([from, to]) => {
            let mix = vec![MixPart { source: from, weight: 1.0 }];
            SampleRequest { text: String::new(), mix, to_picture: Some(to), ..request }
        }
    })
}

pub fn grid(lab: &mut Lab, args: &Args, watch: Watching) -> Result<View> {
    // in the order of the line: the first goes across
    let axes = args.pairs.iter().filter(|(key, _)| GRID_AXES.contains(&key.as_str()));
    let axes = axes.map(|(key, values)| GridAxis::parse(key, values));
    let axes = axes.collect::<Result<Vec<_>>>()?;
    let mut rest = args.clone();
    rest.pairs.retain(|(key, _)| !GRID_AXES.contains(&key.as_str()));
    let gif = args.get("gif").map(|file| home(Path::new(file)));
    gif.iter().try_for_each(|file| film::is_gif(file))?;
    if let Some(file) = gif.as_ref().filter(|file| file.is_file())
        && !may_replace(Some(file.display().to_string()), watch)
    {
        return Ok(View::new().text(format!("not drawn: {} is as it was", file.display())));
    }
    lab.grid(axes, &request(&rest, None)?, gif.as_deref(), watch)
}

pub fn attention(lab: &mut Lab, args: &Args, _: Watching) -> Result<View> {
    let looked = match (args.words.as_slice(), args.get("part")) {
        ([], part) => part.map(|part| Looked::Part(part.into())),
        (_, None) => Some(Looked::Word(args.joined())),
        (_, Some(_)) => return Err(args.fault("a word and a part", "one of them at a time")),
    };
    let levels = yes_or_no(args, "levels")?.unwrap_or(false);
    if levels && looked.is_none() {
        return Err(args.misused("`levels` without a word or a part"));
    }
    lab.attention(looked.as_ref(), levels)
}

pub fn nearest(lab: &mut Lab, args: &Args, _: Watching) -> Result<View> {
    lab.nearest(args.word(0, "N", 1u64..=12)?.unwrap_or(3) as usize)
}

pub fn read(lab: &mut Lab, args: &Args, watch: Watching) -> Result<View> {
    match args.word(0, "N", 1u64..=200)? {
        Some(count) => {
            let sampler = request(&Args { words: Vec::new(), ..args.clone() }, None)?;
            lab.read_many(count as usize, &sampler, watch)
        }
        None if args.pairs.is_empty() => lab.read(),
        None => Err(args.misused("settings of the sampler without a number of captions")),
    }
}

pub fn sample(lab: &mut Lab, args: &Args, watch: Watching) -> Result<View> {
    lab.sample(&request(args, None)?, watch)
}

/// Pictures for a file of captions.
pub fn list(lab: &mut Lab, args: &Args, watch: Watching) -> Result<View> {
    let Some(folder) = args.get("out").filter(|folder| !folder.is_empty()) else {
        return Err(args.misused("the folder for the pictures is missing: out=DIR"));
    };
    let captions = CaptionList::read(&args.path())?;
    let request = request(&Args { words: Vec::new(), ..args.clone() }, None)?;
    let films = yes_or_no(args, "films")?.unwrap_or(false);
    lab.sample_list(&captions, &home(Path::new(folder)), &request, films, watch, &mut |_| ())
}

pub fn start(lab: &mut Lab, args: &Args, _: Watching) -> Result<View> {
    let request = match args.get("to") {
        Some(to) => way(args, to)?,
        None if args.get("frames").is_some() => {
            return Err(args.misused("`frames` without `to`"));
        }
        None => request(args, None)?,
    };
    // an edited picture has its caption as the text, a varied one needs none: no row can ask for it
    if args.words.is_empty() && request.edit.is_none() && request.mix.is_empty() {
        let hint = format!("usage: {}; the empty text is \"\"", args.usage);
        return Err(args.fault("the text is missing", hint));
    }
    lab.start(&request)
}

pub fn next(lab: &mut Lab, args: &Args, watch: Watching) -> Result<View> {
    let count = args.word(0, "N", 1u64..=1000)?.unwrap_or(1);
    lab.next(count as usize, watch)
}

pub fn back(lab: &mut Lab, args: &Args, _: Watching) -> Result<View> {
    let count = args.word(0, "N", 1u64..=1000)?.unwrap_or(1);
    lab.back(count as usize)
}

pub fn step(lab: &mut Lab, args: &Args, watch: Watching) -> Result<View> {
    let count = args.word(0, "N", 1u64..=100)?.unwrap_or(1);
    lab.step(count, watch)
}

pub fn train(lab: &mut Lab, args: &Args, watch: Watching) -> Result<View> {
    lab.train(args.first_number("N", 1u64..=1_000_000_000)?, watch)
}

pub fn plot(lab: &mut Lab, args: &Args, _: Watching) -> Result<View> {
    match args.first() {
        "loss" => lab.plot_loss(),
        "noise" => lab.plot_noise(lab.workspace().picture.is_none().then_some(16)),
        "tokens" => lab.plot_tokens(),
        "schedule" => lab.plot_schedule(),
        other => {
            let known = format!("known: {}", PLOTS.join(", "));
            let hint = did_you_mean(other, PLOTS.iter().copied(), known);
            Err(args.fault(format!("unknown plot `{other}`"), hint))
        }
    }
}

pub fn set(lab: &mut Lab, args: &Args, _: Watching) -> Result<View> {
    // Takes the value from the line itself, because RON has its own quotes, blanks and `=`.
    let (path, value) = args.rest().split_once(char::is_whitespace).unwrap_or_default();
    lab.set(path, value.trim_start())
}

pub fn config(lab: &mut Lab, args: &Args, _: Watching) -> Result<View> {
    match args.words.first().map(String::as_str) {
        Some("diff") => Ok(lab.config_diff()),
        path => lab.config(path),
    }
}

pub fn seed(lab: &mut Lab, args: &Args, _: Watching) -> Result<View> {
    let seed = args.first_number("N", 0..=u64::MAX)?;
    lab.seed(seed);
    Ok(View::new().text(format!("seed {seed}")))
}

pub fn quick(lab: &mut Lab, args: &Args, _: Watching) -> Result<View> {
    match args.words.first().map(String::as_str) {
        None => Ok(lab.quick(None)),
        Some("on") => Ok(lab.quick(Some(true))),
        Some("off") => Ok(lab.quick(Some(false))),
        Some(other) => Err(args.misused(format!("`{other}` is neither on nor off"))),
    }
}

/// Whether nothing would be replaced, or the user wants it so.
fn may_replace(old: Option<String>, watch: Watching) -> bool {
    old.is_none_or(|old| watch.confirm(&format!("{old} is there already. Replace it?")))
}

pub fn save(lab: &mut Lab, args: &Args, watch: Watching) -> Result<View> {
    let path = args.path();
    let picture = image::format_of(&path).is_ok() && !path.is_dir();
    let old = match picture {
        true => path.is_file().then(|| path.display().to_string()),
        false => lab.replaced_by_save(&path)?.map(|what| format!("{what} in {}", path.display())),
    };
    match may_replace(old, watch) {
        true if picture => lab.save_picture(&path),
        true => lab.save(&path),
        false => Ok(View::new().text(format!("not saved: {} is as it was", path.display()))),
    }
}

pub fn load(lab: &mut Lab, args: &Args, _: Watching) -> Result<View> {
    if args.words.is_empty() {
        return Ok(lab.models());
    }
    lab.load(args.first())
}

pub fn export(lab: &mut Lab, args: &Args, watch: Watching) -> Result<View> {
    let file = args.path();
    let old = file.is_file().then(|| file.display().to_string());
    match may_replace(old, watch) {
        true => lab.export(&file),
        false => Ok(View::new().text(format!("not written: {} is as it was", file.display()))),
    }
}

pub fn explain(lab: &mut Lab, args: &Args, _: Watching) -> Result<View> {
    lab.explain(args.first())
}

pub fn undo(lab: &mut Lab, args: &Args, _: Watching) -> Result<View> {
    lab.undo(args.word(0, "N", 1u64..=1000)?.unwrap_or(1) as usize)
}

pub fn last_error(lab: &mut Lab, _: &Args, _: Watching) -> Result<View> {
    Ok(lab.last_error())
}

pub fn help(lab: &mut Lab, args: &Args, _: Watching) -> Result<View> {
    lab.help(args.words.first().map(String::as_str))
}

pub fn quit(lab: &mut Lab, _: &Args, _: Watching) -> Result<View> {
    lab.quit();
    Ok(View::new())
}
