//! Commands on settings and files: set, config, export, save, load.

use super::Lab;
use super::args::quoted;
use super::model::{LoadedModel, Origin, shipped_models};
use super::view::View;
use crate::checkpoint::Phase;
use crate::config::{self, RunConfig};
use crate::error::{Error, Fault, Result, shell_path};
use crate::networks::{Networks, captions};
use rand::SeedableRng;
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

impl Lab {
    /// Changes one setting. `value` is written as in a config file; guidance and temperature also as `8..4`, or as one
    /// number for all steps.
    ///
    /// Errors: as `config::set`.
    pub fn set(&mut self, path: &str, value: &str) -> Result<View> {
        let old = config::get(&self.state.settings, path)?;
        let both = pair_of(path, value);
        let value = both.as_deref().unwrap_or(value);
        let mut settings = config::set(&self.state.settings, path, value)?;
        if path == "sample.steps" && (1..=1000).contains(&settings.sample.steps) {
            settings.sample = self.state.settings.sample.with_steps(settings.sample.steps);
        }
        let (own, other): (Vec<_>, Vec<_>) =
            settings.check().into_iter().partition(|fault| runs_now(&fault.place));
        if !own.is_empty() {
            return Err(Error::Config(own));
        }
        let before = std::mem::replace(&mut self.state.settings, settings);
        let now = &self.state.settings;
        let mut view = View::new().text(format!("{path}: {old} -> {}", config::get(now, path)?));
        if now.data != before.data {
            (self.state.train, self.state.val) = (None, None);
        }
        if now.seed != before.seed {
            self.state.rng = rand_chacha::ChaCha8Rng::seed_from_u64(now.seed);
        }
        if shape(now) != shape(&before) {
            let then = if other.is_empty() {
                ": `export new.ron`, then `load new.ron` builds this one"
            } else {
                ""
            };
            view = view.note(format!("the model in hand keeps its shape{then}"));
        }
        for Fault { what, place, hint } in other {
            view = view.note(format!("`{place}`: {what}; {hint}"));
        }
        Ok(view)
    }

    /// Shows all settings, or the field or section at `path`, as in a config file.
    pub fn config(&self, path: Option<&str>) -> Result<View> {
        Ok(View::new().text(match path {
            Some(path) => format!("{path}: {}", config::get(&self.state.settings, path)?),
            None => config::to_ron(&self.state.settings),
        }))
    }

    /// Lists the settings that differ from the program's defaults.
    pub fn config_diff(&self) -> View {
        let rows = config::diff(&RunConfig::default(), &self.state.settings);
        if rows.is_empty() {
            return View::new().text("all settings are at their defaults");
        }
        let cells = rows.into_iter().map(|it| vec![it.path, one_line(&it.from), one_line(&it.to)]);
        View::new().table(&["setting", "default", "now"], cells.collect())
    }

    /// Writes a config file with the settings that differ from the defaults.
    ///
    /// Errors: the file does not end in `.ron` or cannot be written.
    pub fn export(&self, file: &Path) -> Result<View> {
        let (place, replaced) = (file.display().to_string(), file.is_file());
        if file.extension().is_none_or(|e| e != "ron") {
            return Err(Self::fault(format!("`{place}` does not end in .ron"), "export mine.ron"));
        }
        let (name, _) = self.status();
        let head = format!(
            "// Settings of a session on `{name}`. Run: paella train {}\n",
            shell_path(file)
        );
        let text = head + &config::minimal_ron(&self.state.settings) + "\n";
        crate::files::write(file, text.as_bytes()).map_err(|e| {
            Error::command(format!("could not write: {e}"), &place, "name a folder that is there")
        })?;
        let view = View::new().text(format!(
            "written: {place}{}",
            if replaced { ", in place of an older one" } else { "" }
        ));
        let faults = self.state.settings.check();
        if faults.is_empty() {
            return Ok(view.note(match self.state.settings.has_work() {
                Ok(()) => format!("`paella train {}` runs it", shell_path(file)),
                Err(_) => "it has no stages: it makes pictures and trains nothing".into(),
            }));
        }
        let why = faults.into_iter().map(|Fault { what, place, hint }| {
            format!("no run begins with it yet: `{place}`: {what}; {hint}")
        });
        Ok(view.notes(why))
    }

    /// What [`Lab::save`] would replace in a folder: a model, or single files of one. None: nothing.
    pub fn replaced_by_save(&self, dir: &Path) -> Result<Option<String>> {
        let mut files = self.networks(Networks::files)?;
        files.push(captions::FILE.into()); // written anew, or removed
        files.retain(|name| dir.join(name).exists());
        Ok(match files.is_empty() {
            true => None,
            false if files.iter().any(|name| name == "config.ron") => Some("a model".into()),
            false => Some(files.join(", ")),
        })
    }

    /// Writes the model to a folder. A model that is there is replaced.
    pub fn save(&self, dir: &Path) -> Result<View> {
        let (model, replaced) = (self.model()?, self.replaced_by_save(dir)?);
        model.borrow().nets().save(dir, false)?;
        self.write_captions(&model.borrow(), dir).map_err(|e| {
            let hint = "is the folder writable?";
            Error::checkpoint(e.to_string(), dir.display().to_string(), hint)
        })?;
        let step = model.borrow().step;
        model.borrow_mut().saved = step;
        let instead = replaced.map(|what| format!(", in place of {what} that was there"));
        Ok(View::new()
            .text(format!("saved: {}{}", dir.display(), instead.unwrap_or_default()))
            .note(format!(
                "`load {}` or `paella --model {}`",
                quoted(&dir.display().to_string(), None),
                shell_path(dir)
            )))
    }

    /// Opens another model. Settings, data and workspace start from its config.
    ///
    /// Errors: no such model, or its files do not fit; the previous model is then kept.
    pub fn load(&mut self, name: &str) -> Result<View> {
        let origin = Origin::find(name)?;
        let untrained = matches!(origin, Origin::Config(_));
        let mut model = LoadedModel::new(origin)?;
        model.ready(self.device)?;
        let text = format!("model {}: {}", model.name, parameters(&model));
        let fresh = model.nets().said_fresh();
        let apart = [Phase::Clip, Phase::Prior].iter().any(|p| model.config.to_train().contains(p));
        if model.config.data != self.state.settings.data {
            (self.state.train, self.state.val) = (None, None);
        }
        self.state.settings = model.config.clone();
        self.state.workspace = super::Workspace::default();
        self.state.model = Rc::new(RefCell::new(model));
        self.state.log = Rc::default();
        let view = View::new().text(text).notes(fresh);
        let view = match (untrained, &self.state.settings) {
            (true, own) if own.model.bf16 => view,
            (true, own) if own.weights.denoiser.is_some() => view,
            (true, _) => view.note("its weights are random: `train 100` teaches it"),
            (false, _) => view,
        };
        Ok(match untrained && apart {
            true => view.note(format!(
                "`train` leaves CLIP and prior as they are; in the shell, `paella train {}` trains them too",
                shell_path(name)
            )),
            false => view,
        })
    }

    /// Lists the shipped models and the current one.
    pub fn models(&self) -> View {
        let (name, _) = self.status();
        let row =
            |n: String| vec![n.clone(), if n == name { "in hand".into() } else { String::new() }];
        let rows: Vec<_> = shipped_models().into_iter().map(row).collect();
        let view = View::new().text(format!(
            "the model in hand: {name} ({})",
            self.state.model.borrow().origin.path().display()
        ));
        if rows.is_empty() {
            view.note("none are shipped here")
        } else {
            view.table(&["shipped", ""], rows)
        }
    }
}

/// Whether the next command reads this setting. Other settings may pass through inconsistent states.
fn runs_now(field: &str) -> bool {
    ["name", "data", "sample", "train"].iter().any(|part| field.starts_with(part))
}

/// A value of one or two numbers as the pair of first and last step that a setting is. None: another setting or value.
fn pair_of(path: &str, value: &str) -> Option<String> {
    let is_pair = ["sample.cfg_scale", "sample.temperature"].contains(&path);
    let is_number = |text: &str| text.trim().parse::<f64>().is_ok_and(f64::is_finite);
    let (first, last) = value.split_once("..").unwrap_or((value, value));
    (is_pair && is_number(first) && is_number(last))
        .then(|| format!("({}, {})", first.trim(), last.trim()))
}

/// The settings that determine which weights fit.
fn shape(config: &RunConfig) -> impl PartialEq + '_ {
    (
        &config.tokenizer.model,
        &config.text,
        config.clip.as_ref().map(|c| &c.model),
        config.prior.as_ref().map(|p| &p.model),
        &config.model,
    )
}

/// Parameter counts: `tokenizer 0.87 M, text 1.40 M, denoiser 8.30 M parameters`.
fn parameters(model: &LoadedModel) -> String {
    let part = |(name, n): (&str, i64)| format!("{name} {:.2} M", n as f64 / 1e6);
    model.nets().parameters().into_iter().map(part).collect::<Vec<_>>().join(", ") + " parameters"
}

fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() > 40 { line.chars().take(38).collect::<String>() + ".." } else { line }
}
