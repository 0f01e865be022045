//! Precomputes the frozen networks' outputs for a stream: shards of tokens, and optionally of text vectors.
//!
//! Each source shard gives one shard with the same number, complete or absent. So the work can be interrupted, repeated
//! and split over processes. Samples hold `KEY.txt` and `KEY.safetensors`. Filter and crop are applied here, once for
//! all epochs.
//!
//! Letters: b samples, h x w tokens, L bytes, D width of a text vector.

use crate::config::RunConfig;
use crate::data::laion::is_filters;
use crate::data::stream::{
    Counts, Decoded, KNOWN_ENDING, Once, ShardSample, StopAsked, pack, stopped,
};
use crate::error::{Error, Fault, Result, counted};
use crate::files;
use crate::model::{Block, LevelConfig};
use crate::networks::Networks;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use tch::{Device, Tensor};

/// What to compute, and where to write it.
#[derive(Clone, Debug)]
pub struct PrecomputeOptions {
    pub out: PathBuf,
    /// Also compute the captions' vectors: `text.length` x `text.d_model` numbers of 16 bits per sample.
    pub text: bool,
    /// (i, n): this process makes shards i, i + n, i + 2 n, .. of the work split over n processes. i counts from 0.
    pub part: (usize, usize),
    /// Whether the work is asked to stop: looked at while it waits for a shard.
    pub asked: StopAsked,
}

impl Made {
    /// Checks that every shard was made.
    ///
    /// Errors: some shards were not.
    pub fn check(&self) -> Result<()> {
        let reasons: Vec<String> =
            self.skipped.iter().map(|(why, n)| format!("{n} {why}")).collect();
        // a part may have no shard at all
        let nothing = self.read > 0 && self.samples == 0 && self.before == 0;
        if self.broken.is_empty() && !nothing {
            return Ok(());
        }
        if self.broken.is_empty() {
            let what =
                format!("nothing was made: the shards hold no sample ({})", reasons.join(", "));
            let hint = "is the filter too strict, or are these the right shards?";
            return Err(Error::data(what, "`data.stream.shards`", hint));
        }
        let what = format!(
            "{} not made: {:?}; {} left out, {} made: {}",
            counted(self.broken.len(), "shard"),
            self.broken,
            lost(&self.skipped),
            self.samples,
            reasons.join(", ")
        );
        let hint = "get these shards right and run the same line again: it makes what is missing; to go on without them, \
                    take them off the list and begin in a new folder, since shards are numbered by the list";
        Err(Error::data(what, "`data.stream.shards`", hint))
    }
}

/// Counts of the shards made so far.
#[derive(Clone, Debug, Default)]
pub struct Made {
    pub shards: usize,
    /// Shards that were read to their end, also those without a sample.
    pub read: usize,
    pub samples: u64,
    /// Shards that existed before.
    pub before: usize,
    /// Numbers of the shards that were not made: they cannot be read to their end, or lose more samples than they give.
    pub broken: Vec<usize>,
    pub skipped: Counts,
}

/// A fault for each file that the work needs and that is not there: weights, and shards if none of them is there.
pub fn look(config: &RunConfig, text: bool) -> Vec<Fault> {
    let needed = |fault: &Fault| {
        fault.place == "weights.tokenizer" || (text && fault.place == "weights.text")
    };
    let shards = config.data.stream.as_ref().and_then(|stream| stream.look(true));
    let shards = shards.map(|fault| Fault { place: "data.stream.shards".into(), ..fault });
    config.look_at_weights().into_iter().filter(needed).chain(shards).collect()
}

/// The networks of the work: the tokenizer, and the text encoder if its vectors are wanted. The others have the smallest
/// size, since nothing asks them.
///
/// Errors: a config that does not fit the work; weights that cannot be read.
pub fn networks(
    config: &RunConfig,
    options: &PrecomputeOptions,
    device: Device,
) -> Result<Networks> {
    check(config, options)?;
    let mut config = config.clone();
    (config.clip, config.prior, config.stages) = (None, None, Vec::new());
    let (weights, train) = (&mut config.weights, &mut config.train);
    (weights.clip, weights.prior, weights.denoiser) = (None, None, None);
    (train.clip_text, train.clip_image, train.precision.recompute) = (0.0, 0.0, Vec::new());
    let smallest =
        LevelConfig { c_hidden: 1, blocks: 1, layout: vec![Block::C], ..LevelConfig::default() };
    config.model.levels = vec![smallest];
    if !options.text {
        weights.text = None;
        config.text.make_smallest();
    }
    Networks::new(&config, device)
}

/// Makes the missing shards. `watch` receives the counts so far and returns whether to continue. A folder in which
/// nothing was made is not left behind.
///
/// Errors: networks whose weights are not given; a folder that cannot be written.
pub fn run(
    nets: &Networks,
    options: &PrecomputeOptions,
    watch: &mut dyn FnMut(&Made) -> bool,
) -> Result<Made> {
    let new = files::missing_folders(&options.out);
    let made = check(&nets.config, options).and_then(|()| all(nets, options, watch));
    files::remove_empty(&new);
    made
}

fn all(
    nets: &Networks,
    options: &PrecomputeOptions,
    watch: &mut dyn FnMut(&Made) -> bool,
) -> Result<Made> {
    let config = &nets.config;
    let stream = config.data.stream.clone().unwrap_or_default();
    let mut once = Once::open(&stream, config.seed, config.data.size)?;
    once.until(options.asked);
    let mut made = Made::default();
    let (part, parts) = options.part;
    for number in (0..once.shards()).filter(|number| number % parts == part) {
        let path = options.out.join(format!("shard-{number:05}.tar"));
        if path.is_file() {
            made.before += 1;
        } else {
            match shard(nets, options, &mut once, number, &path, &mut made) {
                Ok(true) => made.read += 1,
                Ok(false) => made.broken.push(number),
                Err(e) if e == stopped() => break, // what it has read of this shard is not kept
                Err(e) => return Err(e),
            }
        }
        made.skipped = once.skipped.clone();
        if !watch(&made) {
            break;
        }
    }
    Ok(made)
}

/// Checks that the work can begin with this config.
///
/// Errors: no shards; an untrained tokenizer; vectors of a text encoder that is trained or has no length.
pub fn check(config: &RunConfig, options: &PrecomputeOptions) -> Result<()> {
    let refuse = |what: &str, place: &str, hint: &str| Err(Error::command(what, place, hint));
    if !config.data.augment.is_off() {
        let what = match config.data.augment.keeps_pictures() {
            true => "precomputed shards have no keywords, so that captions stay as they are",
            false => "tokens are made once, so that pictures cannot change each time they come up",
        };
        return refuse(what, "`data.augment`", "leave it out");
    }
    if config.data.stream.is_none() {
        return refuse("the config names no shards", "`data.stream`", "(shards: [..])");
    }
    if config.weights.tokenizer.is_none() {
        let hint = "such as runs/NAME/model/tokenizer.safetensors";
        return refuse("tokens of an untrained tokenizer", "`weights.tokenizer`", hint);
    }
    if options.text && (config.weights.text.is_none() || config.train.train_text) {
        let hint = "give `weights.text` and set `train.train_text: false`, or leave out --text";
        return refuse("text vectors of an encoder that is not frozen", "`weights.text`", hint);
    }
    if options.text && config.text.length.is_none() {
        return refuse("text vectors need one length", "`text.length`", "such as 128");
    }
    match options.part {
        (part, parts) if part < parts => Ok(()),
        (part, parts) => refuse(&format!("part {part} of {parts}"), "--part", "such as 0/8"),
    }
}

/// Number of samples left out for another reason than the filter's.
fn lost(skipped: &Counts) -> u64 {
    skipped.iter().filter(|(why, _)| !is_filters(why)).map(|(_, n)| n).sum()
}

/// Makes one shard: writes a hidden file, syncs and renames it. Returns false for a shard that is not kept, because its
/// source ends early or more of it was left out than made: a repeated run would find it and go on as if it were whole.
fn shard(
    nets: &Networks,
    options: &PrecomputeOptions,
    once: &mut Once,
    number: usize,
    path: &Path,
    made: &mut Made,
) -> Result<bool> {
    let failed = |e: io::Error| unwritable(path, &e);
    std::fs::create_dir_all(&options.out).map_err(failed)?;
    let hidden = options.out.join(format!(".shard-{number:05}.{}.tmp", std::process::id()));
    let file = File::create(&hidden).map_err(failed)?;
    let mut shard = tar::Builder::new(BufWriter::new(file));
    let (mut count, before) = (0, lost(&once.skipped));
    let whole = once.shard(number, |samples| {
        count += samples.len() as u64;
        members(nets, options, &samples, &mut |name, bytes| {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            shard.append_data(&mut header, name, bytes).map_err(failed)
        })
    });
    let done = whole.and_then(|whole| {
        let file = shard.into_inner().and_then(|w| w.into_inner().map_err(io::Error::from));
        file.and_then(|file| file.sync_all()).map_err(failed)?;
        let sound = whole && count >= lost(&once.skipped) - before;
        if count > 0 && sound {
            std::fs::rename(&hidden, path).map_err(failed)?;
            (made.shards, made.samples) = (made.shards + 1, made.samples + count);
        }
        Ok(sound)
    });
    let _ = std::fs::remove_file(&hidden); // exists only if it did not become a shard
    done
}

/// Writes the files of some samples, in order.
fn members(
    nets: &Networks,
    options: &PrecomputeOptions,
    samples: &[ShardSample],
    write: &mut dyn FnMut(&str, &[u8]) -> Result<()>,
) -> Result<()> {
    if samples.is_empty() {
        return Ok(()); // none of them could be decoded
    }
    let size = nets.config.data.size;
    let picture = |sample: &ShardSample| match &sample.content {
        Decoded::Pixels(pixels) => Ok(Tensor::f_from_slice(pixels)?.f_view([3, size, size])?),
        Decoded::Known(_) => Err(Error::data("a sample without a picture", &sample.key, "")),
    };
    let pictures: Vec<Tensor> = samples.iter().map(picture).collect::<Result<_>>()?;
    let tokens = nets.encode_all(&Tensor::f_stack(&pictures, 0)?).to_device(Device::Cpu); // (b, h, w)
    let captions: Vec<String> = samples.iter().map(|sample| sample.caption.clone()).collect();
    let text = options
        .text
        .then(|| tch::no_grad(|| nets.text.encode(&captions, nets.device)).to_device(Device::Cpu)); // (b, L, D)
    for (i, sample) in (0..).zip(samples) {
        let text = text.as_ref().map(|text| text.get(i));
        write(&format!("{}.txt", sample.key), sample.caption.as_bytes())?;
        let known = pack(&tokens.get(i), text.as_ref())?;
        write(&format!("{}.{KNOWN_ENDING}", sample.key), &known)?;
    }
    Ok(())
}

fn unwritable(path: &Path, e: &io::Error) -> Error {
    Error::data(e.to_string(), path.display().to_string(), "is there room in `--out`?")
}
