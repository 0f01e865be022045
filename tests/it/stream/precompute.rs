//! Precomputed tokens are equal to those computed during training.

use super::make::{all, shard};
use super::training::config;
use crate::train::{exclusive, run};
use paella::checkpoint::Phase;
use paella::config::RunConfig;
use paella::data::augment::AugmentConfig;
use paella::data::stream::{Crop, Rows, Want};
use paella::networks::Networks;
use paella::precompute::{self, PrecomputeOptions};
use paella::train::Feed;
use std::path::Path;
use tch::{Device, Tensor};
use tempfile::tempdir;

/// A run whose tokenizer and text encoder are given and frozen, with samples in the order of the shards.
fn frozen(folder: &Path) -> RunConfig {
    let mut config = config(folder, 2, 3);
    Networks::new(&config, Device::Cpu).unwrap().save(&folder.join("model"), false).unwrap();
    let weights = |name: &str| Some(folder.join(format!("model/{name}.safetensors")));
    (config.weights.tokenizer, config.weights.text) = (weights("tokenizer"), weights("text"));
    config.train.train_text = false;
    config.stages = vec![Phase::Denoiser];
    let stream = config.data.stream.as_mut().unwrap();
    (stream.shuffle, stream.crop) = (0, Crop::Center);
    config
}

#[test]
fn batches_and_losses_are_those_of_the_pictures() {
    let _turn = exclusive();
    let folder = tempdir().unwrap();
    let mut pictures = frozen(folder.path());
    let nets = Networks::new(&pictures, Device::Cpu).unwrap();
    let options = PrecomputeOptions {
        out: folder.path().join("made"),
        text: true,
        part: (1, 2),
        asked: None,
    };
    let made = precompute::run(&nets, &options, &mut |_| true).unwrap();
    // the last shard ends early
    assert_eq!((made.shards, made.broken.as_slice()), (2, &[5][..]), "{made:?}");
    let shards = format!("{}/emoji-{{0..4}}.tar", folder.path().display());
    pictures.data.stream.as_mut().unwrap().shards = vec![shards];
    let nets = Networks::new(&pictures, Device::Cpu).unwrap();
    let options = PrecomputeOptions { part: (0, 1), ..options };
    let made = precompute::run(&nets, &options, &mut |_| true).unwrap();
    assert_eq!((made.shards, made.before, made.samples), (3, 2, 48), "{made:?}");
    made.check().unwrap();
    let leftovers = std::fs::read_dir(&options.out).unwrap().flatten();
    assert!(leftovers.into_iter().all(|e| !e.file_name().to_string_lossy().starts_with('.')));

    let mut known = pictures.clone();
    let stream = known.data.stream.as_mut().unwrap();
    stream.shards = vec![format!("{}/*.tar", options.out.display())];
    let known_nets = Networks::new(&known, Device::Cpu).unwrap();
    let mut a = Feed::stream(&nets, 3, Want::Tokens).unwrap();
    let mut b = Feed::stream(&known_nets, 3, Want::Tokens).unwrap();
    for _ in 0..12 {
        let (a, b) = (a.batch(&nets, all(8), true).unwrap(), b.batch(&nets, all(8), true).unwrap());
        assert_eq!((a.captions, &a.ids), (b.captions, &b.ids));
        assert_eq!(a.tokens, b.tokens);
        assert!(a.images.is_some() && a.text.is_none() && b.images.is_none());
        let cond = tch::no_grad(|| nets.text.encode_ids(&a.ids));
        let far = (b.text.unwrap() - &cond).abs().max().double_value(&[]);
        // 16 bits keep 11 bits of the mantissa
        assert!(far <= cond.abs().max().double_value(&[]) / 1024.0, "{far}");
    }
    let losses = |config: &RunConfig, name: &str| run(config, &folder.path().join(name), None);
    let pairs = losses(&pictures, "a").into_iter().zip(losses(&known, "b"));
    for ((_, a), (_, b)) in pairs {
        assert!((a - b).abs() < 1e-2, "{a} {b}");
    }
}

#[test]
fn pictures_of_a_stream_change_and_tokens_cannot() {
    let _turn = exclusive();
    let folder = tempdir().unwrap();
    let plain = frozen(folder.path());
    let mut changing = plain.clone();
    changing.data.augment = AugmentConfig { shift: 2, jitter: 0.1, ..Default::default() };
    let nets = |config: &RunConfig| Networks::new(config, Device::Cpu).unwrap();
    // two batches of each feed: the second begins where the first of all ranks has ended
    let images = |config: &RunConfig, rows: Rows| {
        let mut feed = Feed::stream(&nets(config), 3, Want::Tokens).unwrap();
        let two = [(); 2].map(|()| feed.images(rows).unwrap().0);
        Tensor::stack(&two, 0)
    };
    let whole = images(&changing, all(8));
    let halves =
        [(0, 4), (4, 4)].map(|(first, count)| images(&changing, Rows { first, count, of: 8 }));
    assert_eq!(whole, Tensor::cat(&halves, 1), "the same on one rank and on two");
    assert_ne!(whole, images(&plain, all(8)));

    let options =
        PrecomputeOptions { out: folder.path().join("t"), text: false, part: (0, 1), asked: None };
    let said = precompute::check(&changing, &options).unwrap_err().to_string();
    assert!(said.contains("tokens are made once"), "{said}");
    precompute::run(&nets(&plain), &options, &mut |_| true).unwrap();
    changing.data.stream.as_mut().unwrap().shards =
        vec![format!("{}/*.tar", options.out.display())];
    let nets = nets(&changing);
    let said = Feed::stream(&nets, 3, Want::Tokens).unwrap().batch(&nets, all(8), false);
    let said = said.unwrap_err().to_string();
    assert!(said.contains("no picture"), "{said}");
}

#[test]
fn a_shard_of_which_most_is_lost_is_not_kept() {
    let _turn = exclusive();
    let folder = tempdir().unwrap();
    let mut config = frozen(folder.path());
    let shard = folder.path().join("bad.tar");
    let mut tar = tar::Builder::new(std::fs::File::create(&shard).unwrap());
    let mut add = |name: &str, data: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, data).unwrap();
    };
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(8, 8).write_to(&mut png, image::ImageFormat::Png).unwrap();
    add("0.png", png.get_ref());
    (0..3).for_each(|i| add(&format!("{i}.txt"), b"a text"));
    tar.finish().unwrap();
    config.data.stream.as_mut().unwrap().shards = vec![shard.display().to_string()];
    let nets = Networks::new(&config, Device::Cpu).unwrap();
    let options = PrecomputeOptions {
        out: folder.path().join("made"),
        text: false,
        part: (0, 1),
        asked: None,
    };
    for _ in 0..2 {
        let made = precompute::run(&nets, &options, &mut |_| true).unwrap();
        assert_eq!((made.shards, made.before, &made.broken[..]), (0, 0, &[0][..]), "{made:?}");
        assert_eq!(made.skipped["no picture"], 2);
        let said = made.check().unwrap_err().to_string();
        assert!(said.contains("2 left out, 0 made: 2 no picture"), "{said}");
    }
}

#[test]
fn a_shard_that_ends_early_is_not_kept_and_an_error_each_time() {
    let _turn = exclusive();
    let folder = tempdir().unwrap();
    let mut config = frozen(folder.path());
    let (cut, whole) = (folder.path().join("cut.tar"), folder.path().join("whole.tar"));
    let bytes = shard(0, 20);
    std::fs::write(&whole, &bytes).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 6]).unwrap();
    let shards = [&cut, &whole].map(|path| path.display().to_string());
    config.data.stream.as_mut().unwrap().shards = shards.to_vec();
    let nets = Networks::new(&config, Device::Cpu).unwrap();
    let out = folder.path().join("made");
    let options = PrecomputeOptions { out: out.clone(), text: false, part: (0, 1), asked: None };
    let run = || precompute::run(&nets, &options, &mut |_| true).unwrap();
    for (new, before, samples) in [(1, 0, 20), (0, 1, 0)] {
        let made = run();
        let counts = (made.shards, made.before, made.samples, &made.broken[..]);
        assert_eq!(counts, (new, before, samples, &[0][..]), "{made:?}");
        let said = made.check().unwrap_err().to_string();
        assert!(said.contains("1 shard not made: [0]; 1 left out"), "{said}");
        assert!(
            said.contains("1 the shard ends early") && said.contains("run the same line again")
        );
        assert!(!out.join("shard-00000.tar").exists());
    }
    // made right, it is all that is still to do
    std::fs::write(&cut, &bytes).unwrap();
    let made = run();
    assert_eq!((made.shards, made.before, made.samples), (1, 1, 20), "{made:?}");
    made.check().unwrap();
}

#[test]
fn shards_without_a_sample_are_an_error_and_a_part_without_a_shard_is_none() {
    let _turn = exclusive();
    let folder = tempdir().unwrap();
    let mut config = frozen(folder.path());
    let empty = folder.path().join("empty.tar");
    std::fs::write(&empty, [0; 1024]).unwrap();
    config.data.stream.as_mut().unwrap().shards = vec![empty.display().to_string()];
    let nets = Networks::new(&config, Device::Cpu).unwrap();
    let made = |part| {
        let out = folder.path().join("made");
        let options = PrecomputeOptions { out, text: false, part, asked: None };
        precompute::run(&nets, &options, &mut |_| true).unwrap()
    };
    let said = made((0, 1)).check().unwrap_err().to_string();
    assert!(said.contains("nothing was made: the shards hold no sample"), "{said}");
    made((1, 2)).check().unwrap();
}

#[test]
fn what_is_missing_is_said() {
    let _turn = exclusive();
    let folder = tempdir().unwrap();
    let config = frozen(folder.path());
    let error = |config: &RunConfig, text: bool| {
        let nets = Networks::new(config, Device::Cpu).unwrap();
        let options =
            PrecomputeOptions { out: folder.path().join("made"), text, part: (0, 1), asked: None };
        precompute::run(&nets, &options, &mut |_| true).unwrap_err().to_string()
    };
    let mut other = config.clone();
    other.train.train_text = true;
    assert!(error(&other, true).contains("not frozen"));
    other.weights.tokenizer = None;
    assert!(error(&other, false).contains("untrained tokenizer"));
    other.data.stream = None;
    assert!(error(&other, false).contains("names no shards"));
    let mut other = config;
    other.text.length = None;
    assert!(error(&other, true).contains("one length"));
}
