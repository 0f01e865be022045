//! The session behind every face: `Lab` has one method per command, which takes plain values and returns a `View`.

pub mod args;
mod attention;
mod calls;
pub mod canvas;
pub mod command;
pub mod complete;
pub mod edit;
pub mod explain;
mod file;
pub mod find;
pub mod folder;
pub mod grid;
mod help;
mod keep;
pub mod list;
mod measure;
pub mod mix;
pub mod model;
mod nearest;
pub mod parts;
mod picture;
pub mod plot;
mod plots;
mod preview;
pub mod quick;
pub mod reading;
mod runner;
mod sampling;
pub mod seam;
mod settings;
pub mod sketch;
mod slips;
pub mod table;
mod texts;
mod training;
pub mod turn;
pub mod undo;
pub mod view;
pub mod watch;
pub mod workspace;

pub use attention::Looked;
pub use measure::{LossAtRatio, entropy};
pub use model::Origin;
pub use picture::{Pick, psnr};
pub use plots::loss_plot;
pub use sampling::SampleRequest;
pub use turn::Reply;

use crate::config::RunConfig;
use crate::data::{Dataset, Part};
use crate::error::{Error, Result};
use crate::metrics::StepRecord;
use crate::networks::Networks;
use command::Command;
use model::LoadedModel;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::cell::RefCell;
use std::rc::Rc;
use tch::{Device, Tensor};
use workspace::Workspace;

/// A session. Its parts are small or shared, so `undo` can keep earlier copies.
pub struct Lab {
    state: State,
    device: Device,
    past: undo::Past,
    runs: folder::RunFolder,
    last_error: Option<String>,
    over: bool,
    quick: bool,
    known: texts::KnownCaptions,
    /// The commands that this session understands.
    commands: Vec<&'static Command>,
}

/// The part of a session that `undo` restores.
#[derive(Clone)]
struct State {
    settings: RunConfig,
    workspace: Workspace,
    model: Rc<RefCell<LoadedModel>>,
    train: Option<Rc<Dataset>>,
    val: Option<Rc<Dataset>>,
    rng: ChaCha8Rng,
    log: Rc<Vec<StepRecord>>,
}

impl Lab {
    /// Opens a session on a model. Weights and data are read when first needed.
    ///
    /// Errors: no such model, or its config cannot be read.
    pub fn new(origin: Origin, device: Device) -> Result<Self> {
        let model = LoadedModel::new(origin)?;
        let settings = model.config.clone();
        let rng = ChaCha8Rng::seed_from_u64(settings.seed);
        let state = State {
            settings,
            workspace: Workspace::default(),
            model: Rc::new(RefCell::new(model)),
            train: None,
            val: None,
            rng,
            log: Rc::default(),
        };
        let (past, runs) = (undo::Past::default(), folder::RunFolder::new("runs"));
        let commands = table::COMMANDS.iter().collect();
        let (last_error, over, quick) = (None, false, quick::asked());
        let known = texts::KnownCaptions::default();
        Ok(Self { state, device, past, runs, last_error, over, quick, known, commands })
    }

    /// Adds commands to the session. Commands with a known name are not added again.
    pub fn add_commands(&mut self, rows: &'static [Command]) {
        for row in rows {
            if !self.commands.iter().any(|known| known.name == row.name) {
                self.commands.push(row);
            }
        }
    }

    /// The session's commands, in the order of the help.
    pub fn commands(&self) -> &[&'static Command] {
        &self.commands
    }

    /// Saves pictures under another folder than `runs`.
    pub fn runs_in(&mut self, folder: impl Into<std::path::PathBuf>) {
        self.runs = folder::RunFolder::new(folder);
    }

    /// Has this session make the pictures of one request only: text encoder, CLIP and prior are freed once they have read it,
    /// before the denoiser's weights are read, so that they need not fit into the memory together. Nothing that reads
    /// texts may follow, such as `attention`.
    pub fn sample_once(&mut self) {
        self.state.model.borrow_mut().in_turn = true;
    }

    /// Name of the model and its training steps, for the prompt.
    pub fn status(&self) -> (String, u64) {
        let model = self.state.model.borrow();
        (model.name.clone(), model.step)
    }

    /// The session's settings.
    pub fn settings(&self) -> &RunConfig {
        &self.state.settings
    }

    /// The session's workspace.
    pub fn workspace(&self) -> &Workspace {
        &self.state.workspace
    }

    /// Records of all training steps of this session.
    pub fn log(&self) -> &[StepRecord] {
        &self.state.log
    }

    /// True after `quit`.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Marks the session as over.
    pub fn quit(&mut self) {
        self.over = true;
    }

    /// Reverts `quit`.
    pub fn stay(&mut self) {
        self.over = false;
    }

    /// Number of training steps that would be lost if the session ended now. 0 if none, or if the model was saved after
    /// the last step.
    pub fn unsaved_steps(&self) -> u64 {
        let model = self.state.model.borrow();
        if model.step == model.saved { 0 } else { model.step }
    }

    /// Reseeds the session. The same commands then give the same numbers.
    pub fn seed(&mut self, seed: u64) {
        self.state.settings.seed = seed;
        self.state.rng = ChaCha8Rng::seed_from_u64(seed);
    }

    /// Draws other numbers than every session before, until `seed`. The settings keep their seed, from which training
    /// takes its own draws.
    pub fn seed_at_random(&mut self) {
        self.state.rng = ChaCha8Rng::seed_from_u64(rand::random());
    }

    /// One part of the data set, opened on first use.
    ///
    /// Errors: as `Dataset::open`.
    pub fn data(&mut self, part: Part) -> Result<Rc<Dataset>> {
        let slot = match part {
            Part::Train => &mut self.state.train,
            Part::Val => &mut self.state.val,
        };
        if let Some(data) = slot {
            return Ok(data.clone());
        }
        let data = Rc::new(Dataset::open(&self.state.settings.data, part)?);
        Ok(slot.insert(data).clone())
    }

    /// Calls `ask` with the networks of the current model. Reads the weights first if needed.
    ///
    /// Errors: the weights cannot be read.
    pub fn networks<T>(&self, ask: impl FnOnce(&Networks) -> T) -> Result<T> {
        Ok(ask(self.model()?.borrow().nets()))
    }

    /// The colours of all codes, if `tokens` (.., h, w) i64 on the CPU is a valid token grid of the current model: its
    /// size fits and all values are codes. None otherwise, and while the weights are not loaded or in use.
    pub fn colors_of(&self, tokens: &Tensor) -> Option<Vec<[u8; 3]>> {
        let mut model = self.state.model.try_borrow_mut().ok().filter(|model| model.is_ready())?;
        let (nets, size) = (model.nets(), tokens.size());
        let side = self.state.settings.data.size / nets.config.tokenizer.model.factor();
        let codes = 0..nets.config.model.num_labels;
        let fits = size.ends_with(&[side, side]) && tokens.numel() > 0;
        let inside =
            || [tokens.min(), tokens.max()].iter().all(|t| codes.contains(&t.int64_value(&[])));
        (fits && inside()).then(|| model.code_colors())
    }

    /// The model, with its weights loaded.
    fn model(&self) -> Result<Rc<RefCell<LoadedModel>>> {
        self.state.model.borrow_mut().ready(self.device)?;
        Ok(self.state.model.clone())
    }

    /// Draws a seed from the session's generator, short enough to type.
    fn draw_seed(&mut self) -> u64 {
        self.state.rng.random_range(0..1_000_000)
    }

    /// An error of this session's commands.
    fn fault(what: impl Into<String>, hint: impl Into<String>) -> Error {
        Error::command(what, "", hint)
    }
}

/// Seeds libtorch's generator.
pub(crate) fn seed_torch(seed: u64) {
    tch::manual_seed(seed as i64); // libtorch takes the same 64 bits
}
