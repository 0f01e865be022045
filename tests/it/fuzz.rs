//! Seeded random inputs of every kind that people bring: 10,000 of them, no panic, no hang, nothing lost without a word.
//!
//! The kinds: lines at the prompt, configs, tar archives, safetensors, pickles, and messages between the processes of a
//! notebook. Each starts from a sound input, so that the damage gets past the first check. What comes out of an input that
//! is taken is compared with what is in it.

mod messages;
mod weights;

use paella::config::{self, RunConfig};
use paella::lab::watch::Watch;
use paella::lab::{Lab, Origin, args};
use paella::metrics::StepRecord;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;
use tch::Device;

use crate::configs::shipped;
use crate::data::odd::read as both_readers;
use crate::data::{gzip, png};
use crate::train::exclusive;

const LINES: u64 = 2_000;
const CONFIGS: u64 = 1_500;
const ARCHIVES: u64 = 1_500;
const SAFETENSORS: u64 = 1_500;
const PICKLES: u64 = 1_500;
const MESSAGES: u64 = 2_000;
const _: () = assert!(
    LINES + CONFIGS + ARCHIVES + SAFETENSORS + PICKLES + MESSAGES == 10_000,
    "as the head of this file says"
);

/// Longest time for one input. Most take milliseconds; the machine may be busy.
const LIMIT: Duration = Duration::from_secs(60);

/// Hands out seeds one by one, and tells that the input before is done.
struct Seeds {
    rest: Range<u64>,
    beat: Sender<u64>,
}

impl Iterator for Seeds {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let seed = self.rest.next()?;
        let _ = self.beat.send(seed);
        Some(seed)
    }
}

/// Does `work` on `count` seeds in a thread of its own. It fails with the panic of `work`, or with the seed whose input takes
/// longer than `limit`.
fn fuzz_within(limit: Duration, count: u64, work: impl FnOnce(Seeds) + Send + 'static) {
    let (beat, beats) = channel();
    let thread = std::thread::spawn(move || work(Seeds { rest: 0..count, beat }));
    let mut last = None;
    loop {
        match beats.recv_timeout(limit) {
            Ok(seed) => last = Some(seed),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => panic!("seed {last:?} takes longer than {limit:?}"),
        }
    }
    if let Err(panic) = thread.join() {
        eprintln!("at seed {last:?}");
        std::panic::resume_unwind(panic);
    }
    assert_eq!(last, Some(count - 1), "all of them were tried");
}

fn fuzz(count: u64, work: impl FnOnce(Seeds) + Send + 'static) {
    fuzz_within(LIMIT, count, work);
}

#[test]
#[should_panic(expected = "seed Some(3) takes longer than")]
fn fuzz_finds_an_input_that_hangs() {
    fuzz_within(Duration::from_millis(300), 9, |seeds| {
        for seed in seeds {
            std::thread::sleep(Duration::from_secs(if seed == 3 { 3 } else { 0 }));
        }
    });
}

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
    fuzz(LINES, |seeds| {
        let folder = tempfile::tempdir().unwrap();
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/smoke.ron");
        let mut lab = Lab::new(Origin::Config(config), Device::Cpu).unwrap();
        lab.runs_in(folder.path());
        let names: Vec<&str> = lab.commands().iter().map(|command| command.name).collect();
        let keys: Vec<&str> =
            lab.commands().iter().flat_map(|command| command.keys).copied().collect();
        // these write files, read other models or end the session: their lines are only taken apart
        let apart = ["save", "load", "export", "quit", "data"];
        let runs: Vec<&str> = names.iter().copied().filter(|name| !apart.contains(name)).collect();
        let (mut done, mut refused) = (0, 0);
        for seed in seeds {
            let rng = || ChaCha8Rng::seed_from_u64(seed);
            take_apart(&mut lab, &line(&mut rng(), &names, &keys));
            let line = line(&mut rng(), &runs, &keys);
            take_apart(&mut lab, &line);
            let before = (lab.status().1, lab.workspace().picture().is_ok());
            match lab.turn(&line, &mut Hurried) {
                Ok(_) => done += 1,
                Err(error) => {
                    refused += 1;
                    let error = error.to_string();
                    assert!(!error.contains("internal error"), "{line:?}: {error}");
                    // a failed command loses nothing
                    let after = (lab.status().1, lab.workspace().picture().is_ok());
                    assert_eq!(before, after, "{line:?}");
                }
            }
        }
        assert!(done > LINES / 20 && refused > LINES / 20, "{done} done, {refused} refused");
    });
}

/// Parses and completes a line. A line that is taken has lost no letter of its words.
fn take_apart(lab: &mut Lab, line: &str) {
    if let Ok(Some((name, args))) = args::parse(line) {
        let pairs = args.pairs.iter().flat_map(|(key, value)| [key, value]);
        let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).count();
        let parts: usize = args.words.iter().chain(pairs).chain([&name]).map(|s| letters(s)).sum();
        assert_eq!(parts, letters(&args.line), "{line:?}: {args:?}");
    }
    let cut = line.char_indices().nth(line.chars().count() / 2).map_or(0, |(byte, _)| byte);
    let found = lab.complete(&line[..cut]);
    assert!(line.is_char_boundary(found.start), "{line:?}");
}

#[test]
fn fuzz_configs_are_faults_with_a_place_or_can_be_printed_again() {
    fuzz(CONFIGS, configs);
}

fn configs(seeds: Seeds) {
    let all: Vec<String> =
        shipped().iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let (mut sound, mut refused) = (0, 0);
    for seed in seeds {
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
    fuzz(ARCHIVES, archives);
}

fn archives(seeds: Seeds) {
    let pictures: Vec<Vec<u8>> = (0..4).map(png).collect();
    for seed in seeds {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // several archives that are joined: their keys repeat, within one they do not
        let (mut bytes, mut put_in) = (Vec::new(), 0);
        let packed = rng.random_bool(0.3);
        for _ in 0..rng.random_range(1..4) {
            let mut units = Vec::new();
            for (i, picture) in pictures.iter().take(rng.random_range(1..4)).enumerate() {
                put_in += sample(&mut rng, i, picture, &mut units);
            }
            for i in 0..units.len() {
                let other = rng.random_range(i..units.len());
                units.swap(i, other);
            }
            let own = archive(units.into_iter().flatten());
            bytes.extend(if packed { gzip(&own) } else { own });
        }
        let (samples, left_out) = both_readers(&bytes);
        let counted: u64 = left_out.values().sum();
        assert_eq!(samples.len() as u64 + counted, put_in, "seed {seed}: {left_out:?}");
    }
}

/// A file of an archive.
struct Entry {
    name: Vec<u8>,
    data: Vec<u8>,
    /// Whether it is a hard link, and whether its name stands in a PAX header.
    link: bool,
    pax: bool,
}

/// Adds the files of a sample, some of them spoiled or odd. What stands in one unit stays together. Returns the number of
/// samples and counts that they give.
fn sample(rng: &mut ChaCha8Rng, i: usize, picture: &[u8], units: &mut Vec<Vec<Entry>>) -> u64 {
    let (mut picture, json) = (picture.to_vec(), rng.random_bool(0.3));
    let mut text = match json {
        true => format!("{{\"caption\": \"text {i}\"}}").into_bytes(),
        false => format!("text {i}").into_bytes(),
    };
    let spoiled = if rng.random_bool(0.5) { &mut picture } else { &mut text };
    match rng.random_range(0..4) {
        0 => spoiled.truncate(rng.random_range(0..spoiled.len())),
        1 => {
            let at = rng.random_range(0..spoiled.len());
            spoiled[at] ^= 1 << rng.random_range(0..8u8);
        }
        2 => spoiled.extend(one_of(rng, &ODD).as_bytes()),
        _ => {}
    }
    let long = "long/".repeat(50);
    let too_long = "d/".repeat(2500);
    let keys: [&[u8]; 8] =
        [b"", b"", b"a.", b"sub/", b"x.y/", b"caf\xe8", long.as_bytes(), too_long.as_bytes()];
    let key = keys[rng.random_range(0..keys.len())];
    let pax = rng.random_bool(0.2);
    let entry = |ending: &str, data: Vec<u8>| Entry {
        name: [key, format!("{i}.{ending}").as_bytes()].concat(),
        data,
        link: false,
        pax,
    };
    let ending = one_of(rng, &["png", "PNG", "apng"]);
    let own = [entry(ending, picture.clone()), entry(if json { "json" } else { "txt" }, text)];
    let too_long = key.len() > 4096;
    match rng.random_range(0..10) {
        _ if too_long => {
            units.extend(own.map(|entry| vec![entry]));
            2 // each file
        }
        // more than one picture
        0 => {
            units.push(own.into_iter().chain([entry("jpg", picture)]).collect());
            1
        }
        // a link instead of a picture
        1 => {
            let [picture, text] = own;
            units.push(vec![Entry { link: true, data: Vec::new(), ..picture }, text]);
            1
        }
        // a picture of a kind without a decoder beside the other
        2 => {
            units.extend(own.into_iter().chain([entry("tif", picture)]).map(|entry| vec![entry]));
            2
        }
        // a hidden picture
        3 => {
            let name = format!("sub/.{i}.png").into_bytes();
            units.push(vec![Entry { name, data: picture, link: false, pax }]);
            units.extend(own.map(|entry| vec![entry]));
            2
        }
        // two captions
        4 => {
            let again = entry(if json { "json" } else { "txt" }, b"another".to_vec());
            let [picture, text] = own;
            units.push(vec![text, again, picture]);
            1
        }
        _ => {
            units.extend(own.map(|entry| vec![entry]));
            1
        }
    }
}

/// A tar archive of the files.
fn archive(files: impl Iterator<Item = Entry>) -> Vec<u8> {
    let mut shard = tar::Builder::new(Vec::new());
    for Entry { name, data, link, pax } in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        let path = match pax {
            true => {
                shard.append_pax_extensions([("path", name.as_slice())]).unwrap();
                Path::new("short")
            }
            false => Path::new(OsStr::from_bytes(&name)),
        };
        match link {
            true => {
                header.set_entry_type(tar::EntryType::Link);
                shard.append_link(&mut header, path, "0.png").unwrap();
            }
            false => shard.append_data(&mut header, path, data.as_slice()).unwrap(),
        }
    }
    shard.into_inner().unwrap()
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
