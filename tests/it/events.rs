//! TensorBoard event files, read back with an independent reader.

use crate::train::{exclusive, smoke};
use paella::metrics::StepRecord;
use paella::train::events::Events;
use paella::train::{self, Resume, RunOptions};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// CRC-32C bit by bit, masked as the format requires.
fn checksum(data: &[u8]) -> u32 {
    let mut crc = !0u32;
    for &byte in data {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    let crc = !crc;
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The events of a file. Every checksum must be right.
fn records(path: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).unwrap();
    let (mut at, mut found) = (0, Vec::new());
    while at < bytes.len() {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        assert_eq!(u32_at(&bytes, at + 8), checksum(&bytes[at..at + 8]));
        let data = &bytes[at + 12..at + 12 + length];
        assert_eq!(u32_at(&bytes, at + 12 + length), checksum(data));
        found.push(data.to_vec());
        at += 16 + length;
    }
    found
}

/// The fields of a message: number -> values, numbers as bits and others as bytes.
fn fields(mut data: &[u8]) -> BTreeMap<u64, Vec<(u64, Vec<u8>)>> {
    let varint = |data: &mut &[u8]| {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = data[0];
            *data = &data[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    };
    let mut found: BTreeMap<u64, Vec<(u64, Vec<u8>)>> = BTreeMap::new();
    while !data.is_empty() {
        let key = varint(&mut data);
        let length = match key & 7 {
            0 => {
                found.entry(key >> 3).or_default().push((varint(&mut data), vec![]));
                continue;
            }
            1 => 8,
            2 => varint(&mut data) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        let (value, rest) = data.split_at(length);
        let bits = value.iter().take(8).rev().fold(0, |bits, &byte| bits << 8 | u64::from(byte));
        found.entry(key >> 3).or_default().push((bits, value.to_vec()));
        data = rest;
    }
    found
}

/// (step, tag -> value) of the events that hold numbers.
fn scalars(path: &Path) -> Vec<(u64, BTreeMap<String, f32>)> {
    let event = |data: &Vec<u8>| {
        let event = fields(data);
        let summary = fields(&event.get(&5)?[0].1);
        let value = |(_, value): &(u64, Vec<u8>)| {
            let value = fields(value);
            let tag = String::from_utf8(value[&1][0].1.clone()).unwrap();
            Some((tag, f32::from_bits(value.get(&2)?[0].0 as u32)))
        };
        Some((event[&2][0].0, summary[&1].iter().filter_map(value).collect()))
    };
    records(path).iter().filter_map(event).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn numbers_and_pictures_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut events = Events::open(folder.path(), 300).unwrap();
    let record = StepRecord {
        step: 300,
        loss: 2.5,
        took: 0.25,
        accuracy_by_t: vec![Some(0.75), None],
        mfu: Some(0.5),
        memory: Some(1 << 30),
        ..StepRecord::default()
    };
    events.record(&record).unwrap();
    events.picture("samples", 300, &image::RgbImage::new(5, 3)).unwrap();
    let file = files(folder.path()).remove(0);
    assert!(file.file_name().unwrap().to_str().unwrap().starts_with("events.out.tfevents."));
    let all = records(&file);
    assert_eq!(fields(&all[0])[&3][0].1, b"brain.Event:2");
    let start = fields(&all[1]);
    assert_eq!((start[&2][0].0, fields(&start[&7][0].1)[&1][0].0), (300, 1), "a purge at 300");
    let (step, values) = scalars(&file).remove(0);
    assert_eq!(step, 300);
    for (tag, value) in [
        ("loss", 2.5),
        ("speed/step_s", 0.25),
        ("speed/mfu", 0.5),
        ("memory_gib", 1.0),
        ("accuracy_by_t/0.0-0.5", 0.75),
    ] {
        assert_eq!(values.get(tag), Some(&value), "{tag}");
    }
    assert!(!values.contains_key("accuracy_by_t/0.5-1.0"));
    let summary = fields(&fields(&all[3])[&5][0].1);
    let picture = fields(&fields(&summary[&1][0].1)[&4][0].1);
    assert_eq!((picture[&1][0].0, picture[&2][0].0), (3, 5));
    let decoded = image::load_from_memory(&picture[&4][0].1).unwrap();
    assert_eq!((decoded.width(), decoded.height()), (5, 3));
}

#[test]
fn a_resumed_run_goes_on_in_a_file_of_its_own() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let mut config = smoke(4, 6);
    config.train.log.tensorboard = true;
    config.train.log.samples_every = 3;
    let mut losses = Vec::new();
    for _ in 0..2 {
        let options = RunOptions {
            out: Some(folder.path().into()),
            resume: Resume::Auto,
            max_steps: Some(7),
            ..RunOptions::default()
        };
        let watch = &mut |record: &StepRecord| {
            losses.push((record.phase.clone(), record.step, record.loss as f32));
            true
        };
        train::run(&config, &options, watch).unwrap_or_else(|e| panic!("{e}"));
    }
    let read = |phase: &str| -> Vec<(String, u64, f32)> {
        let files = files(&folder.path().join("tensorboard").join(phase));
        let all = files.iter().flat_map(|file| scalars(file));
        all.filter_map(|(step, values)| Some((phase.into(), step, *values.get("loss")?))).collect()
    };
    assert_eq!([read("tokenizer"), read("denoiser")].concat(), losses);
    let denoiser = files(&folder.path().join("tensorboard/denoiser"));
    assert_eq!(denoiser.len(), 2);
    let start = fields(&records(&denoiser[1])[1]);
    assert_eq!((start[&2][0].0, fields(&start[&7][0].1)[&1][0].0), (4, 1), "what it goes on with");
}
