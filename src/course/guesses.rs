//! Measures that run the model. They use their own seeds, so the session's random numbers are not affected.

use crate::data::{Part, Record};
use crate::device::seed_step;
use crate::error::Result;
use crate::eval::{Gallery, probe};
use crate::lab::{Lab, entropy};
use crate::loss::noised_accuracy;
use crate::model::Denoiser;
use tch::{Kind, Tensor};

const SEED: u64 = 0xc0de;
/// Side of the averaged pictures that are compared. Same as the default of `paella eval`.
const FEATURE_SIZE: i64 = 16;

/// Logits (1, K, h, w) for the noised tokens on the workspace. `caption` replaces the picture's own caption.
fn logits(lab: &Lab, caption: Option<&str>) -> Result<Tensor> {
    let noised = lab.workspace().noised()?;
    let text = caption
        .map_or_else(|| lab.workspace().picture().map(|p| p.caption.clone()), |t| Ok(t.into()))?;
    lab.networks(|nets| {
        let _no_grad = tch::no_grad_guard();
        nets.denoiser.logits(&noised.tokens, &noised.t, &nets.condition(&[text]))
    })
}

/// Fraction of the noised tokens whose best guess is right, 0..=1.
pub fn guessed(lab: &Lab, caption: Option<&str>) -> Result<f64> {
    let guess = logits(lab, caption)?.argmax(1, false);
    let (noised, tokens) = (lab.workspace().noised()?, lab.workspace().tokens()?);
    Ok(noised_accuracy(&guess, &tokens, &noised.mask).unwrap_or(0.0))
}

/// Mean entropy of the predictions over all positions, in bits.
pub fn doubt(lab: &Lab) -> Result<f64> {
    Ok(entropy(&logits(lab, None)?).mean(Kind::Float).double_value(&[]))
}

/// Cross entropy at t = 0.5 over the first 64 validation pictures, in nats per noised token.
pub fn held_back_loss(lab: &mut Lab) -> Result<f64> {
    let data = lab.data(Part::Val)?;
    let indices: Vec<i64> = (0..64.min(data.len() as i64)).collect();
    lab.networks(|nets| {
        seed_step(SEED, 0);
        let tokens = nets.encode(&data.images(&indices));
        let cond = nets.condition(&data.captions(&indices));
        probe(&nets.denoiser, &tokens, &cond, 0.5, nets.config.model.num_labels).0
    })
}

/// Name of the real picture nearest to the current one, among pictures of the style that its caption names.
pub fn shows(lab: &mut Lab) -> Result<String> {
    let picture = lab.workspace().picture()?;
    let (train, val) = (lab.data(Part::Train)?, lab.data(Part::Val)?);
    let named =
        |record: &&Record| !record.style.is_empty() && picture.caption.contains(&record.style);
    let style = train.records.iter().find(named).map(|r| r.style.clone()).unwrap_or_default();
    let gallery = Gallery::new(&[&train, &val], FEATURE_SIZE);
    Ok(gallery.nearest(&picture.images.get(0), &style, 1).pop().unwrap_or_default())
}
