//! Measurements of the model: `predict` and `loss`.

use super::picture::{first_image, noised};
use super::view::View;
use super::workspace::{floats, ints};
use super::{Lab, seed_torch};
use crate::data::Part;
use crate::error::{Result, counted};
use crate::image;
use crate::loss::{accuracy, noised_accuracy, objective};
use crate::model::{Cond, Denoiser};
use crate::networks::Networks;
use crate::noise::Noised;
use serde::Serialize;
use std::rc::Rc;
use tch::{Device, Kind, Tensor};

/// Loss in nats and accuracy at one noise ratio.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LossAtRatio {
    pub t: f64,
    pub loss: f64,
    pub accuracy: f64,
}

impl Lab {
    /// Predicts the noised tokens in one pass. `caption` replaces the picture's own caption.
    pub fn predict(&mut self, caption: Option<&str>) -> Result<View> {
        let noised = self.state.workspace.noised()?;
        let (tokens, picture) = (self.need_tokens()?, self.state.workspace.picture()?);
        let text = match caption {
            Some(caption) => self.as_caption(caption)?,
            None => picture.caption.clone(),
        };
        let model = self.model()?;
        let model = model.borrow();
        let nets = model.nets();
        let cond = nets.condition(std::slice::from_ref(&text));
        let (logits, loss) = self.judge(nets, &tokens, &noised, &cond);
        let guess = logits.argmax(1, false); // (1, h, w)
        let pictures = [&noised.tokens, &guess, &*tokens].map(|xs| first_image(&nets.decode(xs)));
        let (all, share) = (
            accuracy(&logits, &tokens).double_value(&[]),
            noised_accuracy(&guess, &tokens, &noised.mask),
        );
        let entropy = entropy(&logits);
        let side = pictures[0].width();
        let view = View::new()
            .picture(
                image::grid(&pictures, 3, 2),
                format!("noised, best guess, original; T = {}, \"{text}\"", noised.ratio()),
            )
            .text(format!(
                "loss {loss:.3} nats, accuracy {:.1}% of all tokens, {} of the noised ones",
                all * 100.0,
                percent(share)
            ))
            .picture(
                heat_image(&entropy, (logits.size()[1] as f64).log2(), side),
                "uncertainty: black where the model is sure, bright where all codes seem alike",
            );
        let view = view.table(
            &["row", "column", "bits", "best code", "its share", "true code"],
            uncertain(&logits, &tokens, &entropy),
        );
        drop(model);
        self.note_texts(view, &[&text])
    }

    /// Loss and accuracy at t = 0.1 .. 0.9, for the current picture or for `count` validation pictures.
    pub fn loss(&mut self, count: Option<i64>) -> Result<View> {
        let (levels, what) = self.levels(count)?;
        let row = |l: &LossAtRatio| {
            vec![
                format!("{:.1}", l.t),
                format!("{:.3}", l.loss),
                format!("{:.1}%", l.accuracy * 100.0),
            ]
        };
        Ok(View::new()
            .text(format!("loss in nats over {what}"))
            .table(&["T", "loss", "accuracy"], levels.iter().map(row).collect()))
    }

    /// The numbers behind `loss`, and a description of the pictures they are for.
    pub fn levels(&mut self, count: Option<i64>) -> Result<(Vec<LossAtRatio>, String)> {
        let (images, captions, what) = match count {
            Some(count) => {
                let data = self.data(Part::Val)?;
                let indices: Vec<i64> = (0..count.min(data.len() as i64)).collect();
                (
                    data.images(&indices),
                    data.captions(&indices),
                    counted(indices.len(), "picture") + " held back",
                )
            }
            None => {
                let picture = self.state.workspace.picture()?;
                (
                    picture.images.shallow_clone(),
                    vec![picture.caption.clone()],
                    format!("`{}`", picture.caption),
                )
            }
        };
        let seed = self.draw_seed();
        seed_torch(seed);
        let model = self.model()?;
        let model = model.borrow();
        let nets = model.nets();
        let tokens = Rc::new(nets.encode(&images.to_device(nets.device)));
        let cond = nets.condition(&captions);
        let level = |tenth: i32| {
            let t = f64::from(tenth) / 10.0;
            let ratio = Tensor::full([tokens.size()[0]], t, (Kind::Float, nets.device)); // (B,)
            let noised = noised(nets, &tokens, ratio); // tokens and mask (B, h, w)
            let (logits, loss) = self.judge(nets, &tokens, &noised, &cond);
            LossAtRatio { t, loss, accuracy: accuracy(&logits, &tokens).double_value(&[]) }
        };
        Ok(((1..=9).map(level).collect(), what))
    }

    /// Logits (B, K, h, w) for noised tokens, and the training loss.
    fn judge(
        &self,
        nets: &Networks,
        tokens: &Tensor,
        noised: &Noised,
        cond: &Cond,
    ) -> (Tensor, f64) {
        let _no_grad = tch::no_grad_guard();
        let logits = nets.denoiser.logits(&noised.tokens, &noised.t, cond);
        let loss = objective(&logits, tokens, noised, self.state.settings.train.loss());
        (logits, loss.double_value(&[]))
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or("none".into(), |s| format!("{:.1}%", s * 100.0))
}

/// Entropy of the prediction at each position.
///
/// Formula: H = - sum_k p_k log2 p_k.
/// Shapes:  logits (1, K, h, w) -> (h, w) f32, in bits.
pub fn entropy(logits: &Tensor) -> Tensor {
    let log = logits.log_softmax(1, Kind::Float);
    -(log.exp() * &log).sum_dim_intlist([1i64].as_slice(), false, Kind::Float).get(0)
        / std::f64::consts::LN_2
}

/// The five positions of highest entropy, as table rows.
fn uncertain(logits: &Tensor, tokens: &Tensor, entropy: &Tensor) -> Vec<Vec<String>> {
    let (share, best) = logits.softmax(1, Kind::Float).max_dim(1, false);
    let (share, best, truth, bits) = (floats(&share), ints(&best), ints(tokens), floats(entropy));
    let width = tokens.size()[2] as usize;
    let mut order: Vec<usize> = (0..bits.len()).collect();
    order.sort_by(|&a, &b| bits[b].total_cmp(&bits[a]));
    let row = |&i: &usize| {
        vec![
            (i / width).to_string(),
            (i % width).to_string(),
            format!("{:.2}", bits[i]),
            best[i].to_string(),
            format!("{:.1}%", share[i] * 100.0),
            truth[i].to_string(),
        ]
    };
    order.iter().take(5).map(row).collect()
}

/// (h, w) -> a heat map from black through red to yellow. `most` and above is brightest.
fn heat_image(values: &Tensor, most: f64, side: u32) -> ::image::RgbImage {
    let values = values.to_device(Device::Cpu);
    let (h, w) = (values.size()[0] as u32, values.size()[1] as u32);
    let flat = floats(&values);
    let small = ::image::RgbImage::from_fn(w, h, |x, y| {
        let heat = flat[(y * w + x) as usize] / most;
        let channel =
            |from: f64, to: f64| (255.0 * ((heat - from) / (to - from)).clamp(0.0, 1.0)) as u8;
        ::image::Rgb([channel(0.0, 0.6), channel(0.4, 1.0), channel(0.9, 1.2)])
    });
    image::enlarge(&small, (side / w).max(1))
}

#[cfg(test)]
mod tests {
    use super::super::picture::mask_image;
    use super::*;

    #[test]
    fn entropy_of_even_and_certain_scores() {
        let even = Tensor::zeros([1, 8, 2, 2], (Kind::Float, Device::Cpu));
        assert!((entropy(&even).max().double_value(&[]) - 3.0).abs() < 1e-5); // log2 8
        let certain = Tensor::from_slice(&[100f32, 0.0]).view([1, 2, 1, 1]);
        assert!(entropy(&certain).double_value(&[0, 0]).abs() < 1e-5);
    }

    #[test]
    fn masks_are_white_where_noise_stands() {
        let mask = Tensor::from_slice(&[true, false]).view([1, 1, 2]);
        let image = mask_image(&mask, 4);
        assert_eq!(
            (image.dimensions(), image.get_pixel(1, 0).0, image.get_pixel(2, 0).0),
            ((4, 2), [255; 3], [0; 3])
        );
    }
}
