//! Pictures of a training under way: what was asked, what was shown, what was guessed, what is sampled.

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

/// A sheet of pictures and the captions they were made from.
#[derive(Clone, Debug)]
pub struct ProgressSheet {
    pub sheet: RgbImage,
    pub captions: Vec<String>,
}

/// What the denoiser makes of the pictures of a batch, noised anew at ratios spread over 0..=1.
///
/// Rows:    originals, noised, guessed, sampled from the caption, and also from the picture's CLIP vector where the
///          model has a CLIP.
/// Source:  dome272/Paella src_distributed/train.py, what it logs every 2,000 steps.
/// Differs: the guess is the likeliest token, not the code nearest to a sharp mean.
pub fn gallery(nets: &Networks, batch: &Batch, seed: u64) -> ProgressSheet {
    let _no_grad = tch::no_grad_guard();
    let b = batch.captions.len();
    let show = |tokens: &Tensor| image::all_from_tensor(&nets.decode(tokens));
    let (text, null) = (nets.condition(&batch.captions), nets.null(b));
    let sample = |cond: &Cond| {
        seed_step(seed, 1);
        show(&generate(nets, cond, &null, &nets.config.sample))
    };
    seed_step(seed, 0);
    let t = Tensor::linspace(1.0 / b as f64, 1.0, b as i64, (Kind::Float, nets.device));
    let noised = corrupt(&batch.tokens, t, nets.config.model.num_labels);
    let logits = nets.denoiser.logits(&noised.tokens, &noised.t, &text);
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
        // a picture that CLIP cannot read has no row
        if let Ok(vectors) = clip.images(&images) {
            rows.push(("with its picture", sample(&Cond { clip_image: vec![vectors], ..text })));
        }
    }
    ProgressSheet { sheet: sheet(&rows, &batch.captions), captions: batch.captions.clone() }
}
