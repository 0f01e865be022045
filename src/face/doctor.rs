//! `paella doctor`: what is installed, what is missing, and how to get it; with `--weights`, the same of weights.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use super::terminal::{Pictures, Terminal};
use super::weights::shortened;
use crate::config::RunConfig;
use crate::data::assets::assets_dir;
use crate::device::driver::{Driver, dotted};
use crate::device::{free_memory, gpu_name, meminfo};
use crate::error::{Error, Result, counted, size};
use crate::lab::model::shipped_models;
use crate::near::no_folder;
use crate::published::examine::{Examined, WeightsState, examine};
use crate::published::{self, MODELS};
use clap::Args;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct DoctorArgs {
    /// Look at the released weights in this folder, or at those of a model folder, instead
    #[arg(long, value_name = "DIR")]
    weights: Option<PathBuf>,
    /// The config whose networks they have to fit; alone: the files that its `weights` name
    #[arg(long, value_name = "CONFIG")]
    config: Option<PathBuf>,
}

/// The result of one check.
struct Finding {
    what: &'static str,
    found: String,
    /// What to do if something is missing. Empty if all is well.
    remedy: String,
    /// Whether the program needs it to work at all.
    needed: bool,
}

/// Runs all checks and prints the findings.
///
/// Errors: something required is missing.
pub fn run(args: &DoctorArgs, json: bool) -> Result<()> {
    if args.weights.is_some() || args.config.is_some() {
        return weights(args, json);
    }
    let findings = findings();
    if json {
        let row = |f: &Finding| serde_json::json!({ "what": f.what, "found": f.found, "remedy": f.remedy });
        println!("{}", serde_json::Value::Array(findings.iter().map(row).collect()));
    } else {
        let width = findings.iter().map(|f| f.what.len()).max().unwrap_or(0);
        for f in &findings {
            let mark = match (f.remedy.is_empty(), f.needed) {
                (true, _) => "ok     ",
                (false, true) => "MISSING",
                (false, false) => "note   ",
            };
            println!("{mark}  {:<width$}  {}", f.what, f.found);
            if !f.remedy.is_empty() {
                println!("{:>width$}  {}", "", f.remedy, width = width + 9);
            }
        }
    }
    let missing: Vec<&str> =
        findings.iter().filter(|f| f.needed && !f.remedy.is_empty()).map(|f| f.what).collect();
    match missing.as_slice() {
        [] => Ok(()),
        names => Err(Error::device(
            format!("missing: {}", names.join(", ")),
            "paella doctor",
            "see the lines above",
        )),
    }
}

/// `paella doctor --weights DIR`: which files are there, whole, and fit their networks.
///
/// Errors: one that is not.
fn weights(args: &DoctorArgs, json: bool) -> Result<()> {
    let folder = args.weights.as_deref();
    if let Some(folder) = folder.filter(|folder| !crate::data::home(folder).is_dir()) {
        return Err(no_folder(folder));
    }
    let own = folder.map(|folder| folder.join("config.ron")).filter(|path| path.is_file());
    let config = match args.config.as_ref().or(own.as_ref()) {
        Some(path) => RunConfig::read(path)?,
        None => published::config(),
    };
    let all = examine(folder, &config)?;
    if json {
        println!("{}", serde_json::Value::Array(all.iter().map(row).collect()));
    } else {
        all.iter().for_each(|one| println!("{}", line(one)));
    }
    let fits = |one: &&Examined| matches!(one.state, WeightsState::Fits { .. });
    let wrong: Vec<&str> =
        all.iter().filter(|one| !fits(one)).map(|one| one.network.name()).collect();
    let place = match (folder, &args.config) {
        (Some(folder), _) => folder.display().to_string(),
        (None, config) => config.iter().map(|path| path.display().to_string()).collect(),
    };
    match (all.is_empty(), wrong.as_slice()) {
        (true, _) => {
            let hint = "give a folder: `paella doctor --weights DIR`";
            Err(Error::checkpoint("the config names no weights", place, hint))
        }
        (_, []) => Ok(()),
        (_, names) => {
            let what = format!("weights that cannot be used: {}", names.join(", "));
            let hint =
                format!("`paella pull {}` brings the released ones into weights/", MODELS[0]);
            Err(Error::checkpoint(what, place, hint))
        }
    }
}

fn line(one: &Examined) -> String {
    let (mark, what) = match &one.state {
        WeightsState::Fits { bytes, tensors } => {
            ("ok     ", format!("{}, {}", size(*bytes as f64), counted(tensors, "tensor")))
        }
        WeightsState::Missing => ("MISSING", "not there".into()),
        WeightsState::Broken { what, hint } => ("BROKEN ", format!("{what}: {hint}")),
        WeightsState::Other { faults, .. } => {
            let count = counted(faults.len(), "name");
            ("OTHER  ", format!("whole, of another network: {count}: {}", shortened(faults)))
        }
    };
    format!("{mark}  {:<9}  {}: {what}", one.network.name(), one.file.display())
}

fn row(one: &Examined) -> serde_json::Value {
    let (found, complete, loads) = match &one.state {
        WeightsState::Fits { .. } => (true, true, true),
        WeightsState::Missing => (false, false, false),
        WeightsState::Broken { .. } => (true, false, false),
        WeightsState::Other { .. } => (true, true, false),
    };
    let mut row = serde_json::json!({
        "network": one.network.name(), "file": one.file, "found": found, "complete": complete, "loads": loads,
    });
    match &one.state {
        WeightsState::Fits { bytes, tensors } => {
            row["bytes"] = (*bytes).into();
            row["tensors"] = (*tensors).into();
        }
        WeightsState::Other { bytes, faults } => {
            row["bytes"] = (*bytes).into();
            row["wrong"] = faults.clone().into();
        }
        WeightsState::Broken { what, hint } => {
            row["wrong"] = vec![what.clone(), hint.clone()].into()
        }
        WeightsState::Missing => {}
    }
    row
}

fn findings() -> Vec<Finding> {
    let fine = |what, found: String| Finding { what, found, remedy: String::new(), needed: false };
    let gpus = crate::device::gpus();
    let driver = Driver::here();
    let mut all = vec![
        fine("program", format!("paella {}", env!("CARGO_PKG_VERSION"))),
        libtorch(),
        cuda(gpus, &driver),
    ];
    all.extend((0..gpus as usize).filter_map(gpu_name).map(|name| fine("card", name)));
    all.extend(driver.version.as_ref().map(|version| fine("driver", version.clone())));
    all.extend(driver.nccl.map(nccl));
    all.extend([fine(
        "threads",
        format!(
            "{} for one operation, {} processors",
            tch::get_num_threads(),
            std::thread::available_parallelism().map_or(1, |n| n.get())
        ),
    )]);
    all.extend(memory().map(|found| fine("memory", found)));
    all.push(assets());
    let models = shipped_models();
    all.push(Finding {
        what: "models",
        found: if models.is_empty() { "none shipped here".into() } else { models.join(", ") },
        remedy: if models.is_empty() { "`paella train configs/emoji-32.ron` makes one; `paella --model configs/smoke.ron` plays with an untrained one".into() } else { String::new() },
        needed: false,
    });
    let terminal = Terminal::detect();
    all.push(fine(
        "pictures",
        match terminal.pictures {
            Pictures::Pixels => "in this terminal as pixels".into(),
            Pictures::Blocks => "in this terminal as half blocks".into(),
            Pictures::Files => {
                "as files only: standard output is no terminal, or NO_COLOR is set".into()
            }
        },
    ));
    all
}

fn cuda(gpus: i64, driver: &Driver) -> Finding {
    let known = |cuda: Option<i32>| cuda.map_or("none".into(), dotted);
    let found = match gpus {
        0 => "no GPU that libtorch can use: the CPU does the work".into(),
        n => format!(
            "{n} GPU{}, cuDNN {}, libtorch built for CUDA {}, driver for {}",
            if n == 1 { "" } else { "s" },
            tch::Cuda::cudnn_is_available(),
            known(driver.built_for),
            known(driver.cuda),
        ),
    };
    let remedy = if gpus == 0 { driver.remedy() } else { String::new() };
    Finding { what: "CUDA", found, remedy, needed: false }
}

/// NCCL, and whether this program can speak it.
fn nccl(version: i32) -> Finding {
    let found = format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100);
    let library = crate::torch::cuda_library();
    let there = Path::new(&library).is_file();
    let remedy = if there {
        String::new()
    } else {
        "this program was built without it: several GPUs need `make setup` under PAELLA_LIBTORCH=cuda, then `make build`".into()
    };
    let found = if there { format!("{found} ({library})") } else { found };
    Finding { what: "NCCL", found, remedy, needed: false }
}

/// Adds two numbers with libtorch, and finds the library file that did it.
fn libtorch() -> Finding {
    let works = std::panic::catch_unwind(|| (tch::Tensor::from(1i64) + 1).int64_value(&[]) == 2)
        .unwrap_or(false);
    let file = loaded("libtorch_cpu");
    let place = file.unwrap_or_else(|| "linked into the program".into());
    Finding {
        what: "libtorch",
        found: format!("{} ({place})", crate::torch::version()),
        remedy: if works {
            String::new()
        } else {
            "it does not compute: `make setup` fetches it again".into()
        },
        needed: true,
    }
}

/// Path of a loaded shared library. Linux only.
fn loaded(name: &str) -> Option<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let path =
        maps.lines().filter_map(|line| line.split_once('/').map(|(_, rest)| format!("/{rest}")));
    path.into_iter().find(|path| path.contains(name))
}

/// Free and total memory. Linux only.
fn memory() -> Option<String> {
    let gib = |bytes: usize| bytes as f64 / f64::from(1 << 30);
    Some(format!("{:.1} GiB free of {:.1}", gib(free_memory()?), gib(meminfo("MemTotal:")?)))
}

fn assets() -> Finding {
    let (found, remedy) = match assets_dir() {
        Ok(dir) => {
            let lacking: Vec<&str> =
                ["emoji", "fashion"].into_iter().filter(|name| !dir.join(name).is_dir()).collect();
            let remedy = match lacking.as_slice() {
                [] => String::new(),
                names => {
                    format!("{} not there: take the folder from the repository", names.join(", "))
                }
            };
            (dir.display().to_string(), remedy)
        }
        Err(error) => (error.faults()[0].what.clone(), error.faults()[0].hint.clone()),
    };
    Finding { what: "data", found, remedy, needed: true }
}
