//! Picture sheets during training: originals, noised, predicted and sampled.

use super::feed::Batch;
use crate::device::seed_step;
use crate::generate::generate;
use crate::image;
use crate::model::{Cond, Denoiser};
use crate::networks::Networks;
use crate::noise::corrupt;
use crate::sheet::sheet;
use ::image::RgbImage;
use tch::{Kind, Tensor};

/// A sheet of pictures and their captions.
#[derive(Clone, Debug)]
pub struct ProgressSheet {
    pub sheet: RgbImage,
    pub captions: Vec<String>,
}

/// The denoiser's results for the pictures of a batch, with fresh noise at ratios spread over 0..=1.
///
/// Rows:    originals, noised, predicted, sampled from the caption; if the model has a CLIP, also sampled from the
///          picture's CLIP vector.
/// Source:  dome272/Paella src_distributed/train.py, what it logs every 2,000 steps.
/// Differs: the prediction is the most likely token, not the code nearest to a sharpened mean.
pub fn gallery(nets: &Networks, batch: &Batch, seed: u64) -> ProgressSheet {
    let _no_grad = tch::no_grad_guard();
    let b = batch.captions.len();
    let show = |tokens: &Tensor| image::all_from_tensor(&nets.decode(tokens));
    let (text, null) = (nets.condition(&batch.captions), nets.null(b));
    let sample = |cond: &Cond| {
        seed_step(seed, 1); // the same draws for every row: only the condition differs
        show(&generate(nets, cond, &null, &nets.config.sample))
    };
    seed_step(seed, 0);
    // from little noise to nothing but noise, over the columns of the sheet
    let t = Tensor::linspace(1.0 / b as f64, 1.0, b as i64, (Kind::Float, nets.device));
    let noised = corrupt(&batch.tokens, t, nets.config.model.num_labels);
    let logits = nets.denoiser.logits(&noised.tokens, &noised.t, &text); // (B, K, h, w)
    let mut rows = vec![
        (
            "original",
            batch.images.as_ref().map_or_else(|| show(&batch.tokens), image::all_from_tensor),
        ),
        ("noised", show(&noised.tokens)),
        ("guessed", show(&logits.argmax(1, false))),
        ("sampled", sample(&text)),
    ];
    if let Some(clip) = &nets.clip {
        let decoded = || nets.decode(&batch.tokens);
        let images = batch.images.as_ref().map_or_else(decoded, Tensor::shallow_clone);
        // the picture's own vector in place of the prior's guess; a picture that CLIP cannot read has no row
        if let Ok(vectors) = clip.images(&images) {
            rows.push(("with its picture", sample(&Cond { clip_image: vec![vectors], ..text })));
        }
    }
    ProgressSheet { sheet: sheet(&rows, &batch.captions), captions: batch.captions.clone() }
}
