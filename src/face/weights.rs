//! `paella convert` and `paella pull`: weights of other programs, and the released ones.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use super::common::Common;
use super::progress::ProgressLine;
use super::terminal::printable;
use crate::config::RunConfig;
use crate::error::{Error, Result, counted, size};
use crate::networks::Network;
use crate::published::convert::{self, ConvertRequest, Converted};
use crate::published::hub::{Fetched, Hub};
use crate::published::{self, MODELS, PAELLA_V3, PublishedFile};
use clap::builder::PossibleValuesParser;
use clap::{Args, builder::TypedValueParser};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Names of tensors that are listed in text; JSON has all.
const LISTED: usize = 20;

/// Reads the name of a network.
fn network() -> impl TypedValueParser<Value = Network> {
    let by_name = |name: String| Network::ALL.into_iter().find(|network| network.name() == name);
    PossibleValuesParser::new(Network::ALL.map(Network::name))
        .try_map(move |name| by_name(name).ok_or("unknown"))
}

#[derive(Args)]
pub struct ConvertArgs {
    /// .pt, .bin, .safetensors, an index of several, or a folder: a model, a checkpoint, a download
    #[arg(value_name = "IN")]
    from: PathBuf,
    /// The .safetensors file to write
    #[arg(value_name = "OUT")]
    to: PathBuf,
    /// The network it has to fit: its names and shapes; without, all tensors are copied as they are
    #[arg(long = "as", value_name = "NETWORK", value_parser = network())]
    network: Option<Network>,
    /// The config with the network's sizes [default: the one beside IN, else the released model's]
    #[arg(long, value_name = "CONFIG", requires = "network")]
    config: Option<PathBuf>,
    /// Take the moving averages (EMA) that lie beside the weights
    #[arg(long, requires = "network")]
    ema: bool,
    /// Store matrices in 8 bits a number, with a factor for each row: half of 16 bits, and nearly the same numbers
    #[arg(long)]
    small: bool,
    /// Replace OUT if it is there
    #[arg(long)]
    replace: bool,
}

#[derive(Args)]
pub struct PullArgs {
    /// The released model
    #[arg(value_name = "MODEL", value_parser = MODELS)]
    released: String,
    /// Folder for links to the files, under the names that the shipped configs use
    #[arg(long, value_name = "DIR", default_value = "weights")]
    to: PathBuf,
    /// Only these networks, with commas between
    #[arg(long, value_name = "NETWORKS", value_delimiter = ',', value_parser = network())]
    only: Vec<Network>,
}

/// `paella convert`: writes weights as .safetensors and says what fitted.
pub fn convert(args: &ConvertArgs, common: &Common) -> Result<()> {
    let request = ConvertRequest {
        network: args.network,
        config: args.config.as_deref().map(RunConfig::read).transpose()?,
        averaged: args.ema,
        replace: args.replace,
        small: args.small,
    };
    let done = convert::convert(&args.from, &args.to, &request)?;
    match common.json {
        true => println!("{}", report(&done, &args.to)),
        false => lines(&done, &args.to).iter().for_each(|line| println!("{}", printable(line))),
    }
    let place = done.from.display().to_string();
    match done.written {
        Some(_) => Ok(()),
        None if done.fit.taken.is_empty() && done.network.is_none() => Err(Error::checkpoint(
            "there are no tensors in it",
            place,
            "is this a file of weights?",
        )),
        None => {
            let network = done.network.map_or("", Network::name);
            let what =
                format!("nothing is written: the weights do not fill the network `{network}`");
            let hint = "another network or size? `--as NETWORK --config CONFIG`; `--json` lists every name";
            Err(Error::checkpoint(what, place, hint))
        }
    }
}

fn lines(done: &Converted, to: &Path) -> Vec<String> {
    let fit = &done.fit;
    let mut lines = Vec::new();
    match done.network {
        Some(network) => {
            let renamed = match fit.renamed() {
                0 => String::new(),
                renamed => format!(", {renamed} under another name"),
            };
            let tensors = counted(fit.taken.len(), "tensor");
            lines.push(format!("matched with the network `{network}`: {tensors}{renamed}"));
        }
        None => lines.push("not compared with a network: `--as NETWORK` does".into()),
    }
    let shapes = fit.misshapen.iter().map(ToString::to_string);
    for (what, names) in [
        ("missing", fit.missing.clone()),
        ("of another shape", shapes.collect()),
        ("not of this network, left out", fit.surplus.clone()),
        ("known and of no use here, left out", fit.ignored.clone()),
        ("lacking, as they may: fresh in training", fit.lacking.clone()),
    ] {
        if !names.is_empty() {
            lines.push(format!("{} {what}: {}", names.len(), shortened(&names)));
        }
    }
    for (group, count) in &fit.beside {
        lines.push(format!("left out beside the weights: {group}, {}", counted(count, "tensor")));
    }
    if let Some((tensors, bytes)) = done.written {
        let (tensors, bytes) = (counted(tensors, "tensor"), size(bytes as f64));
        lines.push(format!("written: {}, {tensors}, {bytes}", to.display()));
    }
    lines
}

/// The first names of a list, and how many more there are.
pub(super) fn shortened(names: &[String]) -> String {
    let first = names.iter().take(LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => first,
        more => format!("{first}, and {more} more: `--json` lists them"),
    }
}

fn report(done: &Converted, to: &Path) -> Value {
    let fit = &done.fit;
    let misshapen = fit.misshapen.iter();
    let misshapen: Vec<Value> = misshapen
        .map(|it| json!({ "name": it.name, "expected": it.expected, "found": it.found }))
        .collect();
    json!({
        "from": done.from,
        "network": done.network.map(Network::name),
        "matched": fit.taken,
        "missing": fit.missing,
        "misshapen": misshapen,
        "surplus": fit.surplus,
        "ignored": fit.ignored,
        "lacking": fit.lacking,
        "beside": fit.beside,
        "written": done.written.map(|(tensors, bytes)| json!({ "file": to, "tensors": tensors, "bytes": bytes })),
    })
}

/// `paella pull`: brings the released weights, and links them where configs look for them.
pub fn pull(args: &PullArgs, common: &Common) -> Result<()> {
    let hub = Hub::from_env()?;
    let wanted = |file: &&PublishedFile| args.only.is_empty() || args.only.contains(&file.network);
    for file in PAELLA_V3.iter().filter(wanted) {
        if !common.json {
            let (licence, repo) = (file.licence, file.repo);
            println!("{}: {} of {repo}, licence {licence}", file.network, file.file);
        }
        let mut progress = ProgressLine::new(common.json);
        let name = file.file;
        let fetched =
            hub.fetch(file.repo, name, &mut |done, all| progress.bytes(name, done, all))?;
        drop(progress);
        let link = args.to.join(file.place);
        let linked = published::link_to(&fetched.path, &link)?;
        match common.json {
            true => println!("{}", brought(file, &fetched, linked.then_some(&link))),
            false => tell(file, &fetched, &link, linked),
        }
    }
    if !common.json {
        let (model, to) = (&args.released, args.to.display());
        println!(
            "in {to}: `paella doctor --weights {to}` looks at them, configs/{model}.ron samples with them"
        );
    }
    Ok(())
}

fn tell(file: &PublishedFile, fetched: &Fetched, link: &Path, linked: bool) {
    let came = match fetched.downloaded {
        0 => "from the cache".into(),
        bytes => format!("{} downloaded", size(bytes as f64)),
    };
    println!("  {}, {came}: {}", size(fetched.bytes as f64), fetched.path.display());
    if let Some(licence) = fetched.licence.as_ref().filter(|told| *told != file.licence) {
        println!("  the hub tells another licence: {}", printable(licence));
    }
    if let Some(why) = &fetched.unasked {
        println!("  not asked for a newer one: {}", printable(why));
    }
    if !linked {
        println!("  {} is another file and stays as it is", link.display());
    }
}

fn brought(file: &PublishedFile, fetched: &Fetched, link: Option<&PathBuf>) -> Value {
    json!({
        "network": file.network.name(),
        "repo": file.repo,
        "file": file.file,
        "licence": fetched.licence.as_deref().unwrap_or(file.licence),
        "bytes": fetched.bytes,
        "downloaded": fetched.downloaded,
        "path": fetched.path,
        "link": link,
        "not_asked": fetched.unasked,
    })
}
