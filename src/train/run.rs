//! A whole run: its stages in sequence, with checkpoints and a log. Resumes where it stopped.

use super::begin::{agree, can_share, find, room_for_checkpoints};
use super::journal::Journal;
use super::options::{Outcome, RunOptions};
use super::shell::State;
use super::{Feed, PriorTrainer, Stage, TokenizerTrainer, Trainer};
use crate::checkpoint::{self, Phase, Progress, Saver, Snapshot, unwritable};
use crate::config::{self, RunConfig, is_name};
use crate::data::stream::Want;
use crate::data::{Dataset, Part, Source};
use crate::error::{Error, Result};
use crate::files;
use crate::metrics::StepRecord;
use crate::networks::Networks;
use crate::torch;
use crate::weights::{self, Named};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;
use tch::{Tensor, nn};

/// Trains as the config says. `watch` receives every record and returns whether to continue. If not, a checkpoint is
/// written and the run can be resumed. Only rank 0 writes.
///
/// Errors: data, weights or folders that cannot be read or written; a loss that stays non-finite; failure of another
///         rank.
pub fn run(
    config: &RunConfig,
    options: &RunOptions,
    watch: &mut dyn FnMut(&StepRecord) -> bool,
) -> Result<Outcome> {
    let folder = match &options.out {
        Some(folder) => folder.clone(),
        None if is_name(&config.name) => Path::new("runs").join(&config.name),
        None => {
            let hint = "one folder below runs/, such as emoji-32; or name a folder with `--out`";
            return Err(Error::command("the run has no name", "`name`", hint));
        }
    };
    let checkpoints = folder.join("checkpoints");
    let world = &options.world;
    can_share(config, world.size())?;
    let saved = find(config, options.resume, &folder, &checkpoints)?;
    agree(world, saved.as_ref(), &checkpoints)?;
    world.local_work("getting ready");
    if world.is_first() {
        let path = folder.join("config.ron");
        files::write(&path, config::to_ron(config).as_bytes())
            .map_err(|e| unwritable(&path, &e))?;
        checkpoint::sweep(&checkpoints); // folders that a killed run left half written
    }
    let journal = world
        .is_first()
        .then(|| Journal::open(&folder, config.train.log.tensorboard))
        .transpose()?;
    let device = world.device().map_or_else(|| config.device.open(), Ok)?;
    let nets = Networks::new(config, device)?;
    if world.is_first() {
        room_for_checkpoints(&nets, &checkpoints)?;
    }
    let data = match (&config.data.stream, &config.data.source) {
        (Some(_), _) | (None, Source::Scenes(_)) => None,
        _ => Some(Rc::new(Dataset::open(&config.data, Part::Train)?)),
    };
    let saver = Saver::new(&checkpoints, &config.train.save);
    let mut run = Run {
        nets,
        data,
        options,
        watch,
        folder,
        journal,
        saver,
        done: 0,
        stopped: false,
        bad: 0,
        last: None,
    };
    run.all(saved)
}

/// File of a checkpoint with the position of the stream.
const STREAM: &str = "stream.jsonl";

/// A run in progress.
struct Run<'a> {
    nets: Networks,
    /// None if the run reads a stream or draws its pictures.
    data: Option<Rc<Dataset>>,
    options: &'a RunOptions,
    watch: &'a mut dyn FnMut(&StepRecord) -> bool,
    folder: PathBuf,
    /// Kept by rank 0 only.
    journal: Option<Journal>,
    saver: Saver,
    /// Updates done in this call.
    done: u64,
    stopped: bool,
    /// Consecutive updates whose gradient was not finite.
    bad: u64,
    last: Option<StepRecord>,
}

impl Run<'_> {
    fn all(&mut self, saved: Option<(Progress, PathBuf)>) -> Result<Outcome> {
        let phases = self.nets.config.to_train();
        let (mut seconds, mut model) = (0.0, None);
        for phase in phases {
            // a checkpoint of a later stage holds what this one has trained
            let saved = saved.as_ref().filter(|(progress, _)| progress.phase >= phase);
            if self.stopped || saved.is_some_and(|(progress, _)| progress.phase > phase) {
                continue;
            }
            self.options.world.local_work("getting ready");
            let mut stage = self.begin(phase, saved, seconds)?;
            self.train(stage.as_mut())?;
            self.options.world.local_work("writing the model");
            seconds = stage.progress().seconds;
            // permanent: later stages and the model use the averages of a finished stage
            stage.swap_ema();
            model = self.model(phase)?;
        }
        self.saver.wait()?;
        Ok(Outcome {
            folder: self.folder.clone(),
            model,
            finished: !self.stopped,
            last: self.last.clone(),
        })
    }

    /// The trainer of a stage, at its beginning or resumed from the checkpoint.
    fn begin(
        &self,
        phase: Phase,
        saved: Option<&(Progress, PathBuf)>,
        seconds: f64,
    ) -> Result<Box<dyn Stage>> {
        let world = &self.options.world;
        let mut stage: Box<dyn Stage> = match phase {
            Phase::Tokenizer => {
                let feed = self.feed(TokenizerTrainer::order_seed(&self.nets), Want::Pictures)?;
                Box::new(TokenizerTrainer::new(&self.nets, feed, world)?)
            }
            Phase::Prior => {
                let feed = self.feed(PriorTrainer::order_seed(&self.nets), Want::Pictures)?;
                Box::new(PriorTrainer::new(&self.nets, feed, world)?)
            }
            Phase::Denoiser => {
                let feed = self.feed(self.nets.config.seed, Want::Tokens)?;
                Box::new(Trainer::new(&self.nets, feed, world)?)
            }
        };
        match saved {
            Some((progress, folder)) => {
                for (name, vars) in self.kept(phase) {
                    let place = folder.join(format!("{name}.safetensors")).display().to_string();
                    weights::fill(vars, &checkpoint::read(folder, name)?, &[], &place)?;
                }
                let read = |file: &&'static str| Ok((*file, checkpoint::read(folder, file)?));
                let state: State = stage.files().iter().map(read).collect::<Result<_>>()?;
                let stream = checkpoint::read_text(folder, STREAM).unwrap_or_default(); // pictures in memory leave no such file
                stage.restore(&state, progress, &stream, &folder.display().to_string())?;
            }
            None => stage.add_seconds(seconds),
        }
        Ok(stage)
    }

    /// The pictures for a stage.
    fn feed(&self, seed: u64, want: Want) -> Result<Feed> {
        let config = &self.nets.config.data;
        match (&self.data, &config.source, &config.stream) {
            (Some(data), _, _) => Feed::memory(data.clone(), seed),
            (None, Source::Scenes(scenes), None) => Ok(Feed::fresh(scenes, config.size)),
            _ => Feed::stream(&self.nets, seed, want),
        }
    }

    fn train(&mut self, stage: &mut dyn Stage) -> Result<()> {
        let (policy, world) = (self.nets.config.train.save.clone(), self.options.world.clone());
        let mut saved_at = Instant::now();
        while !self.stopped && stage.progress().step < stage.steps() {
            world.at_step(stage.progress().step);
            let record = stage.step(&self.nets)?;
            world.local_work("writing its log and pictures");
            self.after(&record)?;
            self.look(stage, record.step)?;
            let late =
                policy.minutes > 0.0 && saved_at.elapsed().as_secs_f64() >= policy.minutes * 60.0;
            // clocks and signals differ between ranks: agree on one decision
            let [stopped, late] = world.any([self.stopped, late])?;
            self.stopped = stopped;
            // the last step too: a stage that follows starts from there
            let due = record.step.is_multiple_of(policy.every) || record.step == stage.steps();
            if self.stopped || late || due {
                self.save(stage)?;
                saved_at = Instant::now();
            }
        }
        Ok(())
    }

    /// Writes a checkpoint, after checking that all ranks have the same weights.
    fn save(&mut self, stage: &dyn Stage) -> Result<()> {
        let (world, progress) = (&self.options.world, stage.progress());
        let kept = self.kept(progress.phase);
        let weights: Vec<Tensor> =
            kept.iter().flat_map(|(_, vars)| weights::named(vars, false).into_values()).collect();
        // Ranks that drifted apart would train on, each its own model, and only one of them would be saved.
        world.same(&weights, &format!("{} step {}", progress.phase, progress.step))?;
        let stream = stage.stream().map(|own| world.gather(&own)).transpose()?;
        world.local_work("writing a checkpoint");
        match world.is_first() {
            true => self.saver.save(self.snapshot(stage, stream)),
            false => Ok(()),
        }
    }

    /// Writes a sheet of pictures if one is due, made with the averaged weights.
    fn look(&mut self, stage: &mut dyn Stage, step: u64) -> Result<()> {
        let every = self.nets.config.train.log.samples_every;
        let Some(journal) = &mut self.journal else { return Ok(()) };
        if every == 0 || !step.is_multiple_of(every) {
            return Ok(());
        }
        // The averages sample better than weights that still jump about, and they are what the model folder gets.
        stage.swap_ema();
        let gallery = stage.gallery(&self.nets);
        stage.swap_ema(); // training goes on with the weights themselves
        gallery.map_or(Ok(()), |gallery| journal.gallery(&gallery, step))
    }

    /// Logs a step and decides whether to continue.
    fn after(&mut self, record: &StepRecord) -> Result<()> {
        if let Some(journal) = &mut self.journal {
            journal.record(record)?;
        }
        self.done += 1;
        // one bad batch is skipped; many in a row mean that the weights themselves are lost
        self.bad = if record.grad_norm.is_finite() { 0 } else { self.bad + 1 };
        let most = self.nets.config.train.max_bad;
        if self.bad >= most {
            let what = format!(
                "{most} updates in a row without a finite gradient, the last at step {}",
                record.step
            );
            let hint = "resume from the last checkpoint with a lower `lr` or a longer `warmup`";
            return Err(Error::model(what, self.folder.display().to_string(), hint));
        }
        let go_on = (self.watch)(record);
        // seconds count over all resumed parts, steps of this call alone
        let late = self.options.max_seconds.is_some_and(|limit| record.seconds >= limit);
        let enough = self.options.max_steps.is_some_and(|limit| self.done >= limit);
        self.stopped = !go_on || late || enough;
        self.last = Some(record.clone());
        Ok(())
    }

    /// A snapshot of the current state. `stream` holds each rank's position in the stream.
    fn snapshot(&self, stage: &dyn Stage, stream: Option<Vec<String>>) -> Snapshot {
        let progress = stage.progress();
        let networks = self.kept(progress.phase);
        let weights = networks.into_iter().map(|(name, vars)| (name, copied(vars)));
        Snapshot {
            tensors: weights.chain(stage.state()).collect(),
            config: config::to_ron(&self.nets.config),
            texts: stream.map(|parts| (STREAM, parts.concat())).into_iter().collect(),
            progress,
        }
    }

    /// The networks that a checkpoint of this stage holds: those the run has trained, not those that were given or
    /// follow from the seed.
    fn kept(&self, phase: Phase) -> Vec<(&'static str, &nn::VarStore)> {
        let config = &self.nets.config;
        let tokenizer = config.weights.tokenizer.is_none();
        let prior = phase >= Phase::Prior && config.to_train().contains(&Phase::Prior);
        let denoiser = phase == Phase::Denoiser;
        let [t, x, d] = self.nets.vars();
        let trained = self.nets.prior.as_ref().filter(|_| prior);
        let all = [
            (tokenizer, ("tokenizer", t)),
            (denoiser && config.train.train_text, ("text", x)),
            (denoiser, ("denoiser", d)),
        ];
        let all = all.into_iter().filter(|(kept, _)| *kept).map(|(_, named)| named);
        all.chain(trained.map(|prior| ("prior", &prior.vars))).collect()
    }

    /// Writes the model folder, unless the denoiser is still to be trained.
    fn model(&self, phase: Phase) -> Result<Option<PathBuf>> {
        // half of a model cannot be opened
        if phase < Phase::Denoiser && self.nets.config.stages.contains(&Phase::Denoiser) {
            return Ok(None);
        }
        let model = self.folder.join("model");
        if self.options.world.is_first() {
            self.nets.save(&model, true)?;
        }
        Ok(Some(model))
    }
}

/// A copy of the current weights on the CPU.
fn copied(vars: &nn::VarStore) -> Named {
    let named = weights::named(vars, false);
    named.into_iter().map(|(name, xs)| (name, torch::copied(&xs))).collect()
}
