//! Pictures that a model generates from captions of its data, and how the networks that score pictures see them.

use super::clip::{ClipJudge, ClipScore};
use super::fid::{FidJudge, FidScore};
use super::{Options, pictures, pictures_of};
use crate::config::RunConfig;
use crate::data::{Dataset, Record};
use crate::error::Result;
use crate::model::Cond;
use crate::networks::Networks;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use tch::Tensor;

/// Records of a part of the data, and a picture generated from each caption.
pub(super) struct Asked {
    pub records: Vec<Record>,
    /// Their places in the part.
    picks: Vec<i64>,
    /// (N, 3, S, S) f32 in 0..=1, CPU.
    pub images: Tensor,
}

impl Asked {
    pub fn new(nets: &Networks, part: &Dataset, which: fn(&Record) -> bool) -> Self {
        let picks = choose(&part.records, which, &nets.config);
        let records: Vec<Record> =
            picks.iter().map(|&i| part.records[i as usize].clone()).collect();
        let (sample, seed) = (&nets.config.sample, nets.config.eval.seed);
        let images = pictures(nets, &captions(&records), sample, seed);
        Self { records, picks, images }
    }

    /// CLIP scores, if there is a CLIP, and FID, if there is an Inception: of each kind of pictures in turn.
    pub fn seen(
        &self,
        nets: &Networks,
        part: &Dataset,
        options: &Options,
        note: &mut dyn FnMut(&str),
    ) -> Result<(Vec<ClipScore>, Vec<FidScore>)> {
        let clip = options.clip(nets);
        if self.records.is_empty() || (clip.is_none() && options.inception.is_none()) {
            return Ok((Vec::new(), Vec::new()));
        }
        let (captions, kinds) = (captions(&self.records), self.kinds(nets, part, options));
        let (mut by_clip, mut fid) = (Vec::new(), Vec::new());
        if let Some(clip) = clip {
            note("the same as CLIP sees them");
            let judge = ClipJudge::new(clip, &part.images)?;
            for (i, (kind, images)) in kinds.iter().enumerate() {
                by_clip.push(judge.score(kind, images, &captions, i > 0)?);
            }
        }
        if let Some(inception) = &options.inception {
            note("the same in the features of Inception");
            let judge = FidJudge::new(inception, &part.images);
            for (kind, images) in &kinds[1..] {
                fid.push(judge.score(kind, images)?);
            }
        }
        Ok((by_clip, fid))
    }

    /// The real pictures with these captions first, the same through the tokenizer, and generated ones: with and without
    /// the prior if there is one, and re-weighted if that is asked for. Each (N, 3, S, S) f32 in 0..=1, CPU.
    fn kinds(
        &self,
        nets: &Networks,
        part: &Dataset,
        options: &Options,
    ) -> Vec<(&'static str, Tensor)> {
        let real = part.images(&self.picks);
        let decoded = real.split(128, 0).into_iter().map(|some| nets.decode(&nets.encode(&some)));
        let decoded = Tensor::cat(&decoded.collect::<Vec<_>>(), 0).to_device(tch::Device::Cpu);
        let mut kinds = vec![("real", real), ("real, through the tokenizer", decoded)];
        let generated = self.images.shallow_clone();
        let captions = captions(&self.records);
        let made = |condition: &dyn Fn(&[String]) -> Cond| {
            pictures_of(nets, &captions, &nets.config.sample, nets.config.eval.seed, condition)
        };
        if nets.prior.is_some() {
            kinds.push(("generated without the prior", made(&|texts| nets.encode_text(texts))));
            kinds.push(("generated with the prior", generated));
        } else {
            kinds.push(("generated", generated));
        }
        if let Some(weights) = &options.weights {
            let seq = nets.config.model.clip_seq_len;
            let weighed = made(&|texts| weights.weigh(nets.condition(texts), seq));
            kinds.push(("generated, re-weighted", weighed));
        }
        kinds
    }
}

fn captions(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| record.caption.clone()).collect()
}

/// Draws the records to generate from, the same for all models with the same seed. Returns their places.
fn choose(records: &[Record], which: fn(&Record) -> bool, config: &RunConfig) -> Vec<i64> {
    let mut picks: Vec<i64> =
        (0..records.len()).filter(|&i| which(&records[i])).map(|i| i as i64).collect();
    picks.shuffle(&mut rand_chacha::ChaCha8Rng::seed_from_u64(config.eval.seed));
    picks.truncate(config.eval.captions);
    picks
}
