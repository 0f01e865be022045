//! `paella bench`: speed and memory of a denoiser, measured at once or by request.
#![allow(clippy::print_stdout)]

use super::common::{Common, count, device, tell_sizes};
use super::terminal::Terminal;
use crate::bench::{Bench, SamplingSpeed, SamplingWay, Training};
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::lab::view::View;
use crate::torch::profile::KernelTime;
use clap::Args;
use serde_json::{Value, json};
use std::io::{BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct BenchArgs {
    /// The config of a run, such as configs/paella-v3-1gpu.ron; only its denoiser, precision and sampling count
    config: PathBuf,
    /// Pictures of a training step, several sizes after commas
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_value = "16")]
    train: Vec<usize>,
    /// Pictures of a sampling run, several sizes after commas
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_value = "1")]
    sample: Vec<i64>,
    /// Training steps and sampling runs that are timed
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = count)]
    times: usize,
    /// Write traces of one step and one run here, for chrome://tracing, and list the longest kernels
    #[arg(long, value_name = "DIR")]
    profile: Option<PathBuf>,
    /// Take requests from standard input, one a line: `train N TIMES` (`recompute` behind it keeps no activations), `sample N TIMES` (`plain` behind it launches kernel by kernel), `profile N DIR`, `release`
    #[arg(long, conflicts_with_all = ["train", "sample", "profile", "times"])]
    serve: bool,
}

/// Measure, and tell each thing as soon as it is known.
///
/// Errors: a config that is not sound; a device or memory that is not there.
pub fn run(args: &BenchArgs, common: &Common) -> Result<()> {
    let sizes = args.train.iter().map(|n| *n as i64).chain(args.sample.iter().copied());
    if sizes.into_iter().any(|n| !(1..=1 << 16).contains(&n)) {
        return Err(Error::command("sizes are 1 to 65536", "bench", "--train 16,32 --sample 1,16"));
    }
    let config = RunConfig::read(&args.config)?;
    tell_sizes(&config);
    let mut bench = Bench::new(&config, device(common)?)?;
    let (parameters, flops) = bench.size();
    if args.serve {
        say(&json!({ "ready": true, "parameters": parameters, "flops": flops }));
        return serve(&mut bench);
    }
    for &n in &args.train {
        tell(&train(&bench.train(n, args.times)?), common.json);
    }
    bench.release()?;
    for &n in &args.sample {
        for way in [SamplingWay::Plain, SamplingWay::Replayed] {
            tell(&sample(&bench.sample(n, args.times, way)?), common.json);
        }
    }
    if let Some(folder) = &args.profile {
        let n = args.train.first().copied().unwrap_or(1);
        tell(&profile(&bench.profile(n, folder)?, folder), common.json);
    }
    Ok(())
}

/// Answer requests until there are no more; one that fails is answered with its error.
fn serve(bench: &mut Bench) -> Result<()> {
    for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = catch_unwind(AssertUnwindSafe(|| answer(bench, &words)));
        let answer = match answer {
            Ok(Ok(value)) => value,
            Ok(Err(error)) => json!({ "error": error.to_string() }),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                json!({ "error": text.lines().next().unwrap_or("libtorch gave up") })
            }
        };
        if answer.get("error").is_some() {
            let _ = catch_unwind(AssertUnwindSafe(|| bench.release()));
        }
        say(&answer);
    }
    Ok(())
}

fn answer(bench: &mut Bench, words: &[&str]) -> Result<Value> {
    let wrong = || {
        let hint = "train N TIMES [recompute], sample N TIMES [plain], profile N DIR, release";
        Error::command(format!("`{}` is no request", words.join(" ")), "bench --serve", hint)
    };
    let number = |text: &str| {
        text.parse::<usize>().ok().filter(|n| (1..=1 << 16).contains(n)).ok_or_else(wrong)
    };
    match words {
        ["train", n, times, how @ ..] if matches!(how, [] | ["recompute"]) => {
            bench.recompute(!how.is_empty())?;
            Ok(train(&bench.train(number(n)?, number(times)?)?))
        }
        ["sample", n, times, how @ ..] if matches!(how, [] | ["plain"]) => {
            let way = if how.is_empty() { SamplingWay::Replayed } else { SamplingWay::Plain };
            Ok(sample(&bench.sample(number(n)? as i64, number(times)?, way)?))
        }
        ["profile", n, folder] => {
            Ok(profile(&bench.profile(number(n)?, Path::new(folder))?, Path::new(folder)))
        }
        ["release"] => bench.release().map(|()| json!({ "released": true })),
        _ => Err(wrong()),
    }
}

fn train(measured: &Training) -> Value {
    json!({ "train": measured })
}

fn sample(measured: &SamplingSpeed) -> Value {
    json!({ "sample": measured })
}

fn profile([train, sample]: &[Vec<KernelTime>; 2], folder: &Path) -> Value {
    json!({ "profile": { "train": train, "sample": sample, "folder": folder } })
}

fn say(value: &Value) {
    println!("{value}");
    let _ = std::io::stdout().flush(); // a pipe is not written line by line
}

/// One measurement as JSON or as a table.
fn tell(value: &Value, json: bool) {
    if json {
        return say(value);
    }
    let mut view = View::new();
    for (what, fields) in value.as_object().into_iter().flatten() {
        let rows: Vec<Vec<String>> = match what.as_str() {
            "profile" => {
                ["train", "sample"].iter().flat_map(|of| kernels(of, &fields[of])).collect()
            }
            _ => fields.as_object().into_iter().flatten().map(row).collect(),
        };
        view = view.table(&[what.as_str(), ""], rows).text("");
    }
    Terminal::detect().show(&view);
}

fn row((name, value): (&String, &Value)) -> Vec<String> {
    let text = match (name.as_str(), value.as_f64()) {
        ("memory", Some(bytes)) => format!("{:.2} GiB", bytes / (1u64 << 30) as f64),
        ("mfu", Some(share)) => format!("{:.1} %", 100.0 * share),
        (_, Some(number)) if number.fract() != 0.0 => format!("{number:.2}"),
        _ => value.as_str().map_or_else(|| value.to_string(), String::from),
    };
    vec![name.replace('_', " "), text]
}

fn kernels(of: &str, all: &Value) -> Vec<Vec<String>> {
    let one = |k: &Value| {
        let ms = k["ms"].as_f64().unwrap_or_default();
        let name: String = k["name"].as_str().unwrap_or_default().chars().take(90).collect();
        vec![format!("{of}: {name}"), format!("{ms:.2} ms in {} calls", k["calls"])]
    };
    all.as_array().into_iter().flatten().map(one).collect()
}
