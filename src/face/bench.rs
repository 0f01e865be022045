//! `paella bench`: speed and memory of a config's networks and loader, measured at once or by request.
#![allow(clippy::print_stdout)]

use super::common::{Common, count, device, tell_sizes};
use super::terminal::Terminal;
use crate::bench::{Bench, BenchPiece, PieceSpeed, SamplingSpeed, SamplingWay, Training, load};
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
    /// The config of a run, such as configs/paella-v3-1gpu.ron; its weights do not count
    config: PathBuf,
    /// Pictures of a training step, several sizes after commas; 16 if nothing else is named
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    train: Vec<i64>,
    /// Pictures of a sampling run, several sizes after commas; 1 if nothing else is named
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    sample: Vec<i64>,
    /// Pictures that the tokenizer encodes at once, several sizes after commas
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    encode: Vec<i64>,
    /// Pictures that the tokenizer decodes at once, several sizes after commas
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    decode: Vec<i64>,
    /// Texts that the text encoder reads at once, several sizes after commas
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    text: Vec<i64>,
    /// Pictures to read from the config's shards as training does
    #[arg(long, value_name = "N", value_parser = count)]
    load: Option<usize>,
    /// Training steps and runs that are timed
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = count)]
    times: usize,
    /// Write traces of one step and one run here, for chrome://tracing, and list the longest kernels
    #[arg(long, value_name = "DIR")]
    profile: Option<PathBuf>,
    /// Take requests from standard input, one a line: `train N TIMES` (`recompute` behind it keeps no activations), `sample N TIMES` (`plain` behind it launches kernel by kernel), `encode N TIMES`, `decode N TIMES`, `text N TIMES`, `profile N DIR`, `release`
    #[arg(long, conflicts_with_all = ["train", "sample", "encode", "decode", "text", "load", "profile", "times"])]
    serve: bool,
}

/// Measure, and tell each thing as soon as it is known.
///
/// Errors: a config that is not sound; a device or memory that is not there.
pub fn run(args: &BenchArgs, common: &Common) -> Result<()> {
    let pieces = [
        (BenchPiece::Encode, &args.encode),
        (BenchPiece::Decode, &args.decode),
        (BenchPiece::Text, &args.text),
    ];
    let named = pieces.iter().map(|(_, sizes)| *sizes).chain([&args.train, &args.sample]);
    let named: Vec<i64> = named.flatten().copied().collect();
    if named.iter().any(|n| !(1..=1 << 16).contains(n)) {
        return Err(Error::command("sizes are 1 to 65536", "bench", "--train 16,32 --sample 1,16"));
    }
    let config = RunConfig::read(&args.config)?;
    if let Some(pictures) = args.load {
        tell(&json!({ "load": load(&config, pictures)? }), common.json);
        if named.is_empty() && args.profile.is_none() {
            return Ok(());
        }
    }
    tell_sizes(&config);
    let mut bench = Bench::new(&config, device(common)?)?;
    let (parameters, flops) = bench.size();
    if args.serve {
        say(&json!({ "ready": true, "parameters": parameters, "flops": flops }));
        return serve(&mut bench);
    }
    let usual = named.is_empty() && args.profile.is_none();
    for &n in if usual { &[16][..] } else { &args.train } {
        tell(&train(&bench.train(n as usize, args.times)?), common.json);
    }
    bench.release()?;
    for &n in if usual { &[1][..] } else { &args.sample } {
        for way in [SamplingWay::Plain, SamplingWay::Replayed] {
            tell(&sample(&bench.sample(n, args.times, way)?), common.json);
        }
    }
    for (what, sizes) in pieces {
        for &n in sizes {
            tell(&piece(&bench.piece(what, n, args.times)), common.json);
        }
    }
    if let Some(folder) = &args.profile {
        let n = args.train.first().copied().unwrap_or(16);
        tell(&profile(&bench.profile(n as usize, folder)?, folder), common.json);
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
        let hint = "train N TIMES [recompute], sample N TIMES [plain], encode N TIMES, decode N TIMES, text N TIMES, \
             profile N DIR, release";
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
        [what, n, times] => {
            let what = BenchPiece::named(what).ok_or_else(wrong)?;
            Ok(piece(&bench.piece(what, number(n)? as i64, number(times)?)))
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

fn piece(measured: &PieceSpeed) -> Value {
    json!({ "piece": measured })
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
