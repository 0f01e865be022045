//! A whole run: tokenizer, then denoiser, with checkpoints and a log, resumed where it stopped.

use super::{TokenizerTrainer, Trainer};
use crate::checkpoint::{self, Phase, Progress};
use crate::config::{self, RunConfig};
use crate::data::{Dataset, Part};
use crate::error::{Error, Result};
use crate::files;
use crate::metrics::Record;
use crate::networks::{FILES, Networks};
use crate::weights;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What the caller of a run may choose.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The run's folder; default `runs/NAME`.
    pub out: Option<PathBuf>,
    /// Go on from the latest checkpoint in the folder.
    pub resume: bool,
    /// Stop (with a checkpoint) after so many seconds of training, over all resumed parts.
    pub max_seconds: Option<f64>,
    /// Stop (with a checkpoint) after so many updates of this call.
    pub max_steps: Option<u64>,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    pub folder: PathBuf,
    /// The model folder with averaged weights, written when the denoiser has been trained at all.
    pub model: Option<PathBuf>,
    /// All updates of the config are done.
    pub finished: bool,
    pub last: Option<Record>,
}

/// Train as the config says. `watch` sees every record and answers whether to go on; when it says no, a
/// checkpoint is written and the run can be resumed.
///
/// Errors: data, weights or folders that cannot be read or written; a loss that stays not finite.
pub fn run(
    config: &RunConfig,
    options: &Options,
    watch: &mut dyn FnMut(&Record) -> bool,
) -> Result<Outcome> {
    let folder = options.out.clone().unwrap_or_else(|| Path::new("runs").join(&config.name));
    let checkpoints = folder.join("checkpoints");
    let saved = checkpoint::latest(&checkpoints);
    match (&saved, options.resume) {
        (Some((progress, path)), true) => same_run(config, progress.phase, path)?,
        (Some(_), false) => {
            let hint = "go on with `--resume`, or name another folder with `--out`";
            return Err(Error::checkpoint(
                "the folder holds checkpoints of a run",
                folder.display().to_string(),
                hint,
            ));
        }
        _ => {}
    }
    let data = Dataset::open(&config.data, Part::Train)?;
    let nets = Networks::new(config, config.device.open()?)?;
    let run = Run {
        nets,
        data,
        options,
        watch,
        folder,
        checkpoints,
        done: 0,
        stopped: false,
        bad: 0,
        last: None,
    };
    run.write(&run.folder.join("config.ron"), config::to_ron(config).as_bytes())?;
    run.all(saved)
}

/// A run under way.
struct Run<'a> {
    nets: Networks,
    data: Dataset,
    options: &'a Options,
    watch: &'a mut dyn FnMut(&Record) -> bool,
    folder: PathBuf,
    checkpoints: PathBuf,
    /// Updates of this call.
    done: u64,
    stopped: bool,
    /// Updates in a row whose gradient was not finite.
    bad: u32,
    last: Option<Record>,
}

/// So many updates in a row without a finite gradient end a run.
const MAX_BAD: u32 = 20;

impl Run<'_> {
    fn all(mut self, saved: Option<(Progress, PathBuf)>) -> Result<Outcome> {
        let mut seconds = 0.0;
        let denoiser = saved.as_ref().filter(|(progress, _)| progress.phase == Phase::Denoiser);
        if denoiser.is_none() && self.nets.config.weights.tokenizer.is_none() {
            seconds = self.tokenizer(saved.as_ref())?;
        }
        let mut outcome = Outcome {
            folder: self.folder.clone(),
            model: None,
            finished: false,
            last: self.last.clone(),
        };
        if !self.stopped {
            outcome.model = Some(self.denoiser(denoiser, seconds)?);
            outcome.finished = !self.stopped;
        }
        outcome.last = self.last;
        Ok(outcome)
    }

    /// Train the tokenizer; returns the seconds it took.
    fn tokenizer(&mut self, saved: Option<&(Progress, PathBuf)>) -> Result<f64> {
        let mut trainer = TokenizerTrainer::new(&self.nets, &self.data)?;
        if let Some((progress, path)) = saved {
            let place = path.display().to_string();
            weights::fill(
                &self.nets.tokenizer_vars,
                &checkpoint::read(path, "tokenizer")?,
                &[],
                &place,
            )?;
            trainer.restore(&checkpoint::read(path, "optim")?, progress, &place)?;
        }
        let every = self.nets.config.train.save.every;
        while !self.stopped && !trainer.done() {
            let record = trainer.step(&self.nets, &self.data)?;
            self.after(&record)?;
            if self.stopped || record.step.is_multiple_of(every) || trainer.done() {
                self.checkpoint(&trainer.progress(), vec![("optim", trainer.state())])?;
            }
        }
        Ok(trainer.progress().seconds)
    }

    /// Train the denoiser; returns the folder of the finished model.
    fn denoiser(&mut self, saved: Option<&(Progress, PathBuf)>, seconds: f64) -> Result<PathBuf> {
        if let Some((_, path)) = saved {
            self.nets.fill(path)?; // the tokens follow from the tokenizer
        }
        let mut trainer = Trainer::new(&self.nets, &self.data)?;
        trainer.add_seconds(seconds);
        if let Some((progress, path)) = saved {
            let (optim, ema) = (checkpoint::read(path, "optim")?, checkpoint::read(path, "ema")?);
            trainer.restore(&optim, &ema, progress, &path.display().to_string())?;
        }
        let (steps, every) = (self.nets.config.train.steps, self.nets.config.train.save.every);
        while !self.stopped && trainer.progress().step < steps {
            let record = trainer.step(&self.nets)?;
            self.after(&record)?;
            if self.stopped || record.step.is_multiple_of(every) || record.step == steps {
                self.checkpoint(&trainer.progress(), Vec::from(trainer.state()))?;
            }
        }
        let model = self.folder.join("model");
        trainer.ema.swap();
        let written = self.nets.save(&model, true);
        trainer.ema.swap();
        written.map(|()| model)
    }

    /// Log a step and decide whether to go on.
    fn after(&mut self, record: &Record) -> Result<()> {
        self.log(record)?;
        self.done += 1;
        self.bad = if record.grad_norm.is_finite() { 0 } else { self.bad + 1 };
        if self.bad >= MAX_BAD {
            let what = format!(
                "{MAX_BAD} updates in a row without a finite gradient, the last at step {}",
                record.step
            );
            let hint = "resume from the last checkpoint with a lower `lr` or a longer `warmup`";
            return Err(Error::model(what, self.folder.display().to_string(), hint));
        }
        let go_on = (self.watch)(record);
        let late = self.options.max_seconds.is_some_and(|limit| record.seconds >= limit);
        let enough = self.options.max_steps.is_some_and(|limit| self.done >= limit);
        self.stopped = !go_on || late || enough;
        self.last = Some(record.clone());
        Ok(())
    }

    fn checkpoint(&self, progress: &Progress, state: Vec<(&str, weights::Named)>) -> Result<()> {
        // until the denoiser is trained, it and the text encoder follow from the seed
        let count = if progress.phase == Phase::Tokenizer { 1 } else { FILES.len() };
        let networks = FILES.into_iter().zip(self.nets.vars()).take(count);
        let mut files: Vec<_> =
            networks.map(|(name, vars)| (name, weights::named(vars, false))).collect();
        files.extend(state);
        checkpoint::save(&self.checkpoints, &config::to_ron(&self.nets.config), progress, &files)
            .map(drop)
    }

    fn log(&self, record: &Record) -> Result<()> {
        let path = self.folder.join("log.jsonl");
        let line = serde_json::to_string(record).unwrap_or_default();
        let file: std::io::Result<File> = OpenOptions::new().create(true).append(true).open(&path);
        file.and_then(|mut file| writeln!(file, "{line}")).map_err(|e| self.unwritable(&path, &e))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        files::write(path, bytes).map_err(|e| self.unwritable(path, &e))
    }

    fn unwritable(&self, path: &Path, e: &std::io::Error) -> Error {
        Error::checkpoint(
            e.to_string(),
            path.display().to_string(),
            "choose a writable folder with `--out`",
        )
    }
}

/// A run is resumed with the networks it has trained so far, data and seed; lengths and rates may change.
fn same_run(config: &RunConfig, phase: Phase, checkpoint: &Path) -> Result<()> {
    let before = RunConfig::read(&checkpoint.join("config.ron"))?;
    let fixed: &[&str] = match phase {
        Phase::Tokenizer => &["data.", "tokenizer.model", "seed", "weights."],
        Phase::Denoiser => &["data.", "tokenizer.model", "seed", "weights.", "text.", "model."],
        Phase::Prior => &["data.", "seed", "weights.", "clip.", "prior."],
    };
    let changed: Vec<String> = config::diff(&before, config)
        .into_iter()
        .filter(|(path, _, _)| fixed.iter().any(|prefix| path.starts_with(prefix)))
        .map(|(path, was, is)| format!("`{path}` was {was}, is {is}"))
        .collect();
    if changed.is_empty() {
        return Ok(());
    }
    let hint = "resume with the config in that folder, or start a new run with `--out`";
    Err(Error::checkpoint(
        format!("the config changed since the checkpoint: {}", changed.join("; ")),
        checkpoint.display().to_string(),
        hint,
    ))
}
