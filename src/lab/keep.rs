//! Keeps the training of a session in a folder, and takes it up again: weights, optimiser, settings and log.

use super::Lab;
use super::model::{LoadedModel, TrainingMark};
use super::workspace::Workspace;
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::files;
use crate::metrics::StepRecord;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

/// The file of a kept training that holds what a model folder does not.
const FILE: &str = "session.ron";

/// A session without its weights and its workspace.
#[derive(Serialize, Deserialize)]
struct Session {
    model: TrainingMark,
    settings: RunConfig,
    log: Vec<StepRecord>,
}

impl Lab {
    /// Writes everything that training goes on from, in place of what the folder held. The folder appears complete or not
    /// at all. It is a model folder too.
    ///
    /// Errors: no weights can be read; the folder cannot be written.
    pub fn keep_training(&self, folder: &Path) -> Result<()> {
        let failed = |e: &dyn std::fmt::Display| unwritable(folder, e);
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let hidden = folder.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
        let model = self.model()?.borrow().keep(&hidden)?;
        let (settings, log) = (self.state.settings.clone(), self.state.log.to_vec());
        let session = Session { model, settings, log };
        let text = ron::to_string(&session).map_err(|e| failed(&e))?;
        files::write(&hidden.join(FILE), text.as_bytes()).map_err(|e| failed(&e))?;
        files::put_folder(&hidden, folder).map_err(|e| failed(&e))
    }

    /// Takes up what `keep_training` wrote. The next step is the one that would have followed. The workspace is empty.
    /// Returns the number of training steps.
    ///
    /// Errors: the folder holds no training, or one that cannot be read; the session is then unchanged.
    pub fn resume_training(&mut self, folder: &Path) -> Result<u64> {
        let unreadable = |e: &dyn std::fmt::Display| {
            let place = folder.join(FILE).display().to_string();
            Error::checkpoint(
                format!("the training cannot be taken up: {e}"),
                place,
                "begin again, with `load` and `train`",
            )
        };
        let text = std::fs::read_to_string(folder.join(FILE)).map_err(|e| unreadable(&e))?;
        let session: Session = ron::from_str(&text).map_err(|e| unreadable(&e))?;
        let model = LoadedModel::resume(folder, session.model, self.device)?;
        let steps = model.step;
        self.state.rng = ChaCha8Rng::seed_from_u64(session.settings.seed);
        self.state.settings = session.settings;
        (self.state.train, self.state.val) = (None, None);
        self.state.log = Rc::new(session.log);
        self.state.workspace = Workspace::default();
        self.state.model = Rc::new(RefCell::new(model));
        Ok(steps)
    }
}

fn unwritable(folder: &Path, error: &dyn std::fmt::Display) -> Error {
    let hint = "is there room, and may this folder be written?";
    Error::checkpoint(format!("could not write: {error}"), folder.display().to_string(), hint)
}
