//! A whole run: its stages in sequence, with checkpoints and a log. Resumes where it stopped.

use super::begin::{agree, can_share, room_for_checkpoints};
use super::footprint::{Erasing, Footprint};
use super::hold::Hold;
use super::journal::Journal;
use super::options::{Ending, Outcome, RunOptions};
use super::saved::{find, networks, unreadable};
use super::shell::State;
use super::{ClipTrainer, DenoiserTrainer, Feed, PriorTrainer, Stage, TokenizerTrainer};
use crate::checkpoint::{self, Phase, Progress, Saver, Snapshot, unwritable};
use crate::config::{self, RunConfig, is_name};
use crate::data::stream::{self, Want};
use crate::data::{DataMark, Dataset, Part, Source};
use crate::error::{Error, Result, counted};
use crate::files;
use crate::metrics::StepRecord;
use crate::networks::{Networks, captions};
use crate::torch;
use crate::weights::fit::Rules;
use crate::weights::{self, Named};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;
use tch::{Tensor, nn};

/// Trains as the config says. `watch` receives every record and returns whether to continue. If not, a checkpoint is
/// written and the run can be resumed. Only rank 0 writes. A start that fails before the first step leaves no files.
///
/// Errors: data, weights or folders that cannot be read or written; checkpoints that are damaged or of another run; a
///         loss that stays non-finite; failure of another rank.
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
    config.has_work()?;
    can_share(config, options.world.size())?;
    // before the networks are built: what is refused is refused within a second, also with a billion parameters
    let footprint = Footprint::before(&folder);
    // before the checkpoints are looked at: nobody else writes there from here to the end
    let held = options.world.is_first() && folder.is_dir();
    let hold = held.then(|| Hold::take(&folder)).transpose()?;
    let saved = find(config, options, &folder)?;
    agree(&options.world, saved.as_ref(), &folder.join("checkpoints"))?;
    let place = Place { folder: &folder, footprint: &footprint, hold };
    from(saved, &config.moved(&options.moved), options, place, watch)
}

/// Where a run writes.
struct Place<'a> {
    folder: &'a Path,
    footprint: &'a Footprint,
    /// None on other ranks than 0, and of a folder that was not there: a start that is killed leaves none.
    hold: Option<Hold>,
}

/// Trains from a checkpoint, or from the beginning.
fn from(
    saved: Option<(Progress, PathBuf)>,
    config: &RunConfig,
    options: &RunOptions,
    Place { folder, footprint, hold }: Place,
    watch: &mut dyn FnMut(&StepRecord) -> bool,
) -> Result<Outcome> {
    let (world, checkpoints) = (&options.world, folder.join("checkpoints"));
    world.local_work("getting ready");
    let progress = saved.as_ref().map(|(progress, _)| progress);
    if world.is_first() && progress.is_none() {
        is_free(config, folder)?;
    }
    let device = world.device().map_or_else(|| config.device.open(), Ok)?;
    let nets = Networks::new(config, device)?;
    nets.said_fresh().filter(|_| progress.is_none()).iter().for_each(|text| options.say(text));
    if world.is_first() {
        room_for_checkpoints(&nets, &checkpoints)?;
    }
    let data = match (&config.data.stream, &config.data.source) {
        (Some(_), _) | (None, Source::Scenes(_)) => None, // read or drawn as it is asked for
        _ => Some(Rc::new(Dataset::open(&config.data, Part::Train)?)),
    };
    let (mark, one) = match (&data, &config.data.stream) {
        (Some(data), _) => (Some(data.mark()), "picture"),
        (None, Some(stream)) => (stream.mark(), "shard"),
        (None, None) => (None, ""), // drawn by number
    };
    if let (Some(mark), Some(before)) = (mark, progress.and_then(|progress| progress.data)) {
        mark.changed(before, one).iter().for_each(|text| options.say(text));
    }
    options.ready.iter().for_each(|ready| ready());
    // only now: a start that fails before leaves what is there as it is
    let first = world.is_first();
    let _hold = match hold {
        None if first => Some(Hold::take_new(folder)?),
        hold => hold,
    };
    let begun = Cell::new(false);
    // a run that has trained a step keeps its folder, whatever becomes of it
    let _erasing = first.then(|| Erasing { footprint, begun: &begun });
    let mut watch = |record: &StepRecord| {
        begun.set(true);
        watch(record)
    };
    let journal = match first {
        true => Some(open_folder(config, options, folder, progress)?),
        false => None,
    };
    let saver = Saver::new(&checkpoints, &config.train.save);
    let mut run = Run {
        nets,
        data,
        mark,
        options,
        watch: &mut watch,
        folder: folder.to_path_buf(),
        journal,
        saver,
        done: 0,
        asked: false,
        enough: false,
        bad: 0,
        last: None,
    };
    let outcome = run.all(saved);
    drop(run); // the last checkpoint is written
    begun.set(begun.get() || outcome.is_ok());
    outcome
}

/// Whether a run may begin in a folder.
///
/// Errors: another config is there that no run has left, such as that of a saved model.
fn is_free(config: &RunConfig, folder: &Path) -> Result<()> {
    let there = folder.join("config.ron");
    let of_a_run = ["log.jsonl", "checkpoints"].iter().any(|name| folder.join(name).exists());
    if of_a_run || !there.exists() || holds(&there, config) {
        return Ok(());
    }
    let hint = "another folder: `--out runs/NAME`";
    Err(Error::checkpoint(
        "a config that is not of a run is there",
        there.display().to_string(),
        hint,
    ))
}

/// Whether a file holds this config, be it in somebody's own words.
fn holds(file: &Path, config: &RunConfig) -> bool {
    RunConfig::read(file).is_ok_and(|there| there == *config) // compared as values: comments and order may differ
}

/// Writes the config and opens the log, for rank 0.
fn open_folder(
    config: &RunConfig,
    options: &RunOptions,
    folder: &Path,
    saved: Option<&Progress>,
) -> Result<Journal> {
    let path = folder.join("config.ron");
    if !holds(&path, config) {
        files::write(&path, config::to_ron(config).as_bytes())
            .map_err(|e| unwritable(&path, &e))?;
    }
    checkpoint::sweep(&folder.join("checkpoints")); // folders that a killed run left half written
    let (journal, note) = Journal::open(folder, config.train.log.tensorboard, saved)?;
    note.iter().for_each(|note| options.say(note));
    Ok(journal)
}

/// File of a checkpoint with the position of the stream.
const STREAM: &str = "stream.jsonl";

/// A run in progress.
struct Run<'a> {
    nets: Networks,
    /// None if the run reads a stream or draws its pictures.
    data: Option<Rc<Dataset>>,
    /// What the data are, for those who go on from a checkpoint.
    mark: Option<DataMark>,
    options: &'a RunOptions,
    watch: &'a mut dyn FnMut(&StepRecord) -> bool,
    folder: PathBuf,
    /// Kept by rank 0 only.
    journal: Option<Journal>,
    saver: Saver,
    /// Updates done in this call.
    done: u64,
    /// Some rank's `watch` asked for the end.
    asked: bool,
    /// The limit of some rank is reached.
    enough: bool,
    /// Consecutive updates whose gradient was not finite.
    bad: u64,
    last: Option<StepRecord>,
}

impl Run<'_> {
    fn all(&mut self, saved: Option<(Progress, PathBuf)>) -> Result<Outcome> {
        let phases = self.nets.config.to_train();
        // an earlier stage's time counts towards `max_seconds` too
        let (mut seconds, mut model, mut complete) = (0.0, None, false);
        for &phase in &phases {
            // a checkpoint of a later stage holds what this one has trained
            let saved = saved.as_ref().filter(|(progress, _)| progress.phase >= phase);
            if self.stopped() || saved.is_some_and(|(progress, _)| progress.phase > phase) {
                continue;
            }
            self.options.world.local_work("getting ready");
            let mut stage = self.begin(phase, saved, seconds)?;
            self.train(stage.as_mut())?;
            let all = stage.progress().step >= stage.steps();
            // a limit that falls on the very last step has cut nothing off
            complete = all && phases.last() == Some(&phase);
            self.options.world.local_work("writing the model");
            seconds = stage.progress().seconds;
            // permanent: later stages and the model use the averages of a finished stage
            stage.swap_ema();
            model = self.model(phase)?;
        }
        self.saver.wait()?;
        // a launcher may end all ranks as soon as one has ended: none leaves before rank 0 has written everything
        self.options.world.any([false])?;
        let ending = match (self.asked, self.enough) {
            _ if complete => Ending::Finished,
            (true, _) => Ending::Asked,
            (false, true) => Ending::Limit,
            (false, false) => Ending::Finished,
        };
        Ok(Outcome { folder: self.folder.clone(), model, ending, last: self.last.clone() })
    }

    fn stopped(&self) -> bool {
        self.asked || self.enough
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
            Phase::Clip => {
                let feed = self.feed(ClipTrainer::order_seed(&self.nets), Want::Pictures)?;
                Box::new(ClipTrainer::new(&self.nets, feed, world)?)
            }
            Phase::Prior => {
                let feed = self.feed(PriorTrainer::order_seed(&self.nets), Want::Pictures)?;
                Box::new(PriorTrainer::new(&self.nets, feed, world)?)
            }
            Phase::Denoiser => {
                let feed = self.feed(self.nets.config.seed, Want::Tokens)?;
                Box::new(DenoiserTrainer::new(&self.nets, feed, world)?)
            }
        };
        match saved {
            Some((progress, folder)) => {
                for (name, vars) in self.kept(phase) {
                    let file = folder.join(format!("{name}.safetensors"));
                    weights::load(vars, &file, &Rules::default())
                        .map_err(|error| unreadable(error, folder))?;
                }
                let read = |file: &&'static str| Ok((*file, checkpoint::read(folder, file)?));
                let state: State = stage.files().iter().map(read).collect::<Result<_>>()?;
                let stream = checkpoint::read_text(folder, STREAM).unwrap_or_default(); // pictures in memory leave no such file
                stage.restore(&state, progress, &stream, &folder.display().to_string())?;
            }
            None => stage.add_seconds(seconds), // a checkpoint holds them already
        }
        Ok(stage)
    }

    /// The pictures for a stage.
    fn feed(&self, seed: u64, want: Want) -> Result<Feed> {
        let config = &self.nets.config.data;
        match (&self.data, &config.source, &config.stream) {
            (Some(data), _, _) => Feed::memory(data.clone(), seed)?.augmented(&config.augment),
            (None, Source::Scenes(scenes), None) => Ok(Feed::fresh(scenes, config.size)),
            _ => Ok(Feed::stream(&self.nets, seed, want)?.until(self.options.asked)),
        }
    }

    fn train(&mut self, stage: &mut dyn Stage) -> Result<()> {
        let (policy, world) = (self.nets.config.train.save.clone(), self.options.world.clone());
        let mut saved_at = Instant::now();
        while !self.stopped() && stage.progress().step < stage.steps() {
            world.at_step(stage.progress().step);
            let record = match stage.step(&self.nets) {
                // alone: other ranks may be ahead, so that there is no common step to go on from
                Err(e) if e == stream::stopped() && stage.shell().waits() && world.size() == 1 => {
                    self.asked = true;
                    return self.save(stage);
                }
                step => step?,
            };
            world.local_work("writing its log and pictures");
            self.after(&record)?;
            self.look(stage, record.step)?;
            let due_by_clock =
                policy.minutes > 0.0 && saved_at.elapsed().as_secs_f64() >= policy.minutes * 60.0;
            // clocks and signals differ between ranks: agree on one decision
            let late;
            [self.asked, self.enough, late] = world.any([self.asked, self.enough, due_by_clock])?;
            // the last step too: a stage that follows starts from there
            let due = record.step.is_multiple_of(policy.every) || record.step == stage.steps();
            if self.stopped() || late || due {
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
        let mut weights: Vec<Tensor> =
            kept.iter().flat_map(|(_, vars)| weights::named(vars, false).into_values()).collect();
        weights.extend(stage.trained_beside());
        // A checkpoint that cannot go on must not push out one that can.
        if let Some(what) =
            kept.iter().find_map(|(_, vars)| weights::broken(&weights::named(vars, false)))
        {
            let what = format!("the training has diverged at step {}: {what}", progress.step);
            let hint = "nothing was written; go on from the last checkpoint with a lower `lr` or a longer `warmup`";
            return Err(Error::model(what, self.folder.display().to_string(), hint));
        }
        // Ranks that drifted apart would train on, each its own model, and only one of them would be saved.
        world.same(&weights, &format!("{} step {}", progress.phase, progress.step))?;
        let stream = stage.stream().map(|own| world.gather(&own)).transpose()?; // each rank reads its own shards
        world.local_work("writing a checkpoint");
        match world.is_first() {
            true => self.saver.save(self.snapshot(stage, stream)),
            false => Ok(()),
        }
    }

    /// Writes a sheet of pictures if one is due, made with the averaged weights.
    fn look(&mut self, stage: &mut dyn Stage, step: u64) -> Result<()> {
        let every = self.nets.config.train.log.samples_every;
        let Some(journal) = &mut self.journal else { return Ok(()) }; // other ranks draw no pictures
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
                "{} in a row without a finite gradient, the last at step {}",
                counted(most, "update"),
                record.step
            );
            let hint = "resume from the last checkpoint with a lower `lr` or a longer `warmup`";
            return Err(Error::model(what, self.folder.display().to_string(), hint));
        }
        let go_on = (self.watch)(record); // false: a signal has come, or a person asked for the end
        // seconds count over all resumed parts, steps of this call alone
        let late = self.options.max_seconds.is_some_and(|limit| record.seconds >= limit);
        let enough = self.options.max_steps.is_some_and(|limit| self.done >= limit);
        self.asked = !go_on;
        self.enough = late || enough;
        self.last = Some(record.clone());
        Ok(())
    }

    /// A snapshot of the current state. `stream` holds each rank's position in the stream.
    fn snapshot(&self, stage: &dyn Stage, stream: Option<Vec<String>>) -> Snapshot {
        let progress = Progress { data: self.mark, ..stage.progress() };
        let networks = self.kept(progress.phase);
        let weights = networks.into_iter().map(|(name, vars)| (name, copied(vars)));
        Snapshot {
            tensors: weights.chain(stage.state()).collect(),
            config: config::to_ron(&self.nets.config),
            texts: stream.map(|parts| (STREAM, parts.concat())).into_iter().collect(),
            progress,
        }
    }

    /// The networks that a checkpoint of this stage holds.
    fn kept(&self, phase: Phase) -> Vec<(&'static str, &nn::VarStore)> {
        let names = networks(&self.nets.config, phase);
        self.nets.all_vars().into_iter().filter(|(name, _)| names.contains(name)).collect()
    }

    /// Writes the model folder, unless the denoiser is still to be trained.
    ///
    /// Errors: weights that are not finite in the 16 bits of a model's files.
    fn model(&self, phase: Phase) -> Result<Option<PathBuf>> {
        // half of a model cannot be opened
        if phase < Phase::Denoiser && self.nets.config.stages.contains(&Phase::Denoiser) {
            return Ok(None);
        }
        let model = self.folder.join("model");
        // in 16 bits: a weight above 65,504 is finite in training and infinite in the file
        let broken = |(name, vars)| {
            Some(format!("{name}: {}", weights::broken(&weights::named(vars, true))?))
        };
        if let Some(what) = self.nets.all_vars().into_iter().find_map(broken) {
            let what = format!(
                "no model is written, because the training has diverged: {what} in 16 bits"
            );
            let hint = "go on from an earlier checkpoint with a lower `lr` or a longer `warmup`";
            return Err(Error::model(what, self.folder.display().to_string(), hint));
        }
        if self.options.world.is_first() {
            self.nets.save(&model, true)?;
            let own = self.data.as_ref().filter(|_| captions::are_kept(&self.nets.config));
            let all =
                own.map(|data| captions::of(data, &self.nets.config.data)).unwrap_or_default();
            captions::write(&model, &all).map_err(|e| unwritable(&model, &e))?;
        }
        Ok(Some(model))
    }
}

/// A copy of the current weights on the CPU.
fn copied(vars: &nn::VarStore) -> Named {
    // a thread writes it while training moves the weights
    let named = weights::named(vars, false);
    named.into_iter().map(|(name, xs)| (name, torch::copied(&xs))).collect()
}
