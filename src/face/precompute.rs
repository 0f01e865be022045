//! `paella precompute`: computes tokens and text vectors of a stream before training.

use super::common::{self, Common, tell_sizes};
use super::progress;
use super::signals::{end_on_interrupt, stop_on_signals, stopped_code};
use super::terminal::printable;
use crate::config::RunConfig;
use crate::error::{Result, counted};
use crate::lab::watch::stop_asked;
use crate::precompute::{self, Made, PrecomputeOptions};
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub struct Precompute {
    /// A config that names `data.stream` and `weights.tokenizer`
    config: PathBuf,
    /// Folder for the new shards; those that are there stay
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Also the captions' vectors, of a frozen text encoder
    #[arg(long)]
    text: bool,
    /// This process makes part I (from 0) of N
    #[arg(long, value_name = "I/N", default_value = "0/1", value_parser = part)]
    part: (usize, usize),
}

fn part(text: &str) -> std::result::Result<(usize, usize), String> {
    let numbers = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    numbers.filter(|(i, n)| i < n).ok_or_else(|| "such as 0/8 to 7/8".into())
}

/// `paella precompute`. Returns the exit code, as `train` does.
pub fn precompute(args: &Precompute, common: &Common) -> Result<u8> {
    end_on_interrupt();
    let faults = |config: &RunConfig| {
        [config.check(), precompute::look(config, args.text)].concat() // before anything is built
    };
    let mut config = RunConfig::read_with(&args.config, faults)?;
    if let Some(name) = &common.device {
        config.device = name.parse()?;
    }
    let (out, asked) = (args.out.clone(), Some(stop_asked as fn() -> bool));
    let options = PrecomputeOptions { out, text: args.text, part: args.part, asked };
    precompute::check(&config, &options)?;
    tell_sizes(&config);
    let nets = precompute::networks(&config, &options, config.device.open()?)?;
    stop_on_signals();
    let made = precompute::run(&nets, &options, &mut |made| {
        if !common.json && made.broken.is_empty() && (made.shards + made.before).is_multiple_of(10)
        {
            let text = format!(
                "{}, {}",
                counted(made.shards + made.before, "shard"),
                counted(made.samples, "sample")
            );
            progress::print(std::io::stdout(), &text);
        }
        !stop_asked()
    })?;
    common::answer(&summary(&made, args, common.json))?;
    made.check()?;
    Ok(if stop_asked() { stopped_code() } else { 0 })
}

fn summary(made: &Made, args: &Precompute, json: bool) -> String {
    let Made { shards, samples, before, broken, skipped, .. } = made;
    if json {
        let all = serde_json::json!({
            "shards": shards, "samples": samples, "before": before, "broken": broken, "skipped": skipped
        });
        return format!("{all}\n");
    }
    let mut text = format!(
        "{} of {} made, {before} there before: {}\n",
        counted(shards, "shard"),
        counted(samples, "sample"),
        printable(&args.out.display().to_string())
    );
    skipped.iter().for_each(|(why, n)| text += &format!("  {n} left out: {why}\n"));
    if !broken.is_empty() {
        text += &format!("  not made: shards {broken:?}\n");
    }
    if shards + before > 0 {
        let all = args.out.join("*.tar");
        let all = all.display();
        text += &format!("  train on them: `data.stream.shards: [\"{all}\"]`, without `filter`\n");
    }
    text
}
