//! Commands that make pictures from text: all steps at once (`sample`), or one at a time (`start`, `next`, `back`).

use super::Lab;
use super::edit::{self, Edit};
use super::mix::{MixPart, MixSource};
use super::picture::first_image;
use super::runner::{Runner, conditions};
use super::view::{View, plain};
use super::watch::{Preview, Watch};
use super::workspace::{Picture, Sampling, seeds_of};
use crate::error::{Result, counted};
use crate::image;
use crate::model::weigh::PartWeights;
use crate::networks::Networks;
use crate::noise::{add_noise, draw_mask};
use crate::sample::{Pass, PictureSeeds, SampleConfig, Step};
use ::image::RgbImage;
use std::rc::Rc;
use tch::{Device, Kind, Tensor};

/// A text to sample from, and sampling settings. `None` uses the session's setting.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SampleRequest {
    pub text: String,
    /// What the picture should not show. Replaces the empty text in guidance.
    pub negative: String,
    pub steps: Option<i64>,
    pub cfg_scale: Option<(f64, f64)>,
    pub temperature: Option<(f64, f64)>,
    pub greedy: Option<bool>,
    pub seed: Option<u64>,
    /// Number of pictures; 0 counts as 1.
    pub count: i64,
    /// Edits the current picture instead of making one from nothing. The empty text stands for the picture's caption.
    pub edit: Option<Edit>,
    /// What an edit does not sample keeps its pixels too, not only its tokens.
    pub keep_pixels: bool,
    /// Width and height in pixels; None: the size that the model was trained on.
    pub size: Option<(i64, i64)>,
    /// A second text: the pictures go from `text` to this one in equal parts, all with one seed.
    pub to: Option<String>,
    /// Pictures and texts whose mixture takes the place of `text`. Empty: none.
    pub mix: Vec<MixPart>,
    /// A second picture: the pictures go from the one in `mix` to this one in equal parts, all with one seed.
    pub to_picture: Option<MixSource>,
    /// Texts with their seeds, a picture each, in place of `text`, `seed` and `count`. Empty: none.
    pub each: Vec<(String, u64)>,
    /// How much the attention to each part counts.
    pub weights: Option<PartWeights>,
    /// Whether the prior's guess of a picture stands beside a text. None: if the model has a prior.
    pub prior: Option<bool>,
}

impl SampleRequest {
    /// The session's settings with this request's settings applied.
    pub fn config(&self, settings: &SampleConfig) -> SampleConfig {
        let mut config = match self.steps {
            Some(steps) => settings.with_steps(steps),
            None => settings.clone(),
        };
        config.cfg_scale = self.cfg_scale.unwrap_or(config.cfg_scale);
        config.temperature = self.temperature.unwrap_or(config.temperature);
        config.greedy = self.greedy.unwrap_or(config.greedy);
        config
    }
}

/// Pictures (B, 3, H, W) side by side.
fn sheet(images: &Tensor) -> RgbImage {
    image::square_grid(&image::all_from_tensor(images), 2)
}

impl Lab {
    /// Samples pictures from a text. The first becomes the current picture.
    pub fn sample(&mut self, request: &SampleRequest, watch: &mut dyn Watch) -> Result<View> {
        let run = self.walk(request, watch)?;
        let images = self.images(&run)?;
        self.finish(&run, &images)
    }

    /// Shows the pictures of a run, (B, 3, H, W) as [`Lab::images`] gives them. The first becomes the current picture.
    pub fn finish(&mut self, run: &Sampling, images: &Tensor) -> Result<View> {
        let tokens = run.path.last().expect("a run has a beginning");
        let (done, steps) = (run.path.len() - 1, run.schedule.len());
        let (taken, seeds) = (counted(done, "step"), run.seeds_in_words());
        let caption = format!("\"{}\", {taken}, {seeds}", run.texts());
        let picture = images.narrow(0, 0, 1);
        self.state.workspace.put(Picture { images: picture, caption: run.caption(), index: None });
        self.state.workspace.tokens = Some(Rc::new(tokens.narrow(0, 0, 1)));
        self.state.workspace.made = Some(Rc::new(run.with_path(run.path.clone())));
        let view = self.shown_edit(run)?.shown_before(run.was_shown);
        let view = view.picture(sheet(images), caption);
        let view = self.note_run(view, run)?;
        Ok(if done < steps {
            view.note(format!("stopped after step {done} of {steps}"))
        } else {
            view
        })
    }

    /// Runs all steps of `sample`, and keeps the tokens after every step.
    pub fn walk(&mut self, request: &SampleRequest, watch: &mut dyn Watch) -> Result<Sampling> {
        let mut run = self.begin(request)?;
        if watch.stop() {
            return Ok(run);
        }
        run.was_shown = run.canvas.is_some() && watch.begins(&self.shown_edit(&run)?);
        let steps = run.schedule.len();
        self.go_on(&run, steps, |nets, at, _, pass| {
            let done = at + 1;
            watch.pass(done, steps);
            if watch.wants_preview(done == steps) {
                let image = first_image(&nets.decode(&pass.after.narrow(0, 0, 1)));
                watch.preview(Preview { image, caption: format!("after step {done} of {steps}") });
            }
            !watch.stop()
        })
    }

    /// Makes at most `count` of the passes that are left of a run, until `take` returns false, which is a stop. It is given the number
    /// of the pass from 0, the tokens before it, and the pass. Returns the run as far as it went.
    fn go_on(
        &self,
        run: &Sampling,
        count: usize,
        mut take: impl FnMut(&Networks, usize, &Tensor, &Pass) -> bool,
    ) -> Result<Sampling> {
        let model = self.model()?;
        let read = conditions(model.borrow().nets(), run);
        model.borrow_mut().end_reading()?;
        let model = model.borrow();
        let runner = Runner::new(model.nets(), run, read);
        let sampler = runner.sampler();
        let mut path = run.path.clone();
        let (start, mut more) = (path.len() - 1, true);
        for pass in sampler.passes(&run.path[start], &run.schedule[start..]).take(count) {
            let at = path.len() - 1;
            more = take(model.nets(), at, &path[at], &pass);
            path.push(Rc::new(pass.after));
            if !more {
                break;
            }
        }
        let mut run = run.with_path(path);
        run.seam = if more { runner.seam(model.nets(), &run) } else { None };
        Ok(run)
    }

    /// The pictures of a run after each step, from noise to the end: a sheet of all of them a frame. Of a way from one to another:
    /// its pictures, one after the other.
    pub fn frames(&self, run: &Sampling) -> Result<Vec<RgbImage>> {
        if run.to.is_some() || run.mix_to.is_some() {
            return Ok(image::all_from_tensor(&self.images(run)?));
        }
        let model = self.model()?;
        let model = model.borrow();
        let frame = |tokens: &Rc<Tensor>| sheet(&run.restored(model.nets().decode(tokens)));
        Ok(run.path.iter().map(frame).collect())
    }

    /// The pictures of a run as far as it went, in the order of its seeds: (B, 3, H, W) f32 in 0..=1, CPU.
    pub fn images(&self, run: &Sampling) -> Result<Tensor> {
        let model = self.model()?;
        let tokens = run.path.last().expect("a run has a beginning");
        let images = model.borrow().nets().decode(tokens);
        Ok(run.restored(images.to_device(Device::Cpu)))
    }

    /// Starts a run that advances one step at a time.
    pub fn start(&mut self, request: &SampleRequest) -> Result<View> {
        let run = self.begin(request)?;
        let model = self.model()?;
        let picture = sheet(&model.borrow().nets().decode(&run.path[0]));
        let (what, first) = match &run.canvas {
            // the same picture as that of the edit
            Some(canvas) if canvas.shown.is_none() => (edit::under_noise(&run), View::new()),
            Some(_) => ("before the first step".into(), self.shown_edit(&run)?),
            None => ("all noise".into(), View::new()),
        };
        let (steps, text) = (run.schedule.len(), run.texts());
        let caption = format!("step 0 of {steps}: {what}; \"{text}\", {}", run.seeds_in_words());
        let view = first.picture(picture, caption).table(&STEP_HEADERS, rows(&run.schedule));
        let view = self.note_run(view, &run)?;
        self.state.workspace.sampling = Some(Rc::new(run));
        Ok(view.note("`next` takes the first step"))
    }

    /// Adds what of the request has no effect, and what the model cannot read or know of its texts.
    fn note_run(&mut self, view: View, run: &Sampling) -> Result<View> {
        let view = view.notes(run.remarks.iter().cloned().chain(run.seam_in_words()));
        match &run.mix {
            Some(mix) => {
                let to = run.mix_to.iter().flat_map(|to| to.remarks.clone());
                let view = view.notes(mix.remarks.clone().into_iter().chain(to));
                self.note_texts(view, &mix.texts().chain([&*run.negative]).collect::<Vec<_>>())
            }
            None => {
                let texts = [Some(&run.text), run.to.as_ref(), Some(&run.negative)];
                self.note_texts(
                    view,
                    &texts.into_iter().flatten().map(|text| &**text).collect::<Vec<_>>(),
                )
            }
        }
    }

    /// Runs `count` further steps.
    ///
    /// Errors: no run, or the run is finished.
    pub fn next(&mut self, count: usize, watch: &mut dyn Watch) -> Result<View> {
        let run = self.state.workspace.sampling()?;
        if run.path.len() > run.schedule.len() {
            return Err(Self::fault(
                "the run is at its end",
                "`back` goes back, `start TEXT` begins another",
            ));
        }
        let steps = run.schedule.len();
        let mut view = View::new();
        let run = self.go_on(&run, count, |nets, at, before, pass| {
            let pictures =
                [before, &pass.drawn, &pass.after].map(|xs| sheet(&nets.decode(xs)));
            let Step { t, t_next, temperature, cfg_scale } = run.schedule[at];
            let [t, t_next, temperature, cfg] = [t, t_next, temperature, cfg_scale].map(plain);
            let caption = format!(
                "step {} of {steps}: before (T = {t}), drawn (temperature {temperature}, cfg {cfg}), after (T = {t_next})",
                at + 1,
            );
            let image = image::grid(&pictures, 3, 2);
            view = std::mem::take(&mut view).picture(image, caption);
            watch.pass(at + 1, steps);
            !watch.stop()
        })?;
        let tokens = Rc::new(run.path[run.path.len() - 1].narrow(0, 0, 1));
        let images = self.images(&run)?.narrow(0, 0, 1);
        if run.path.len() > run.schedule.len() {
            view = view.note("that was the last step").notes(run.seam_in_words());
        }
        self.state.workspace.put(Picture { images, caption: run.caption(), index: None });
        self.state.workspace.tokens = Some(tokens);
        self.state.workspace.sampling = Some(Rc::new(run));
        Ok(view)
    }

    /// Goes back by `count` steps.
    ///
    /// Errors: no run, or the run is at its beginning.
    pub fn back(&mut self, count: usize) -> Result<View> {
        let run = self.state.workspace.sampling()?;
        if run.path.len() == 1 {
            return Err(Self::fault("the run is at its beginning", "`next` goes on"));
        }
        let left = run.path.len().saturating_sub(count).max(1);
        let mut run = run.with_path(run.path[..left].to_vec());
        run.seam = None;
        let model = self.model()?;
        let picture = sheet(&model.borrow().nets().decode(&run.path[run.path.len() - 1]));
        let caption = format!("back at step {} of {}", run.path.len() - 1, run.schedule.len());
        self.state.workspace.sampling = Some(Rc::new(run));
        Ok(View::new().picture(picture, caption))
    }

    /// A run before its first step.
    pub(super) fn begin(&mut self, request: &SampleRequest) -> Result<Sampling> {
        let mut config = request.config(&self.state.settings.sample);
        if config.steps < 1 {
            return Err(Self::fault("a run needs a step", "`set sample.steps 12`"));
        }
        let canvas = match &request.edit {
            Some(edit) => Some(Rc::new(self.canvas(edit, request.keep_pixels)?)),
            None => None,
        };
        let mix = self.mixture(&request.mix)?;
        let to = request.to_picture.iter().cloned().map(|source| MixPart { source, weight: 1.0 });
        let mix_to = self.mixture(&to.collect::<Vec<_>>())?;
        if mix_to.is_some() && mix.as_ref().is_none_or(|mix| mix.texts().next().is_some()) {
            let hint = "a picture alone, as in `morph this to=fox.png`";
            return Err(Self::fault("a picture is on the way from a picture only", hint));
        }
        let seeds = match request.each.as_slice() {
            [] => {
                let first = request.seed.unwrap_or_else(|| self.draw_seed());
                let same = request.to.is_some() || mix_to.is_some();
                seeds_of(first, request.count.max(1), same)
            }
            each => each.iter().map(|(_, seed)| *seed).collect(),
        };
        let each = request.each.iter().map(|(text, _)| self.as_caption(text));
        let each = each.collect::<Result<Vec<String>>>()?;
        let text = match (&request.edit, request.text.as_str()) {
            _ if mix.is_some() => mix.as_ref().map(|mix| mix.text()).unwrap_or_default(),
            (Some(_), "") => self.state.workspace.picture()?.caption.clone(),
            (_, text) => self.as_caption(text)?,
        };
        let negative = self.as_caption(&request.negative)?;
        let to = request.to.as_deref().map(|to| self.as_caption(to)).transpose()?;
        let model = self.model()?;
        let model = model.borrow();
        let nets = model.nets();
        let side = self.state.settings.data.size;
        let grid = match (&canvas, request.size) {
            (Some(canvas), None) => (canvas.mask.size()[1], canvas.mask.size()[2]),
            (Some(_), Some(_)) => {
                return Err(Self::fault(
                    "an edit keeps the size of the picture",
                    "leave `size` out",
                ));
            }
            (None, size) => edit::grid(nets, size.unwrap_or((side, side)))?,
        };
        let codes = nets.config.model.num_labels;
        let (noise, uniforms) = PictureSeeds::start(&seeds, grid, codes, nets.device); // each (B, h, w)
        let start = match (&request.edit, &canvas) {
            (Some(Edit::Renoise(share)), Some(canvas)) => {
                config.t_start = *share; // the noise that is there
                let t = Tensor::full([1], *share, (Kind::Float, nets.device));
                add_noise(&canvas.original, &noise, &draw_mask(&uniforms, &t))
            }
            (_, Some(canvas)) => noise.where_self(&canvas.mask, &canvas.original),
            _ => noise.shallow_clone(),
        };
        let path = vec![Rc::new(start)];
        let mut remarks = remarks(request, &config);
        remarks.extend(canvas.iter().filter_map(|canvas| canvas.remark.clone()));
        if mix.is_some() && nets.config.train.clip_image == 0.0 {
            let what =
                "this model was trained without vectors of pictures: they mean nothing to it";
            remarks.push(format!("{what} (`train.clip_image` is 0)"));
        }
        let with_prior = request.prior.unwrap_or(true);
        let has_prior = nets.prior.is_some() && nets.clip.is_some();
        if request.prior.is_some() && (mix.is_some() || !has_prior) {
            let why = if has_prior { "a picture is named" } else { "this model has no prior" };
            remarks.push(format!("`prior` has no effect: {why}"));
        }
        if let Some(weights) = &request.weights {
            let all = [&[text.clone()][..], &each, to.as_slice()].concat();
            let texts = match &mix {
                Some(mix) => mix.texts().map(String::from).collect(),
                None => all,
            };
            let l = nets.config.text.batch(&texts, Device::Cpu).0.size()[1];
            let vector = |there: bool| if there { nets.config.model.clip_seq_len } else { 0 };
            let image = mix.is_some() || (has_prior && with_prior);
            remarks.extend(weights.remarks([l, vector(nets.clip.is_some()), vector(image)])?);
        }
        Ok(Sampling {
            text,
            each,
            to,
            mix,
            mix_to,
            with_prior,
            weights: request.weights.clone(),
            negative,
            schedule: config.schedule(),
            noise,
            path,
            seeds,
            greedy: config.greedy,
            remarks,
            canvas,
            was_shown: false,
            seam: None,
        })
    }
}

/// What of a request has no effect under `config`.
fn remarks(request: &SampleRequest, config: &SampleConfig) -> Vec<String> {
    let guided = config.schedule().iter().any(|step| step.cfg_scale != 1.0);
    let mut remarks = Vec::new();
    if config.guided_steps == 0 && config.cfg_scale != (1.0, 1.0) {
        let hint = format!("`set sample.guided_steps {}` guides all", config.steps);
        remarks.push(format!(
            "no step is guided, `cfg` has no effect: `sample.guided_steps` is 0; {hint}"
        ));
    }
    if !request.negative.is_empty() && !guided {
        let hint = match (config.guided_steps, remarks.is_empty()) {
            (1.., _) => "; `cfg=3` gives it one".to_string(),
            (_, true) => {
                format!("; `set sample.guided_steps {}` and `cfg=3` give it one", config.steps)
            }
            (_, false) => String::new(), // the line above has it
        };
        remarks.push(format!("the negative text has no effect without guidance{hint}"));
    }
    if config.greedy && request.temperature.is_some() {
        remarks.push("`temperature` has no effect: greedy takes the most likely token".into());
    }
    remarks
}

const STEP_HEADERS: [&str; 5] = ["step", "T", "temperature", "cfg", "T after"];

fn rows(schedule: &[Step]) -> Vec<Vec<String>> {
    let row = |(i, s): (usize, &Step)| {
        let numbers = [s.t, s.temperature, s.cfg_scale, s.t_next].map(plain);
        std::iter::once((i + 1).to_string()).chain(numbers).collect()
    };
    schedule.iter().enumerate().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_effect_is_said() {
        let settings = SampleConfig { guided_steps: 0, ..SampleConfig::default() };
        let said =
            |request: &SampleRequest| remarks(request, &request.config(&settings)).join("\n");
        let plain = SampleRequest::default();
        assert!(said(&plain).contains("`set sample.guided_steps 12`"));
        let negative = SampleRequest {
            negative: "a fox".into(),
            cfg_scale: Some((1.0, 1.0)),
            ..SampleRequest::default()
        };
        assert_eq!(
            said(&negative),
            "the negative text has no effect without guidance; `set sample.guided_steps 12` and `cfg=3` give it one"
        );
        let guided = SampleRequest { steps: Some(4), cfg_scale: Some((3.0, 1.0)), ..negative };
        let both = said(&guided);
        assert!(
            both.starts_with("no step is guided") && both.ends_with("without guidance"),
            "{both}"
        );
        let greedy = SampleRequest { greedy: Some(true), temperature: Some((1.0, 1.0)), ..guided };
        assert!(said(&greedy).contains("`temperature` has no effect"));
    }

    #[test]
    fn requests_go_over_settings() {
        let settings = SampleConfig::default();
        assert_eq!(SampleRequest::default().config(&settings), settings);
        let request = SampleRequest {
            steps: Some(4),
            cfg_scale: Some((2.0, 1.0)),
            ..SampleRequest::default()
        };
        let config = request.config(&settings);
        assert_eq!((config.steps, config.renoise_steps, config.cfg_scale), (4, 3, (2.0, 1.0)));
        assert_eq!(config.temperature, settings.temperature);
    }
}
