//! Training of CLIP: in a batch, each picture is to point towards its own text and away from the others.
//!
//! Letters: b rows of one rank, e width of the shared vectors.
//!
//! Source:  mlfoundations/open_clip, `ClipLoss` and `train_one_epoch`.
//! Differs: a rank compares its own rows only (no gather of features), so the number of ranks changes the result. Weight
//!          decay acts on all weights. The model gets averaged weights.

use super::feed::Feed;
use super::shell::{MicroBatch, Shell, ShellConfig};
use super::stage::Stage;
use crate::checkpoint::Phase;
use crate::config::ClipStageConfig;
use crate::dist::World;
use crate::error::{Error, Result};
use crate::metrics::StepRecord;
use crate::model::clip::directions;
use crate::networks::Networks;
use crate::recipe::Split;
use crate::tokens::clip::ClipEncoder;
use crate::torch::precision::Autocast;
use tch::{Kind, Reduction, Tensor};

/// CLIP's trainer.
pub struct ClipTrainer {
    bf16: bool,
    shell: Shell,
}

const STREAM: u64 = 0xc119;
/// Largest factor on cosines.
const SHARPEST: f64 = 100.0;

impl ClipTrainer {
    /// Seed of the order of pictures.
    pub fn order_seed(nets: &Networks) -> u64 {
        nets.config.seed ^ STREAM
    }

    /// The trainer of one rank of `world`.
    ///
    /// Errors: no CLIP in the config; a batch that does not divide evenly over the ranks; a failed exchange.
    pub fn new(nets: &Networks, feed: Feed, world: &World) -> Result<Self> {
        let ClipStageConfig { train, .. } = nets.config.clip.clone().unwrap_or_default();
        let rows = train.share(world.size()).map_err(|fault| Error::Config(vec![fault]))?;
        let job = ShellConfig {
            phase: Phase::Clip,
            steps: train.steps,
            split: Split { rows, micro: rows, passes: 1 }, // the loss compares all rows with each other
            optim: &train.optim,
            trained: &[("clip", encoder(nets)?.vars())],
            ema_decay: Some(train.ema_decay),
        };
        let bf16 = nets.config.train.precision.bf16;
        Ok(Self { bf16, shell: Shell::new(nets, feed, world, &job)? })
    }
}

fn encoder(nets: &Networks) -> Result<&ClipEncoder> {
    let missing = || Error::model("there is no CLIP to train", "`clip`", "`clip: ()`");
    nets.clip.as_ref().ok_or_else(missing)
}

/// Scores of all pairs of b pictures and b texts, and the loss for which picture i belongs to text i.
///
/// Formula: scores = scale x cosines; loss = half the cross entropy over the texts of each picture, plus half of that over
///          the pictures of each text. Captions that repeat count as different texts.
/// Shapes:  images, texts (b, e), scale a scalar -> a scalar, (b, b).
pub fn contrast(images: &Tensor, texts: &Tensor, scale: &Tensor) -> (Tensor, Tensor) {
    let scores = directions(images).matmul(&directions(texts).tr()) * scale; // (b, b): pictures x texts
    // the right answer of row i is column i
    let own = Tensor::arange(scores.size()[0], (Kind::Int64, scores.device()));
    let entropy = |scores: &Tensor| {
        scores.cross_entropy_loss::<Tensor>(&own, None, Reduction::Mean, -100, 0.0)
    };
    // which text belongs to a picture, and which picture to a text: both count alike
    ((entropy(&scores) + entropy(&scores.tr())) / 2.0, scores)
}

impl Stage for ClipTrainer {
    fn step(&mut self, nets: &Networks) -> Result<StepRecord> {
        let clip = encoder(nets)?;
        let towers = clip.towers();
        let (pictures, captions) = self.shell.next(|feed, rows| feed.images(rows))?; // (b, 3, S, S)
        let (pixels, ids) = (clip.pixels(&pictures)?, clip.ids(&captions));
        // one pass: every row is compared with all others
        let all = MicroBatch { first: 0, count: self.shell.rows.count, last: true };
        self.shell.before_forward(all)?;
        let (images, texts) = {
            let _autocast = Autocast::bf16(self.bf16, nets.device)?;
            // the loss in f32: a softmax over similar numbers needs the digits
            let float = |xs: Tensor| xs.to_kind(Kind::Float);
            (float(towers.vision.encode(&pixels)), float(towers.text.encode(&ids))) // (b, e)
        };
        let (loss, scores) = contrast(&images, &texts, &towers.logit_scale.exp());
        self.shell.backward(&loss, all)?;
        let update = self.shell.update()?;
        // a sharper softmax is unstable
        let _ = tch::no_grad(|| towers.logit_scale.shallow_clone().clamp_(0.0, SHARPEST.ln()));
        let own = Tensor::arange(scores.size()[0], (Kind::Int64, scores.device()));
        // counted in the batch, so that a larger one is harder
        let right = scores.argmax(1, false).eq_tensor(&own).to_kind(Kind::Float).mean(Kind::Float);
        let mut means = Tensor::stack(&[loss.detach(), right], 0);
        self.shell.world.mean(&mut means)?;
        let (loss, accuracy) = (means.double_value(&[0]), means.double_value(&[1]));
        self.shell.close(update, StepRecord { loss, accuracy, ..StepRecord::default() })
    }

    fn shell(&self) -> &Shell {
        &self.shell
    }

    fn shell_mut(&mut self) -> &mut Shell {
        &mut self.shell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `open_clip.loss.ClipLoss` on these features, normalised; PyTorch 2.11:
    ///
    /// ```python
    /// i = F.normalize(torch.tensor([[1., 2.], [0., -1.], [3., 1.]]), dim=-1)
    /// t = F.normalize(torch.tensor([[2., 3.], [1., -1.], [1., 0.]]), dim=-1)
    /// l = 5 * i @ t.T; own = torch.arange(3)
    /// print(((F.cross_entropy(l, own) + F.cross_entropy(l.T, own)) / 2).item(), l[2, 0].item())
    /// ```
    #[test]
    fn the_loss_is_open_clips() {
        let images = Tensor::from_slice(&[1f32, 2.0, 0.0, -1.0, 3.0, 1.0]).view([3, 2]);
        let texts = Tensor::from_slice(&[2f32, 3.0, 1.0, -1.0, 1.0, 0.0]).view([3, 2]);
        let (loss, scores) = contrast(&images, &texts, &Tensor::from(5f32));
        assert!((loss.double_value(&[]) - 0.19372931122779846).abs() < 1e-6, "{loss:?}");
        assert!((scores.double_value(&[2, 0]) - 3.946760892868042).abs() < 1e-5);
    }
}
