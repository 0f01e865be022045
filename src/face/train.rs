//! `paella train`: a single process, or one of the processes of a launcher.

use super::common::{self, Common, tell_sizes};
use super::progress::{self, ProgressLine};
use super::signals::{end_on_interrupt, stop_on_signals, stopped_code};
use super::terminal::printable;
use crate::checkpoint;
use crate::config::{self, RunConfig};
use crate::data::stream;
use crate::dist::{LastWord, Launch, World};
use crate::error::{Error, Fault, Result, no_option};
use crate::files;
use crate::lab::watch::{Watch, stop_asked};
use crate::metrics::StepRecord;
use crate::train::{self, Ending, Outcome, Resume, RunOptions};
use clap::Args;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What `train --help` says about exit codes.
const CODES: &str = "\
Exit codes: 0 finished, or stopped where --steps or --minutes says; 1 failed; 2 wrong arguments; 128 + N stopped by signal N \
with a checkpoint: 129 SIGHUP, 130 Ctrl-C, 138 SIGUSR1, 141 the reader of the output has gone, 143 SIGTERM.";

#[derive(Args)]
#[command(after_help = CODES)]
pub struct TrainArgs {
    /// The config of the run, such as configs/emoji-32.ron
    config: PathBuf,
    /// Go on from the newest checkpoint in the folder; with `auto`, from the newest that is whole, or begin where there is
    /// none
    #[arg(long, value_name = "auto", num_args = 0..=1, default_missing_value = "latest")]
    resume: Option<ResumeFrom>,
    /// The run's folder [default: runs/NAME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Stop with a checkpoint after M minutes of training
    #[arg(long, value_name = "M", value_parser = minutes)]
    minutes: Option<f64>,
    /// Stop with a checkpoint after N steps of this call
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    steps: Option<u64>,
    /// Another value for a field of the config, such as train.steps=3000; may be given several times
    #[arg(long, value_name = "FIELD=VALUE", value_parser = change)]
    set: Vec<(String, String)>,
    /// Data or weights that lay at or below FROM lie at TO now; the run goes on with them; may be given several times
    #[arg(long, value_name = "FROM=TO", value_parser = two_places)]
    moved: Vec<String>,
}

fn two_places(text: &str) -> std::result::Result<String, String> {
    let (from, to) = text.split_once('=').unwrap_or_default();
    let both = !from.trim().is_empty() && !to.trim().is_empty();
    if both { Ok(text.into()) } else { Err("two places with `=` between them".into()) }
}

fn change(text: &str) -> std::result::Result<(String, String), String> {
    let (field, value) = text.split_once('=').ok_or("two parts with `=` between them")?;
    Ok((field.trim().into(), value.trim().into()))
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum ResumeFrom {
    /// There must be one
    Latest,
    /// Begin where there is none
    Auto,
}

fn minutes(text: &str) -> std::result::Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "a number of minutes".to_string())?;
    if number > 0.0 && number.is_finite() { Ok(number) } else { Err("more than 0 minutes".into()) }
}

/// `paella train`: runs as one rank if a launcher started this process with others, else alone. Returns the exit code.
pub fn train(args: &TrainArgs, common: &Common) -> Result<u8> {
    end_on_interrupt(); // there is nothing to save before the first step
    if args.config.exists() && !args.config.is_file() && !args.config.is_dir() {
        let what = "a run goes on from its config later, and a pipe is read only once";
        let hint = "write it to a file first";
        return Err(Error::command(what, args.config.display().to_string(), hint));
    }
    let config = match args.moved.is_empty() {
        true => RunConfig::read(&args.config).map_err(|error| or_moved(error, args, common))?,
        false => RunConfig::read_with(&args.config, |_| Vec::new())?, // the old places may be gone
    };
    let mut config = changed(config, args)?;
    let moves: Vec<_> =
        args.moved.iter().filter_map(|text| config::move_of(text, &config)).collect();
    let faults = config.moved(&moves).check();
    if !faults.is_empty() {
        return Err(or_moved(Error::Config(faults), args, common));
    }
    if let Some(name) = &common.device {
        config.device = name.parse()?;
    }
    config.seed = common.seed.unwrap_or(config.seed);
    let launch = Launch::from_env(|name| std::env::var(name).ok())?;
    let world =
        launch.as_ref().map_or_else(|| Ok(World::solo()), |launch| join(launch, &config))?;
    if world.is_first() {
        tell_sizes(&config);
    }
    let options = RunOptions {
        out: args.out.clone(),
        resume: match args.resume {
            None => Resume::No,
            Some(ResumeFrom::Auto) => Resume::Auto,
            Some(ResumeFrom::Latest) => Resume::Must,
        },
        max_seconds: args.minutes.map(|m| m * 60.0),
        max_steps: args.steps,
        moved: moves,
        note: Some(note),
        ready: Some(stop_on_signals),
        asked: Some(stop_asked),
        world: world.clone(),
    };
    let json = common.json;
    let watched = world.watch(stop_asked, move |last| leave(&last, json));
    let outcome = watched.and_then(|()| run(&config, &options, json));
    let outcome = outcome.map_err(|error| end(&world, or_moved(error, args, common), json))?;
    if world.is_first() {
        report(&outcome, &advice(args, common, &args.moved, launch.is_some()), json)?;
    }
    Ok(if outcome.ending == Ending::Asked { stopped_code() } else { 0 })
}

/// Joins the other ranks. Says so at once, since it may take long.
fn join(launch: &Launch, config: &RunConfig) -> Result<World> {
    let Launch { rank, size, host, port, .. } = launch;
    note(&format!(
        "rank {rank} of {size} waits for the others at {host}:{port}, for {} s at most",
        config.dist.timeout_s
    ));
    World::join(launch, &config.dist, config.device.open()?)
}

fn note(text: &str) {
    progress::print(std::io::stderr(), text);
}

/// The config with the values of `--set`, not checked.
///
/// Errors: fields that are not there; values that do not fit.
fn changed(config: RunConfig, args: &TrainArgs) -> Result<RunConfig> {
    let set = |config, (field, value): &(String, String)| config::set(&config, field, value);
    Ok(args.set.iter().try_fold(config, set)?)
}

/// The error of a run that goes on, with the line for data or weights that have moved, if some are not there.
fn or_moved(error: Error, args: &TrainArgs, common: &Common) -> Error {
    let config = || changed(RunConfig::read_with(&args.config, |_| Vec::new())?, args);
    let places = || config().ok()?.gone();
    let goes_on = args.resume.is_some() && args.moved.is_empty();
    let Some(gone) = goes_on.then(places).flatten() else { return error };
    let line = advice(args, common, &[format!("{gone}=NEW")], false);
    error.map(|fault| {
        let semicolon = if fault.hint.is_empty() { "" } else { "; " };
        let hint = format!("{}{semicolon}if `{gone}` lies elsewhere now: `{line}`", fault.hint);
        Fault { hint, ..fault }
    })
}

/// Runs the training. Rank 0 shows the progress, and at the end of each stage what was left out.
fn run(config: &RunConfig, options: &RunOptions, json: bool) -> Result<Outcome> {
    let mut progress = options.world.is_first().then(|| ProgressLine::new(json));
    let (mut last, mut noted) = (StepRecord::default(), BTreeSet::new());
    let outcome = train::run(config, options, &mut |record| {
        if let Some(progress) = &mut progress {
            if record.phase != last.phase {
                tell_lost(progress, &last);
                *progress = ProgressLine::new(json);
            }
            for (why, n) in &record.skipped_samples {
                if noted.insert(why.clone()) {
                    progress.note(&format!("{n} left out: {why}"));
                }
            }
            progress.record(record, None);
            last.clone_from(record);
        }
        !stop_asked()
    });
    if let Some(progress) = &mut progress {
        tell_lost(progress, &last);
    }
    outcome
}

/// Says how many samples a stage left out, up to this record of it.
fn tell_lost(progress: &mut ProgressLine, last: &StepRecord) {
    let all: Vec<String> =
        last.skipped_samples.iter().map(|(why, n)| format!("{n} {why}")).collect();
    if !all.is_empty() {
        progress.note(&format!("{}: left out in all: {}", last.phase, all.join(", ")));
    }
}

/// The error to print. A rank of several ends the process here.
fn end(world: &World, error: Error, json: bool) -> Error {
    if world.size() > 1 {
        let word = world.last_word(&error);
        leave(&LastWord { asked: word.asked || error == stream::stopped(), ..word }, json);
    }
    error
}

/// Time allowed for a checkpoint that is being written.
const WRITING: Duration = Duration::from_secs(60);

/// Ends a rank that failed, or that was asked to stop and cannot wait for the others, from any thread. Prints nothing if
/// another rank reports. Runs no destructors, because the main thread may be stuck in the middle of them.
fn leave(last: &LastWord, json: bool) -> ! {
    tell_launcher(&last.error);
    if last.aloud {
        common::report(&last.error, json);
    }
    checkpoint::settle(WRITING);
    let _ = std::io::stdout().flush();
    let code = if last.asked { libc::c_int::from(stopped_code()) } else { 1 };
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

/// Writes the error to torchrun's error file, which torchrun shows.
fn tell_launcher(error: &Error) {
    let Some(path) = std::env::var_os("TORCHELASTIC_ERROR_FILE") else { return };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let message = serde_json::json!({
        "message": { "message": error.to_string(), "extraInfo": { "timestamp": now.to_string() } }
    });
    let _ = files::write(Path::new(&path), message.to_string().as_bytes());
}

/// Prints how the run ended.
///
/// Errors: the output cannot be written.
fn report(outcome: &Outcome, advice: &str, json: bool) -> Result<()> {
    let finished = outcome.ending == Ending::Finished;
    let model = outcome.model.as_ref().map(|m| m.display().to_string());
    let text = if json {
        let end =
            serde_json::json!({ "finished": finished, "folder": outcome.folder, "model": model });
        format!("{end}\n")
    } else {
        let how = if finished { "finished" } else { "stopped" };
        let model = model.map(|m| {
            let try_it = common::pasted(&["--model", &no_option(&m)]);
            format!("model: {m}\n  try it: {try_it}\n")
        });
        let go_on = if finished { String::new() } else { format!("  go on: {advice}\n") };
        let folder = outcome.folder.display().to_string();
        format!("{how}: {}\n{}{go_on}", printable(&folder), model.unwrap_or_default())
    };
    common::answer(&text)
}

/// The line that goes on with a run that was stopped: the same command, without the limits of this call.
fn advice(args: &TrainArgs, common: &Common, moved: &[String], launched: bool) -> String {
    let mut words = vec!["train".to_string(), no_option(&args.config), "--resume".into()];
    words.extend(matches!(args.resume, Some(ResumeFrom::Auto)).then(|| "auto".into()));
    let mut flag = |name: &str, value: String| words.extend([name.to_string(), value]);
    if let Some(out) = &args.out {
        flag("--out", no_option(out));
    }
    args.set.iter().for_each(|(field, value)| flag("--set", format!("{field}={value}")));
    moved.iter().for_each(|places| flag("--moved", places.clone()));
    if let Some(device) = &common.device {
        flag("--device", device.clone());
    }
    if let Some(seed) = common.seed {
        flag("--seed", seed.to_string());
    }
    words.extend(common.json.then(|| "--json".into()));
    let line = common::pasted(&words);
    if launched { format!("with the same launcher, {line}") } else { line }
}
