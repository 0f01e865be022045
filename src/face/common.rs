//! Options that every subcommand accepts, and the session they describe.

use super::terminal::Terminal;
use crate::config::RunConfig;
use crate::course;
use crate::device::DeviceChoice;
use crate::error::{Error, Result, shell_word};
use crate::lab::{Lab, Origin};
use clap::Args;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Options that stand before or behind any subcommand. `flags` says on which of them each acts.
#[derive(Args, Clone, Default)]
pub struct Common {
    /// A shipped model, a model folder, or a config file for an untrained model
    #[arg(long, global = true, value_name = "NAME|DIR|CONFIG")]
    pub model: Option<String>,
    /// auto, cpu, cuda or cuda:N; for `plan` a kind of card
    #[arg(long, global = true, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Start chance from this number
    #[arg(long, global = true, value_name = "N")]
    pub seed: Option<u64>,
    /// Folder for the pictures that are shown
    #[arg(long, global = true, value_name = "DIR")]
    pub runs: Option<PathBuf>,
    /// Answer in JSON, for programs
    #[arg(long, global = true)]
    pub json: bool,
}

/// Environment variables that carry these options to a session started by another program.
const VARIABLES: [&str; 4] = ["PAELLA_MODEL", "PAELLA_DEVICE", "PAELLA_SEED", "PAELLA_RUNS"];

impl Common {
    /// The names of these options.
    pub(super) const OPTIONS: [&str; 5] = ["model", "device", "seed", "runs", "json"];

    /// Reads the options from the environment, for a process without arguments of its own.
    ///
    /// Errors: PAELLA_SEED is not a number.
    pub fn from_env() -> Result<Self> {
        let [model, device, seed, runs] =
            VARIABLES.map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        let number = |text: String| {
            let fault =
                || Error::command(format!("{text:?} is no seed"), VARIABLES[2], "a whole number");
            text.parse().map_err(|_| fault())
        };
        let seed = seed.map(number).transpose()?;
        Ok(Self { model, device, seed, runs: runs.map(PathBuf::from), json: false })
    }

    /// The variables that `from_env` of another process reads.
    pub(super) fn to_env(&self) -> Vec<(&'static str, String)> {
        let runs = self.runs.as_ref().map(|folder| folder.display().to_string());
        let values =
            [self.model.clone(), self.device.clone(), self.seed.map(|n| n.to_string()), runs];
        VARIABLES.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// The requested device, else the default one.
pub fn device(common: &Common) -> Result<tch::Device> {
    common.device.as_deref().map_or(Ok(DeviceChoice::Auto), str::parse)?.open()
}

/// Says that the networks of a config have the default sizes, before they are built. Nothing is printed for others.
pub(super) fn tell_sizes(config: &RunConfig) {
    if let Some(text) = config.sizes_left_out() {
        super::progress::print(std::io::stderr(), text);
    }
}

/// A session on the requested model, else on the first shipped one.
pub fn lab(common: &Common) -> Result<Lab> {
    let origin = match &common.model {
        Some(name) => Origin::find(name)?,
        None => Origin::first()?,
    };
    if let Origin::Config(file) = &origin {
        tell_sizes(&RunConfig::read(file)?);
    }
    let mut lab = Lab::new(origin, device(common)?)?;
    course::join(&mut lab);
    if let Some(seed) = common.seed {
        lab.seed(seed);
    }
    if let Some(folder) = &common.runs {
        lab.runs_in(folder);
    }
    Ok(lab)
}

/// The same, with other draws at each call unless `--seed` names some.
pub fn lab_by_chance(common: &Common) -> Result<Lab> {
    let mut lab = lab(common)?;
    if common.seed.is_none() {
        lab.seed_at_random();
    }
    Ok(lab)
}

/// Reads a number of things, at least one.
pub fn count(text: &str) -> std::result::Result<usize, String> {
    let fits = |n: &usize| (1..=1 << 20).contains(n);
    text.parse().ok().filter(fits).ok_or_else(|| "a number from 1 to 1048576".into())
}

/// A line of the shell that calls this program as it was called, with other arguments.
pub fn pasted(words: &[impl AsRef<str>]) -> String {
    let program = std::env::args().next().map_or_else(|| "paella".into(), |path| nearby(&path));
    let words = words.iter().map(|word| shell_word(word.as_ref()));
    std::iter::once(shell_word(&program)).chain(words).collect::<Vec<_>>().join(" ")
}

/// The shortest name by which a shell in this folder finds the program.
fn nearby(program: &str) -> String {
    let path = Path::new(program);
    let (name, here) = (path.file_name().unwrap_or_default(), std::env::current_dir());
    let same = |other: &Path| {
        other.canonicalize().ok().is_some_and(|a| path.canonicalize().is_ok_and(|b| a == b))
    };
    let searched = std::env::var_os("PATH").unwrap_or_default();
    let first =
        std::env::split_paths(&searched).map(|dir| dir.join(name)).find(|file| file.is_file());
    if first.is_some_and(|file| same(&file)) {
        return name.to_string_lossy().into_owned();
    }
    match here.ok().and_then(|here| path.strip_prefix(here).ok()) {
        Some(below) if below.components().count() > 1 => below.display().to_string(),
        Some(below) => format!("./{}", below.display()),
        None => program.into(),
    }
}

/// Prints the answer of a command that took long. A reader that has gone hears nothing.
///
/// Errors: the output cannot be written, such as on a full disk.
pub fn answer(text: &str) -> Result<()> {
    let mut to = std::io::stdout();
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(unwritable(&e)),
        _ => Ok(()),
    }
}

/// The error of an output that cannot be written.
pub(super) fn unwritable(e: &std::io::Error) -> Error {
    let hint = "is the disk full that it goes to?";
    Error::command(format!("the output cannot be written: {e}"), "standard output", hint)
}

/// The error for a panic whose cause is outside of this program: an output that cannot be written, memory that is not
/// there. None for others.
pub fn outside_cause(panic: &str, place: &str) -> Option<Error> {
    if let Some(why) = panic.strip_prefix("failed printing to stdout: ") {
        return Some(unwritable(&std::io::Error::other(why.to_string())));
    }
    Error::of_full_memory(panic, place)
}

/// Prints an error: as text, or as JSON where that can be written.
pub fn report(error: &Error, json: bool) {
    let fault =
        |f: &crate::Fault| serde_json::json!({ "error": f.what, "in": f.place, "hint": f.hint });
    let faults: Vec<_> = error.faults().iter().map(fault).collect();
    let written = json && answer(&format!("{}\n", serde_json::json!({ "errors": faults }))).is_ok();
    if !written {
        Terminal::detect().error(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_full_memory_are_no_faults_of_this_program() {
        let full = "failed printing to stdout: No space left on device (os error 28)";
        let error = outside_cause(full, "paella").expect("known").to_string();
        assert!(error.contains("cannot be written: No space left"), "{error}");
        let memory = "called `Result::unwrap()` on an `Err` value: Torch(\"[enforce fail at alloc_cpu.cpp:124] err == 0. \
                      DefaultCPUAllocator: can't allocate memory: you tried to allocate 4398046511104 bytes.\")";
        let error = outside_cause(memory, "paella").expect("known").to_string();
        assert!(error.starts_with("out of memory: 4398.0 GB were asked for"), "{error}");
        assert!(outside_cause("index out of bounds", "paella").is_none());
    }
}
