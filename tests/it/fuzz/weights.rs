//! Spoiled files of weights: read in full, or refused by name.

use super::{PICKLES, SAFETENSORS, fuzz, spoil};
use crate::weights::{NUMBERS, Pt, named};
use paella::weights::{self, Named};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use std::path::Path;
use tch::{Kind, Tensor};

/// Reads a spoiled file of weights. None if it is refused, which names the file.
fn read(path: &Path, seed: u64) -> Option<Named> {
    match weights::read(path) {
        Ok(named) => Some(named),
        Err(error) => {
            let error = error.to_string();
            assert!(error.contains(&path.display().to_string()), "seed {seed}: {error}");
            None
        }
    }
}

fn bytes_of(xs: &Tensor) -> Vec<u8> {
    let mut bytes = vec![0; xs.numel() * xs.kind().elt_size_in_bytes()];
    xs.contiguous().f_copy_data_u8(&mut bytes, xs.numel()).unwrap();
    bytes
}

/// Types of safetensors that have one in libtorch.
const TYPES: [(&str, Kind); 10] = [
    ("F32", Kind::Float),
    ("F64", Kind::Double),
    ("F16", Kind::Half),
    ("BF16", Kind::BFloat16),
    ("I64", Kind::Int64),
    ("I32", Kind::Int),
    ("I16", Kind::Int16),
    ("I8", Kind::Int8),
    ("U8", Kind::Uint8),
    ("BOOL", Kind::Bool),
];

/// Checks that all tensors of the file were read, as its header says: type, shape and bytes.
fn is_all_of(file: &[u8], named: &Named, seed: u64) {
    let (length, rest) = file.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header: serde_json::Map<String, Value> = serde_json::from_slice(header).unwrap();
    let mut there = 0;
    for (name, about) in header.iter().filter(|(name, _)| *name != "__metadata__") {
        let known = TYPES.iter().find(|(word, _)| about["dtype"] == *word);
        let Some((_, kind)) = known else { continue };
        let numbers = |field: &str| -> Vec<i64> {
            about[field].as_array().unwrap().iter().map(|n| n.as_i64().unwrap()).collect()
        };
        let at = numbers("data_offsets");
        let xs = named.get(name).unwrap_or_else(|| panic!("seed {seed}: `{name}` is lost"));
        assert_eq!((xs.kind(), xs.size()), (*kind, numbers("shape")), "seed {seed}: {name}");
        assert_eq!(bytes_of(xs), data[at[0] as usize..at[1] as usize], "seed {seed}: {name}");
        there += 1;
    }
    assert_eq!(named.len(), there, "seed {seed}: {named:?}");
}

#[test]
fn fuzz_safetensors_are_read_in_full_or_refused_by_name() {
    fuzz(SAFETENSORS, |seeds| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        weights::write(&path, &named(|name| name.into())).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let (mut taken, mut refused) = (0, 0);
        for seed in seeds {
            let mut bytes = whole.clone();
            spoil(&mut ChaCha8Rng::seed_from_u64(seed), &mut bytes);
            std::fs::write(&path, &bytes).unwrap();
            match read(&path, seed) {
                Some(named) => {
                    is_all_of(&bytes, &named, seed);
                    taken += 1;
                }
                None => refused += 1,
            }
        }
        assert!(taken > 20 && refused > 20, "{taken} taken, {refused} refused");
    });
}

/// The numbers of a tensor of 32 bits.
fn floats(xs: &Tensor) -> Vec<f32> {
    Vec::try_from(xs.flatten(0, -1)).unwrap()
}

/// The program is spoiled: what is read are numbers of the file. A tensor whose part of the program is whole is there.
fn spoiled_program(rng: &mut ChaCha8Rng, path: &Path, seed: u64) -> bool {
    let mut pt = Pt::default();
    let whole = pt.tensors("");
    let mut program = whole.clone();
    spoil(rng, &mut program);
    // the program inside, since the archive's own checksums would refuse nearly everything else
    pt.write(path, &program, &[]);
    let Some(named) = read(path, seed) else { return false };
    for (name, xs) in named.iter().filter(|(_, xs)| xs.kind() == Kind::Float) {
        let known = |n: &f32| NUMBERS.iter().any(|other| other.to_bits() == n.to_bits());
        assert!(floats(xs).iter().all(known), "seed {seed}: {name}: {xs:?}");
    }
    if program == whole {
        assert_eq!(named.len(), 2, "seed {seed}");
    }
    true
}

/// The numbers are spoiled: each tensor has the numbers that are there, or there are too few of them and it is refused.
fn spoiled_numbers(rng: &mut ChaCha8Rng, path: &Path, seed: u64) -> bool {
    let mut pt = Pt::default();
    let program = pt.tensors("");
    let which = rng.random_range(0..2);
    spoil(rng, &mut pt.stored[which]);
    pt.write(path, &program, &[]);
    let enough = [24, 8].iter().zip(&pt.stored).all(|(needed, raw)| raw.len() >= *needed);
    let named = read(path, seed);
    assert_eq!(named.is_some(), enough, "seed {seed}: {:?}", pt.stored);
    let Some(named) = named else { return false };
    for (name, (length, raw)) in ["a.weight", "b.bias"].iter().zip([24, 8].iter().zip(&pt.stored)) {
        let xs = named.get(*name).unwrap_or_else(|| panic!("seed {seed}: `{name}` is lost"));
        assert_eq!(bytes_of(xs), raw[..*length], "seed {seed}: {name}");
    }
    assert_eq!(named.len(), 2, "seed {seed}");
    true
}

#[test]
fn fuzz_pickles_are_read_in_full_or_refused_by_name() {
    fuzz(PICKLES, |seeds| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.pt");
        let (mut taken, mut refused) = ([0; 2], [0; 2]);
        for seed in seeds {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let way = (seed % 2) as usize;
            let is_taken = match way {
                0 => spoiled_program(&mut rng, &path, seed),
                _ => spoiled_numbers(&mut rng, &path, seed),
            };
            *(if is_taken { &mut taken[way] } else { &mut refused[way] }) += 1;
        }
        assert!(taken.iter().chain(&refused).all(|&n| n > 20), "{taken:?} {refused:?}");
    });
}
