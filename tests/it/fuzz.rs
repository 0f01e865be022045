//! Seeded random inputs of every kind that people bring: 10,000 of them, no panic, no hang, nothing lost without a word.
//!
//! The kinds: lines at the prompt, configs, tar archives, safetensors and pickles. Each starts from a sound input, so that
//! the damage gets past the first check. Messages of a notebook are in `paella-wire`'s own tests.

use paella::config::{self, RunConfig};
use paella::lab::watch::Watch;
use paella::lab::{Lab, Origin, args};
use paella::metrics::StepRecord;
use paella::weights;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::Path;
use tch::Device;

use crate::configs::shipped;
use crate::data::odd::read as both_readers;
use crate::data::{gzip, png, tar};
use crate::train::exclusive;
use crate::weights::{Pt, named};

const LINES_READ: u64 = 2_700;
const LINES_RUN: u64 = 300;
const CONFIGS: u64 = 2_500;
const ARCHIVES: u64 = 1_500;
const SAFETENSORS: u64 = 1_500;
const PICKLES: u64 = 1_500;
const _: () = assert!(
    LINES_READ + LINES_RUN + CONFIGS + ARCHIVES + SAFETENSORS + PICKLES == 10_000,
    "as the head of this file says"
);

/// Stops whatever it watches after its first step.
struct Hurried;

impl Watch for Hurried {
    fn record(&mut self, _record: &StepRecord, _progress: Option<(u64, u64)>) {}
    fn note(&mut self, _text: &str) {}
    fn stop(&self) -> bool {
        true
    }
}

fn one_of<'a>(rng: &mut ChaCha8Rng, all: &[&'a str]) -> &'a str {
    all[rng.random_range(0..all.len())]
}

/// Letters that parsers stumble over.
const ODD: [&str; 20] = [
    "\"",
    "'",
    "\\",
    "#",
    "  # ",
    "=",
    "\0",
    "\u{1b}[2J",
    "\u{feff}",
    "é",
    "🍎",
    "\u{202e}",
    "%",
    "{}",
    "..",
    "~",
    "-",
    "1e999",
    "NaN",
    "18446744073709551616",
];

/// Words of commands and numbers, some of them spoiled.
fn line(rng: &mut ChaCha8Rng, commands: &[&str], keys: &[&str]) -> String {
    let mut line = one_of(rng, commands).to_string();
    for _ in 0..rng.random_range(0..5) {
        let number =
            one_of(rng, &["0", "1", "3", "-1", "0.5", "2.5", "1e308", "1:3", "0.5..2", "inf"]);
        let word = match rng.random_range(0..6) {
            0 => number.to_string(),
            1 => format!("{}={number}", one_of(rng, keys)),
            2 => one_of(rng, keys).to_string(),
            3 => one_of(rng, &ODD).to_string(),
            4 => format!("\"a {} b", one_of(rng, &ODD)),
            _ => one_of(rng, &["fox", "red apple", "train.optim.lr", "sample.steps", "loss"])
                .to_string(),
        };
        line = format!("{line} {word}");
    }
    if rng.random_bool(0.3) {
        let at = rng.random_range(0..=line.chars().count());
        let byte = line.char_indices().nth(at).map_or(line.len(), |(byte, _)| byte);
        line.insert_str(byte, one_of(rng, &ODD));
    }
    line
}

#[test]
fn fuzz_lines_at_the_prompt_give_a_view_or_an_error() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/smoke.ron");
    let mut lab = Lab::new(Origin::Config(config), Device::Cpu).unwrap();
    lab.runs_in(folder.path());
    let names: Vec<&str> = lab.commands().iter().map(|command| command.name).collect();
    let keys: Vec<&str> = lab.commands().iter().flat_map(|command| command.keys).copied().collect();
    for seed in 0..LINES_READ {
        let line = line(&mut ChaCha8Rng::seed_from_u64(seed), &names, &keys);
        let _ = args::parse(&line);
        let cut = line.char_indices().nth(line.chars().count() / 2).map_or(0, |(byte, _)| byte);
        let found = lab.complete(&line[..cut]);
        assert!(line.is_char_boundary(found.start), "{line:?}");
    }
    // these write files, read other models or end the session; their arguments are read above
    let runs: Vec<&str> = names
        .into_iter()
        .filter(|name| !["save", "load", "export", "quit", "data"].contains(name))
        .collect();
    for seed in 0..LINES_RUN {
        let line = line(&mut ChaCha8Rng::seed_from_u64(seed), &runs, &keys);
        let (steps, pictures) = (lab.status().1, lab.workspace().picture().is_ok());
        if let Err(error) = lab.turn(&line, &mut Hurried) {
            let error = error.to_string();
            assert!(!error.contains("internal error"), "{line:?}: {error}");
            // a failed command loses nothing
            assert_eq!(
                (lab.status().1, lab.workspace().picture().is_ok()),
                (steps, pictures),
                "{line:?}"
            );
        }
    }
}

#[test]
fn fuzz_configs_are_faults_with_a_place_or_can_be_printed_again() {
    let all: Vec<String> =
        shipped().iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let (mut sound, mut refused) = (0, 0);
    for seed in 0..CONFIGS {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut text = all[rng.random_range(0..all.len())].clone();
        for _ in 0..rng.random_range(1..4) {
            if text.is_empty() {
                break;
            }
            let start = rng.random_range(0..text.len());
            let Some(at) = (start..text.len()).find(|&at| text.is_char_boundary(at)) else {
                continue;
            };
            match rng.random_range(0..4) {
                0 => text.insert_str(at, one_of(&mut rng, &ODD)),
                1 => drop(text.remove(at)),
                // another number in place of the next one
                2 => {
                    let Some(from) = text[at..].find(|c: char| c.is_ascii_digit()) else {
                        continue;
                    };
                    let rest = &text[at + from..];
                    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                    let number = one_of(
                        &mut rng,
                        &["0", "-1", "2147483648", "9223372036854775807", "1e308"],
                    );
                    text.replace_range(at + from..at + from + end, number);
                }
                _ => text.truncate(at),
            }
        }
        match config::parse::<RunConfig>(&text, "some.ron") {
            Err(faults) => {
                refused += 1;
                assert!(!faults.is_empty() && faults.iter().all(|f| !f.place.is_empty()), "{text}");
            }
            Ok((config, _)) => {
                sound += 1;
                let _ = config.check();
                let printed = config::to_ron(&config);
                let again = config::parse::<RunConfig>(&printed, "printed");
                assert_eq!(again.unwrap().0, config, "{printed}");
            }
        }
    }
    assert!(sound > CONFIGS / 10 && refused > CONFIGS / 10, "{sound} sound, {refused} refused");
}

#[test]
fn fuzz_archives_give_as_many_samples_and_reasons_as_were_put_in() {
    let pictures: Vec<Vec<u8>> = (0..4).map(png).collect();
    for seed in 0..ARCHIVES {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let count = rng.random_range(1..4);
        let mut files: Vec<(String, Vec<u8>)> = Vec::new();
        for (i, picture) in pictures.iter().take(count).enumerate() {
            let mut picture = picture.clone();
            let mut text = format!("text {i}").into_bytes();
            let spoiled = if rng.random_bool(0.5) { &mut picture } else { &mut text };
            match rng.random_range(0..4) {
                0 => spoiled.truncate(rng.random_range(0..spoiled.len())),
                1 => {
                    let at = rng.random_range(0..spoiled.len());
                    spoiled[at] ^= 1 << rng.random_range(0..8u8);
                }
                2 => spoiled.extend(one_of(&mut rng, &ODD).as_bytes()),
                _ => {}
            }
            let key = one_of(&mut rng, &["", "a.", "sub/", "x.y/"]);
            let ending = one_of(&mut rng, &["png", "PNG", "apng"]);
            files.push((format!("{key}{i}.{ending}"), picture));
            files.push((format!("{key}{i}.txt"), text));
        }
        let (samples, left_out) = both_readers(&archive(&mut rng, &files));
        let counted: u64 = left_out.values().sum();
        assert_eq!(samples.len() as u64 + counted, count as u64, "seed {seed}: {left_out:?}");
    }
}

/// An archive of the files, two of a sample: in any order, as two archives that are joined, compressed.
fn archive(rng: &mut ChaCha8Rng, files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (first, second) = files.split_at(2 * rng.random_range(0..=files.len() / 2));
    let packed = rng.random_bool(0.3);
    let mut bytes = Vec::new();
    for part in [first, second].into_iter().filter(|part| !part.is_empty()) {
        let mut part: Vec<(&str, &[u8])> =
            part.iter().map(|(name, data)| (name.as_str(), data.as_slice())).collect();
        for i in 0..part.len() {
            let other = rng.random_range(i..part.len());
            part.swap(i, other);
        }
        let own = tar(&part);
        bytes.extend(if packed { gzip(&own) } else { own });
    }
    bytes
}

/// Flips, cuts or enlarges some bytes.
fn spoil(rng: &mut ChaCha8Rng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..bytes.len().max(1));
        match rng.random_range(0..6) {
            0 => bytes.truncate(at.max(1)),
            1 => bytes.insert(at, rng.random_range(0..=255u8)),
            _ => bytes[at] = rng.random_range(0..=255u8),
        }
    }
}

/// Reads a spoiled file of weights. Returns whether it could still be read.
fn readable(path: &Path, seed: u64) -> bool {
    match weights::read(path) {
        Ok(_) => true,
        Err(error) => {
            let error = error.to_string();
            assert!(error.contains(&path.display().to_string()), "seed {seed}: {error}");
            false
        }
    }
}

#[test]
fn fuzz_safetensors_are_read_or_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    weights::write(&path, &named(|name| name.into())).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let mut read = 0;
    for seed in 0..SAFETENSORS {
        let mut bytes = whole.clone();
        spoil(&mut ChaCha8Rng::seed_from_u64(seed), &mut bytes);
        std::fs::write(&path, bytes).unwrap();
        read += u64::from(readable(&path, seed));
    }
    assert!((1..SAFETENSORS).contains(&read), "{read}");
}

#[test]
fn fuzz_pickles_are_read_or_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.pt");
    let mut pt = Pt::default();
    let program = pt.tensors("");
    let mut read = 0;
    for seed in 0..PICKLES {
        // the program inside, since the archive's own checksums would refuse nearly everything else
        let mut program = program.clone();
        spoil(&mut ChaCha8Rng::seed_from_u64(seed), &mut program);
        pt.write(&path, &program, &[]);
        read += u64::from(readable(&path, seed));
    }
    assert!((1..PICKLES).contains(&read), "{read}");
}
