//! Seeded random archives: what is read plus what is counted is what was put in, by both readers alike.

use super::odd::{read, tar};
use super::{gzip, png};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A sample as it was put in.
struct Made {
    files: Vec<(String, Vec<u8>)>,
    whole: bool,
}

fn sample(rng: &mut ChaCha8Rng, i: usize) -> Made {
    let key = match rng.random_range(0..4) {
        0 => format!("img.{i:04}"),
        1 => format!("dir/{i}"),
        2 => format!("./{i:06}"),
        _ => format!("{}{i}", "long".repeat(30)),
    };
    let endings = ["png", "PNG", "jfif", "webp", "tif"];
    let ending = endings[rng.random_range(0..endings.len())];
    let picture = (format!("{key}.{ending}"), png(i as u8));
    let text = (format!("{key}.txt"), format!("caption {i}").into_bytes());
    let json = |text: &str| (format!("{key}.json"), text.as_bytes().to_vec());
    let (files, whole) = match rng.random_range(0..12) {
        0 => (vec![picture], false),
        1 => (vec![text], false),
        2 => (vec![picture, (format!("{key}.txt"), b"\xff".to_vec())], false),
        3 => (vec![picture, json("{\"caption\": ")], false),
        4 => (vec![picture, json("{\"caption\": \"c\", \"x\": NaN}")], true),
        5 => (vec![(picture.0, b"\x89PNG\r\n\x1a\nrubbish".to_vec()), text], false),
        6 => (vec![picture, (format!("{key}.cls"), b"3".to_vec()), text], true),
        7 => (vec![text, picture], true),
        8 => (vec![picture, (format!("{key}.txt"), b"\xef\xbb\xbf".to_vec())], false),
        _ => (vec![picture, text], true),
    };
    Made { files, whole }
}

#[test]
fn samples_read_and_samples_counted_are_the_samples_put_in() {
    for seed in 0..60 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let count = rng.random_range(1..40);
        let made: Vec<Made> = (0..count).map(|i| sample(&mut rng, i)).collect();
        let whole = made.iter().filter(|sample| sample.whole).count();
        // one archive, or two that are joined: a sample lies in one of them
        let cut = if rng.random_bool(0.5) { rng.random_range(0..=count) } else { count };
        let mut bytes = Vec::new();
        for part in [&made[..cut], &made[cut..]] {
            let files = part.iter().flat_map(|sample| &sample.files);
            let mut files: Vec<(&str, &[u8])> =
                files.map(|(name, data)| (name.as_str(), data.as_slice())).collect();
            if seed % 3 == 0 {
                // in any order at all
                for i in (1..files.len()).rev() {
                    files.swap(i, rng.random_range(0..=i));
                }
            }
            bytes.extend(tar(&files));
        }
        if rng.random_bool(0.3) {
            bytes = gzip(&bytes);
        }
        let (samples, left_out) = read(&bytes);
        let counted: u64 = left_out.values().sum();
        assert_eq!(samples.len() + counted as usize, count, "seed {seed}: {left_out:?}");
        assert_eq!(samples.len(), whole, "seed {seed}: {left_out:?}");
    }
}

#[test]
fn cut_and_changed_archives_never_panic_and_both_readers_agree() {
    for seed in 0..200 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let made: Vec<Made> = (0..4).map(|i| sample(&mut rng, i)).collect();
        let files: Vec<(String, Vec<u8>)> = made.into_iter().flat_map(|s| s.files).collect();
        let files: Vec<(&str, &[u8])> =
            files.iter().map(|(name, data)| (name.as_str(), data.as_slice())).collect();
        let mut bytes = tar(&files);
        for _ in 0..rng.random_range(0..4) {
            let at = rng.random_range(0..bytes.len());
            bytes[at] ^= 1 << rng.random_range(0..8u8);
        }
        bytes.truncate(rng.random_range(0..=bytes.len()));
        let (samples, _) = read(&bytes); // both readers agree, see there
        assert!(samples.len() <= 4);
    }
}
