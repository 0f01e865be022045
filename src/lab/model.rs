//! The loaded model: its origin, its networks, and its trainer once training has begun.

use crate::checkpoint::Progress;
use crate::config::RunConfig;
use crate::data::assets::assets_dir;
use crate::data::{Dataset, Source, home};
use crate::dist::World;
use crate::error::{Error, Result};
use crate::metrics::StepRecord;
use crate::near::{did_you_mean, missing, no_file};
use crate::networks::{Network, Networks};
use crate::train::shell::State;
use crate::train::{DenoiserTrainer, Feed, Stage, TokenizerTrainer};
use crate::weights;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tch::{Device, Tensor};

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A folder with `config.ron` and weights.
    Folder(PathBuf),
    /// A config file, for an untrained model of that shape.
    Config(PathBuf),
}

impl Origin {
    /// Finds a shipped model by name, a model folder, or a config file. A leading `~` is the home folder.
    ///
    /// Errors: none of these; the hint names the nearest shipped model, or lists them.
    pub fn find(name: &str) -> Result<Self> {
        let path = &home(Path::new(name));
        if path.is_file() {
            return Ok(Self::Config(path.into()));
        }
        if path.join("config.ron").is_file() {
            return Ok(Self::Folder(path.into()));
        }
        let plain = !name.is_empty() && !name.contains(['/', '\\']) && !name.starts_with('.');
        let shipped = models_dir().map(|dir| dir.join(name)).filter(|_| plain);
        if let Some(folder) = shipped.filter(|dir| dir.join("config.ron").is_file()) {
            return Ok(Self::Folder(folder));
        }
        if let Some(config) = shipped_config(path) {
            return Ok(Self::Config(config));
        }
        if path.is_dir() {
            let hint = "a model is a folder that `save` or `paella train` wrote";
            return Err(Error::checkpoint("there is no config.ron in this folder", name, hint));
        }
        if path.extension().is_some_and(|ending| ending == "ron") {
            return Err(no_file(path, ""));
        }
        let names = shipped_models();
        let hint = match names.as_slice() {
            _ if name.contains('/') => missing(path),
            [] => "none are shipped here: name a folder, or a config file for an untrained model"
                .into(),
            names => format!("shipped: {}; or a folder, or a config file", names.join(", ")),
        };
        let hint = did_you_mean(name, names.iter().map(String::as_str), hint);
        Err(Error::checkpoint(format!("there is no model `{name}`"), "", hint))
    }

    /// The first shipped model, which a session opens by default.
    ///
    /// Errors: no model is shipped.
    pub fn first() -> Result<Self> {
        let hint = "`paella --model configs/smoke.ron` opens an untrained one; `paella doctor` tells where models are looked for";
        let none = || Error::checkpoint("no model is shipped with this program", "", hint);
        Self::find(shipped_models().first().ok_or_else(none)?)
    }

    /// Path of the folder or the config file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::Config(path) => path,
        }
    }
}

/// `configs/NAME.ron` of the source tree, independent of the current folder.
fn shipped_config(path: &Path) -> Option<PathBuf> {
    let inside = path.parent() == Some(Path::new("configs"));
    let file = assets_dir().ok()?.parent()?.join(path);
    (inside && file.is_file()).then_some(file)
}

fn models_dir() -> Option<PathBuf> {
    assets_dir().ok().map(|dir| dir.join("models"))
}

/// Names of the shipped models. The default model is first.
pub fn shipped_models() -> Vec<String> {
    let entries = models_dir().and_then(|dir| std::fs::read_dir(dir).ok());
    let folders = entries.into_iter().flatten().flatten();
    let with_config = folders.filter(|entry| entry.path().join("config.ron").is_file());
    let mut names: Vec<String> =
        with_config.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_by_key(|name| (name != "emoji-64", name.clone()));
    names
}

/// A model in use, loaded on demand.
pub struct LoadedModel {
    pub name: String,
    pub origin: Origin,
    /// The config as read. The session's settings start from it.
    pub config: RunConfig,
    /// Optimiser steps in this session.
    pub step: u64,
    /// The step at which the model was last saved.
    pub saved: u64,
    nets: Option<Networks>,
    /// The trainer, after the first training step.
    trainer: Option<Box<dyn Stage>>,
    /// State from which the next training continues, after an `undo` across phases.
    earlier: Option<(Progress, State)>,
    /// Whether an untrained model trains its tokenizer first.
    tokenizer_first: bool,
    code_images: Option<Rc<Tensor>>,
    /// Whether networks are used in turn: see [`Networks::end_reading`]. Set it before `ready`.
    pub in_turn: bool,
}

/// Where a training stands, besides its tensors.
#[derive(Serialize, Deserialize)]
pub struct TrainingMark {
    name: String,
    step: u64,
    saved: u64,
    tokenizer_first: bool,
    progress: Option<Progress>,
}

/// File stems of a trainer's state.
const STATE: [&str; 2] = ["optim", "ema"];

/// Weights and trainer state, for `undo`.
pub struct ModelSnapshot {
    weights: Vec<Tensor>,
    step: u64,
    tokenizer_first: bool,
    optimizer: Option<(Progress, State)>,
}

fn new_trainer(nets: &Networks, data: &Rc<Dataset>, tokenizer: bool) -> Result<Box<dyn Stage>> {
    let config = &nets.config.data;
    let feed = |seed| match &config.source {
        Source::Scenes(scenes) if config.has_scenes() => Ok(Feed::fresh(scenes, config.size)), // as a run does
        _ => Feed::memory(data.clone(), seed)?.augmented(&config.augment),
    };
    Ok(if tokenizer {
        let feed = feed(TokenizerTrainer::order_seed(nets))?;
        Box::new(TokenizerTrainer::new(nets, feed, &World::solo())?)
    } else {
        let feed = feed(nets.config.seed)?;
        Box::new(DenoiserTrainer::new(nets, feed, &World::solo())?)
    })
}

impl LoadedModel {
    /// Reads the config only.
    pub fn new(origin: Origin) -> Result<Self> {
        let (file, named) = match &origin {
            Origin::Folder(dir) => (dir.join("config.ron"), dir.file_name()),
            Origin::Config(file) => (file.clone(), file.file_stem()),
        };
        let config = RunConfig::read(&file)?;
        let name = named.map_or_else(|| config.name.clone(), |n| n.to_string_lossy().into_owned());
        let untrained = matches!(origin, Origin::Config(_)) && config.weights.tokenizer.is_none();
        let (nets, trainer, earlier, code_images) = (None, None, None, None);
        Ok(Self {
            name,
            origin,
            config,
            step: 0,
            saved: 0,
            nets,
            trainer,
            earlier,
            tokenizer_first: untrained,
            code_images,
            in_turn: false,
        })
    }

    /// Frees what has read the conditions of all pictures, if networks are used in turn.
    pub fn end_reading(&mut self) -> Result<()> {
        match &mut self.nets {
            Some(nets) if self.in_turn => nets.end_reading(),
            _ => Ok(()),
        }
    }

    /// Writes the weights and the trainer's state to a folder. Call `ready` first, and not between training steps.
    ///
    /// Errors: the folder cannot be written.
    pub fn keep(&self, folder: &Path) -> Result<TrainingMark> {
        self.nets().save(folder, false)?;
        let write = |state: &State| {
            let file = |name: &str| folder.join(format!("{name}.safetensors"));
            state.iter().try_for_each(|(name, tensors)| weights::write(&file(name), tensors))
        };
        let progress = match (&self.trainer, &self.earlier) {
            (Some(trainer), _) => {
                write(&trainer.state())?;
                Some(trainer.progress())
            }
            (None, Some((progress, state))) => {
                write(state)?;
                Some(progress.clone())
            }
            (None, None) => None,
        };
        let (name, step, saved) = (self.name.clone(), self.step, self.saved);
        Ok(TrainingMark { name, step, saved, tokenizer_first: self.tokenizer_first, progress })
    }

    /// The model that `keep` wrote, with its weights loaded.
    ///
    /// Errors: as `Networks::load`; the trainer's state cannot be read.
    pub fn resume(folder: &Path, mark: TrainingMark, device: Device) -> Result<Self> {
        let mut model = Self::new(Origin::Folder(folder.into()))?;
        model.ready(device)?;
        let file = |name: &str| folder.join(format!("{name}.safetensors"));
        let read = |name| Ok((name, weights::read(&file(name))?));
        if let Some(progress) = mark.progress {
            let there = STATE.into_iter().filter(|name| file(name).is_file());
            model.earlier = Some((progress, there.map(read).collect::<Result<State>>()?));
        }
        (model.name, model.step, model.saved) = (mark.name, mark.step, mark.saved);
        model.tokenizer_first = mark.tokenizer_first;
        Ok(model)
    }

    /// Loads the weights if they are not loaded.
    pub fn ready(&mut self, device: Device) -> Result<()> {
        if self.nets.is_none() {
            self.nets = Some(match &self.origin {
                Origin::Folder(dir) => Networks::loaded(dir, device, self.in_turn)?,
                Origin::Config(_) => Networks::made(&self.config, device, self.in_turn)?,
            });
        }
        Ok(())
    }

    /// Whether the weights come from a folder, or were trained in this session.
    pub fn is_trained(&self) -> bool {
        self.step > 0 || matches!(self.origin, Origin::Folder(_))
    }

    /// Whether the weights are loaded.
    pub fn is_ready(&self) -> bool {
        self.nets.is_some()
    }

    /// The networks. Call `ready` first. Outside of training they hold the averaged weights.
    pub fn nets(&self) -> &Networks {
        self.nets.as_ref().expect("`ready` was called")
    }

    /// Prepares for training steps: applies the settings, and replaces the averaged weights by the trained ones.
    pub fn begin_training(&mut self, settings: &RunConfig) -> Result<()> {
        let nets = self.nets.as_mut().expect("`ready` was called");
        let part =
            |c: &RunConfig| (c.train.clone(), c.tokenizer.train.clone(), c.data.clone(), c.seed);
        if part(&nets.config) != part(settings) {
            (self.trainer, self.earlier) = (None, None); // a new optimiser goes on from the averages
            (nets.config.train, nets.config.tokenizer.train) =
                (settings.train.clone(), settings.tokenizer.train.clone());
            (nets.config.data, nets.config.seed) = (settings.data.clone(), settings.seed);
            nets.set_precision(&settings.train.precision)?;
        }
        self.swap_ema();
        Ok(())
    }

    /// One training step: of the tokenizer while an untrained model needs it, then of the denoiser.
    ///
    /// Errors: as `DenoiserTrainer::new` and `DenoiserTrainer::step`.
    pub fn train_step(&mut self, data: &Rc<Dataset>) -> Result<StepRecord> {
        let nets = self.nets.as_ref().expect("`ready` was called");
        if self.trainer.is_none() {
            let kept = self.earlier.is_some().then(|| self.copies());
            let mut trainer = new_trainer(nets, data, self.tokenizer_first)?;
            if let (Some((at, state)), Some(kept)) = (self.earlier.take(), kept) {
                self.put(&kept); // a new trainer may change the initial weights
                trainer.restore(&state, &at, "", "undo")?;
                trainer.swap_ema(); // the averages were in place when the state was saved
            }
            self.trainer = Some(trainer);
        }
        if self.tokenizer_first {
            self.code_images = None;
        }
        let trainer = self.trainer.as_mut().expect("just put there");
        let record = trainer.step(nets)?;
        self.step += 1;
        if self.tokenizer_first && trainer.progress().step >= trainer.steps() {
            (self.tokenizer_first, self.trainer) = (false, None);
        }
        Ok(record)
    }

    /// Ends training steps: replaces the trained weights by their averages, which sample better.
    pub fn end_training(&mut self) {
        self.swap_ema();
    }

    /// Calls `look` with the averaged weights in place, between two training steps.
    pub fn look<T>(&mut self, look: impl FnOnce(&Networks) -> T) -> T {
        self.swap_ema();
        let seen = look(self.nets());
        self.swap_ema();
        seen
    }

    fn swap_ema(&mut self) {
        if let Some(trainer) = &mut self.trainer {
            trainer.swap_ema();
        }
    }

    /// A copy of everything that training changes.
    pub fn snapshot(&self) -> ModelSnapshot {
        let optimizer = self.trainer.as_ref().map(|trainer| (trainer.progress(), trainer.state()));
        let weights = self.copies();
        ModelSnapshot { weights, step: self.step, tokenizer_first: self.tokenizer_first, optimizer }
    }

    /// Restores what `snapshot` returned. If the settings have changed, training continues with a new optimiser.
    pub fn restore(&mut self, old: ModelSnapshot) {
        self.put(&old.weights);
        let same_phase = old.tokenizer_first == self.tokenizer_first;
        (self.step, self.tokenizer_first, self.code_images) = (old.step, old.tokenizer_first, None);
        self.earlier = None;
        let restored = match (&mut self.trainer, old.optimizer) {
            (Some(trainer), Some((at, state))) if same_phase => {
                trainer.restore(&state, &at, "", "undo").is_ok()
            }
            (_, earlier) => {
                self.earlier = earlier;
                false
            }
        };
        if !restored {
            self.trainer = None;
        }
    }

    fn copies(&self) -> Vec<Tensor> {
        self.variables().iter().map(|xs| xs.detach().copy()).collect()
    }

    /// Restores the weights that `copies` returned.
    fn put(&self, weights: &[Tensor]) {
        tch::no_grad(|| {
            self.variables().iter_mut().zip(weights).for_each(|(xs, old)| xs.copy_(old))
        });
    }

    /// All variables of the three networks, always in the same order.
    fn variables(&self) -> Vec<Tensor> {
        let by_name = |vars: &tch::nn::VarStore| {
            vars.variables().into_iter().collect::<BTreeMap<_, _>>().into_values()
        };
        let three = [Network::Tokenizer, Network::Text, Network::Denoiser];
        three.iter().filter_map(|network| self.nets().vars(*network)).flat_map(by_name).collect()
    }

    /// The decoded picture of each code alone: (K, 3, 2f, 2f) f32 for patches of f pixels. Cached.
    pub fn code_images(&mut self) -> Rc<Tensor> {
        if let Some(images) = &self.code_images {
            return images.clone();
        }
        let nets = self.nets();
        let codes = Tensor::arange(nets.config.model.num_labels, (tch::Kind::Int64, nets.device));
        let decode = |some: Tensor| {
            nets.decode(&some.view([-1, 1, 1]).repeat([1, 2, 2])).to_device(Device::Cpu)
        };
        let images: Vec<Tensor> = codes.split(256, 0).into_iter().map(decode).collect();
        let images = Rc::new(Tensor::cat(&images, 0));
        self.code_images = Some(images.clone());
        images
    }

    /// The mean colour of each of the K codes.
    pub fn code_colors(&mut self) -> Vec<[u8; 3]> {
        let means =
            self.code_images().mean_dim([2i64, 3].as_slice(), false, tch::Kind::Float) * 255.0; // (K, 3)
        let bytes: Vec<u8> = super::workspace::floats(&means)
            .iter()
            .map(|c| c.round().clamp(0.0, 255.0) as u8)
            .collect();
        bytes.chunks_exact(3).map(|c| [c[0], c[1], c[2]]).collect()
    }
}
