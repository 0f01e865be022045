//! One picture for each of several settings, on a sheet with labelled axes: what do steps, guidance, chance do?

use super::mix::FULL_MODEL;
use super::picture::first_image;
use super::view::{View, plain};
use super::watch::{Preview, Watch};
use super::{Lab, SampleRequest};
use crate::error::{Error, Result, counted};
use crate::image::{self, film};
use crate::metrics::StepRecord;
use crate::sheet::{SheetAxis, labelled};
use ::image::RgbImage;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;
use tch::Tensor;

/// The settings that a grid can compare.
pub const GRID_AXES: [&str; 5] = ["steps", "cfg", "temperature", "seed", "prior"];

/// Pictures on one grid.
const MOST: usize = 64;
/// Pixels that a picture has at least on the sheet, if a whole factor enlarges it to that.
const SIDE: u32 = 128;

/// Several values of one setting.
#[derive(Clone, Debug, PartialEq)]
pub struct GridAxis {
    /// One of [`GRID_AXES`].
    pub name: &'static str,
    values: Vec<GridValue>,
}

#[derive(Clone, Debug, PartialEq)]
enum GridValue {
    Steps(i64),
    Cfg((f64, f64)),
    Temperature((f64, f64)),
    Seed(u64),
    Prior(bool),
}

impl GridAxis {
    /// Reads values with commas between them: `4,8,12`, `1,3,8..4` or `on,off`.
    ///
    /// Errors: no such setting; a value that it cannot have.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let known = || format!("a grid compares {}", GRID_AXES.join(", "));
        let named = GRID_AXES.iter().find(|axis| **axis == name);
        let name =
            named.ok_or_else(|| Error::command(format!("`{name}` is no axis"), "", known()))?;
        let values = text.split(',').map(|word| GridValue::parse(name, word.trim()));
        Ok(Self { name, values: values.collect::<Result<_>>()? })
    }

    fn labels(&self) -> Vec<String> {
        self.values.iter().map(ToString::to_string).collect()
    }
}

impl GridValue {
    fn parse(name: &str, word: &str) -> Result<Self> {
        let pair = |range: RangeInclusive<f64>| -> Result<(f64, f64)> {
            let (a, b) = word.split_once("..").unwrap_or((word, word));
            Ok((within(name, a, range.clone())?, within(name, b, range)?))
        };
        Ok(match name {
            "steps" => Self::Steps(within(name, word, 1..=1000)?),
            "cfg" => Self::Cfg(pair(0.0..=100.0)?),
            "temperature" => Self::Temperature(pair(0.01..=100.0)?),
            "seed" => Self::Seed(within(name, word, 0..=u64::MAX)?),
            _ => match word {
                "on" => Self::Prior(true),
                "off" => Self::Prior(false),
                _ => {
                    return Err(Error::command(
                        format!("`{word}` is neither on nor off"),
                        "",
                        "prior=on,off",
                    ));
                }
            },
        })
    }

    fn apply(&self, request: &mut SampleRequest) {
        match *self {
            Self::Steps(steps) => request.steps = Some(steps),
            Self::Cfg(cfg) => request.cfg_scale = Some(cfg),
            Self::Temperature(temperature) => request.temperature = Some(temperature),
            Self::Seed(seed) => request.seed = Some(seed),
            Self::Prior(prior) => request.prior = Some(prior),
        }
    }
}

impl Display for GridValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Steps(steps) => write!(f, "{steps}"),
            Self::Cfg((a, b)) | Self::Temperature((a, b)) if a == b => write!(f, "{}", plain(*a)),
            Self::Cfg((a, b)) | Self::Temperature((a, b)) => {
                write!(f, "{}..{}", plain(*a), plain(*b))
            }
            Self::Seed(seed) => write!(f, "{seed}"),
            Self::Prior(prior) => write!(f, "{}", if *prior { "on" } else { "off" }),
        }
    }
}

/// A number of an axis.
fn within<T>(name: &str, word: &str, range: RangeInclusive<T>) -> Result<T>
where
    T: FromStr + PartialOrd + Display,
{
    let number = word.trim().parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| {
        let hint = format!(
            "{name} is a number from {} to {}, several with commas",
            range.start(),
            range.end()
        );
        Error::command(format!("`{word}` is no value for {name}"), "", hint)
    })
}

/// The axes of a grid. A setting with one value is no axis: all pictures of `request` have it.
///
/// Errors: none, more than two axes, or too many pictures.
pub fn axes(all: Vec<GridAxis>, request: &mut SampleRequest) -> Result<Vec<GridAxis>> {
    let (axes, fixed): (Vec<_>, Vec<_>) = all.into_iter().partition(|axis| axis.values.len() > 1);
    fixed.iter().flat_map(|axis| &axis.values).for_each(|value| value.apply(request));
    let names: Vec<&str> = axes.iter().map(|axis| axis.name).collect();
    let pictures: usize = axes.iter().map(|axis| axis.values.len()).product();
    match axes.len() {
        0 => {
            let hint = "two values or more of one or two settings: `steps=4,8,12 cfg=1,3,8`";
            Err(Error::command("there is nothing to compare", "", hint))
        }
        1 | 2 if pictures <= MOST => Ok(axes),
        1 | 2 => {
            let what = format!("a grid of {} is too large", counted(pictures, "picture"));
            Err(Error::command(what, "", format!("at most {MOST}: fewer values")))
        }
        _ => {
            let what = format!("a sheet has two axes, not {}", names.len());
            let hint = format!("one value for all but two of {}", names.join(", "));
            Err(Error::command(what, "", hint))
        }
    }
}

impl Lab {
    /// A picture for each value of one axis, or each pair of values of two: the first goes across, the second down. All
    /// have the same seed, unless that is an axis. `gif`: also a film of the sheet as its pictures emerge, where one with fewer
    /// steps waits for the others. The picture in hand stays.
    ///
    /// Errors: as [`axes`] and [`Lab::sample`]; the prior as an axis for a model without one; a film whose name is not one of a GIF.
    pub fn grid(
        &mut self,
        all: Vec<GridAxis>,
        request: &SampleRequest,
        gif: Option<&Path>,
        watch: &mut dyn Watch,
    ) -> Result<View> {
        gif.map_or(Ok(()), film::is_gif)?;
        let mut request = request.clone();
        let axes = axes(all, &mut request)?;
        if axes.iter().any(|axis| axis.name == "prior")
            && self.model()?.borrow().nets().prior.is_none()
        {
            let hint = format!("a model with a prior: {FULL_MODEL}");
            return Err(Self::fault("this model has no prior", hint));
        }
        let seed = request.seed.unwrap_or_else(|| self.draw_seed());
        request.seed = Some(seed);
        let (across, down) = (&axes[0], axes.get(1));
        let mut cells = Vec::new();
        for below in down.map_or(vec![None], |axis| axis.values.iter().map(Some).collect()) {
            for beside in &across.values {
                let mut cell = request.clone();
                [Some(beside), below]
                    .into_iter()
                    .flatten()
                    .for_each(|value| value.apply(&mut cell));
                cells.push(cell);
            }
        }
        let passes = |cell: &SampleRequest| cell.config(&self.state.settings.sample).steps as usize;
        let (mut before, total) = (0, cells.iter().map(passes).sum());
        let (mut runs, mut remarks) = (Vec::new(), Vec::<String>::new());
        for cell in &cells {
            let run = self.walk(cell, &mut PassesOfAll { watch, before, at_once: 1, total })?;
            if run.path.len() <= run.schedule.len() {
                break; // a stop: the rest of the sheet stays empty
            }
            before += run.schedule.len();
            add_new(&mut remarks, &run.remarks);
            runs.push(run);
        }
        let axis = |axis: &GridAxis| SheetAxis { name: axis.name.into(), labels: axis.labels() };
        let mut drawn = vec![(usize::MAX, RgbImage::default()); runs.len()]; // after so many passes
        let mut sheet = |passes: usize| -> Result<RgbImage> {
            for ((at, picture), run) in drawn.iter_mut().zip(&runs) {
                let passes = passes.min(run.schedule.len());
                if *at != passes {
                    (*at, *picture) = (passes, self.enlarged(&run.path[passes])?);
                }
            }
            let pictures: Vec<RgbImage> =
                drawn.iter().map(|(_, picture)| picture.clone()).collect();
            Ok(labelled(&axis(across), down.map(axis).as_ref(), &pictures))
        };
        let most = runs.iter().map(|run| run.schedule.len()).max().unwrap_or(0);
        let film = gif.filter(|_| !runs.is_empty()).map(|file| {
            match film::write((0..most + 1).map(&mut sheet), file) {
                Ok(()) => format!("film: {}", file.display()),
                Err(error) => format!("no film, the sheet is there: {error}"),
            }
        });
        let sheet = sheet(most)?;
        let text = self.as_caption(&request.text)?;
        let down = down.map_or(String::new(), |axis| format!(", {} down", axis.name));
        let seed = match axes.iter().any(|axis| axis.name == "seed") {
            true => String::new(),
            false => format!(", seed {seed}"),
        };
        let caption = format!("\"{text}\": {} across{down}{seed}", across.name);
        let view = View::new().picture(sheet, caption).notes(film).notes(remarks);
        let stopped = (runs.len() < cells.len())
            .then(|| format!("stopped after picture {} of {}", runs.len(), cells.len()));
        self.note_texts(view.notes(stopped), &[&text, &request.negative])
    }

    /// The first picture of tokens (B, h, w), large enough for a sheet.
    fn enlarged(&self, tokens: &Tensor) -> Result<RgbImage> {
        let picture = self.networks(|nets| first_image(&nets.decode(&tokens.narrow(0, 0, 1))))?;
        Ok(image::enlarge(&picture, SIDE / picture.width().max(1)))
    }
}

/// Adds what has not been said yet.
pub(super) fn add_new(said: &mut Vec<String>, more: &[String]) {
    for remark in more {
        if !said.contains(remark) {
            said.push(remark.clone());
        }
    }
}

/// Counts the passes of many pictures as one.
pub(super) struct PassesOfAll<'a> {
    pub(super) watch: &'a mut dyn Watch,
    /// Passes of the pictures that are done.
    pub(super) before: usize,
    /// Pictures of one batch.
    pub(super) at_once: usize,
    /// Passes of all pictures.
    pub(super) total: usize,
}

impl Watch for PassesOfAll<'_> {
    fn record(&mut self, record: &StepRecord, progress: Option<(u64, u64)>) {
        self.watch.record(record, progress);
    }

    fn pass(&mut self, done: usize, _total: usize) {
        self.watch.pass(self.before + done * self.at_once, self.total);
    }

    fn wants_preview(&mut self, last: bool) -> bool {
        self.watch.wants_preview(last)
    }

    fn preview(&mut self, preview: Preview) {
        self.watch.preview(preview);
    }

    fn note(&mut self, text: &str) {
        self.watch.note(text);
    }

    fn confirm(&mut self, question: &str) -> bool {
        self.watch.confirm(question)
    }

    fn stop(&self) -> bool {
        self.watch.stop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<(Vec<GridAxis>, SampleRequest)> {
        let mut request = SampleRequest::default();
        let all = pairs.iter().map(|(name, text)| GridAxis::parse(name, text));
        let axes = axes(all.collect::<Result<_>>()?, &mut request)?;
        Ok((axes, request))
    }

    #[test]
    fn several_values_are_an_axis_and_one_is_for_all() {
        let (axes, request) =
            read(&[("steps", "4, 8"), ("cfg", "1,3,8..2"), ("temperature", "0.5")])
                .expect("two axes");
        assert_eq!(axes.iter().map(|axis| axis.name).collect::<Vec<_>>(), ["steps", "cfg"]);
        assert_eq!(axes[1].labels(), ["1", "3", "8..2"]);
        assert_eq!(request.temperature, Some((0.5, 0.5)));
        let (prior, _) = read(&[("prior", "on,off")]).expect("one axis");
        assert_eq!(prior[0].labels(), ["on", "off"]);
    }

    #[test]
    fn what_is_no_grid_is_refused_with_a_hint() {
        for (pairs, what) in [
            (&[][..], "nothing to compare"),
            (&[("steps", "4")], "nothing to compare"),
            (&[("steps", "4,8"), ("cfg", "1,2"), ("seed", "1,2")], "two axes, not 3"),
            (&[("seed", "1,2,3,4,5,6,7,8,9"), ("cfg", "1,2,3,4,5,6,7,8")], "72 pictures"),
            (&[("steps", "4,0")], "`0` is no value for steps"),
            (&[("cfg", "1,NaN")], "no value for cfg"),
            (&[("prior", "on,maybe")], "neither on nor off"),
            (&[("count", "1,2")], "`count` is no axis"),
        ] {
            let error = read(pairs).expect_err(what).to_string();
            assert!(error.contains(what) && error.contains("hint: "), "{error}");
        }
    }
}
