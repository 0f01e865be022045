//! Options that every subcommand accepts, and the session they describe.
#![allow(clippy::print_stdout)]

use super::terminal::Terminal;
use crate::course;
use crate::device::DeviceChoice;
use crate::error::{Error, Result};
use crate::lab::{Lab, Origin};
use clap::Args;
use std::path::PathBuf;

/// What every subcommand understands.
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

/// A session on the requested model, else on the first shipped one.
pub fn lab(common: &Common) -> Result<Lab> {
    let origin = match &common.model {
        Some(name) => Origin::find(name)?,
        None => Origin::first()?,
    };
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

/// Prints an error, as text or as JSON.
pub fn report(error: &Error, json: bool) {
    if json {
        let fault = |f: &crate::Fault| serde_json::json!({ "error": f.what, "in": f.place, "hint": f.hint });
        let faults: Vec<_> = error.faults().iter().map(fault).collect();
        println!("{}", serde_json::json!({ "errors": faults }));
    } else {
        Terminal::detect().error(error);
    }
}
