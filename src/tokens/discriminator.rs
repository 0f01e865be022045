//! The discriminator: judges patches of a picture, whether it is a picture of the data or a reconstruction.
//!
//! Letters: B pictures of H x W pixels, c channels, o and i channels of a convolution, k its kernel.

use crate::model::init::{Init, VarBuilder};
use crate::model::layers::{Conv2d, Window};
use ron_faults::{Checks, Fault};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// Sizes of the discriminator.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiscriminatorConfig {
    /// Channels at the deepest level.
    pub c_hidden: i64,
    /// Number of halvings.
    pub depth: i64,
}

/// Fewest halvings: with fewer the reference's last convolution has less than `c_hidden` channels, and does not fit.
const SHALLOWEST: i64 = 4;

impl Default for DiscriminatorConfig {
    fn default() -> Self {
        Self { c_hidden: 512, depth: 6 }
    }
}

impl DiscriminatorConfig {
    /// Channels of the picture, and behind each convolution.
    pub fn widths(&self) -> Vec<i64> {
        let halvings = self.narrowest();
        let width = |i: i64| self.c_hidden >> (halvings - i).max(0);
        std::iter::once(3).chain((0..self.depth).map(width)).collect()
    }

    /// Halvings of `c_hidden` at the first level.
    fn narrowest(&self) -> i64 {
        self.depth.saturating_sub(3).max(3)
    }

    /// Checks the values for pictures of `size` pixels a side. Returns all faults.
    pub fn check(&self, size: i64) -> Vec<Fault> {
        let mut found = Checks::default();
        found.within("depth", self.depth, SHALLOWEST, 11);
        found.within("c_hidden", self.c_hidden, 1, 1 << 16);
        let halves = 1i64 << self.narrowest().clamp(1, 16);
        found.unless(
            self.c_hidden % halves == 0,
            "c_hidden",
            format!("{} channels cannot be halved {} times", self.c_hidden, self.narrowest()),
            &format!("a multiple of {halves}"),
        );
        // a norm over one position is 0 whatever the picture
        let deepest = (1..12).take_while(|depth| size > 1 << depth).last().unwrap_or(0);
        let hint = match deepest {
            SHALLOWEST.. => format!("at most {deepest}"),
            _ => format!("pictures of more than {} pixels", 1 << SHALLOWEST),
        };
        let what = format!("{} halvings leave one position of {size} pixels", self.depth);
        found.unless(self.depth <= deepest, "depth", what, &hint);
        found.faults()
    }
}

/// Who a judgement is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judging {
    /// The discriminator learns: gradients reach its weights, and the estimates of their largest singular values improve.
    ToLearn,
    /// The picture's maker learns: the weights are numbers.
    ToTeach,
}

/// Convolutions that halve the picture, then one judgement per position.
///
/// Source:  dome272/Paella, `src/vqgan.py`, `Discriminator`; weights have the names of its state dict.
#[derive(Debug)]
pub struct Discriminator {
    convs: Vec<SpectralConv>,
    shuffle: Conv2d,
}

impl Discriminator {
    pub fn new(p: &VarBuilder, config: &DiscriminatorConfig) -> Self {
        let widths = config.widths();
        // entries of the reference's list: convolution, activation; then convolution, norm, activation
        let place = |i: usize| if i == 0 { 0 } else { 3 * i - 1 };
        let conv = |(i, pair): (usize, &[i64])| {
            SpectralConv::new(&(p / "encoder" / place(i)), pair[0], pair[1])
        };
        let bound = Init::Uniform(1.0 / (config.c_hidden as f64).sqrt());
        Self {
            convs: widths.windows(2).enumerate().map(conv).collect(),
            shuffle: Conv2d::new(&(p / "shuffle"), config.c_hidden, 1, Window::POINT, bound),
        }
    }

    /// images (B, 3, H, W) -> the logit of being a picture of the data (B, 1, h, w), h = H / 2^depth rounded up.
    pub fn logits(&self, images: &Tensor, judging: Judging) -> Tensor {
        let mut xs = images.shallow_clone();
        for (i, conv) in self.convs.iter().enumerate() {
            xs = conv.forward(&xs, judging); // half the height and width
            if i > 0 {
                let none = None::<Tensor>;
                xs = xs.instance_norm(
                    none.as_ref(),
                    none.as_ref(),
                    none.as_ref(),
                    none.as_ref(),
                    true,
                    0.1,
                    1e-5,
                    false,
                );
            }
            xs = leaky(&xs);
        }
        let number = |xs: &Tensor| held(xs, judging);
        let bias = self.shuffle.bias.as_ref().map(number);
        xs.conv2d(&number(&self.shuffle.weight), bias.as_ref(), [1, 1], [0, 0], [1, 1], 1) // (B, 1, h, w)
    }
}

/// The weight itself, or its numbers alone.
fn held(weight: &Tensor, judging: Judging) -> Tensor {
    match judging {
        Judging::ToLearn => weight.shallow_clone(),
        Judging::ToTeach => weight.detach(),
    }
}

/// max(x, 0.2 x).
fn leaky(xs: &Tensor) -> Tensor {
    xs.maximum(&(xs * 0.2))
}

/// A convolution of stride 2 whose weight, as a matrix, has the largest singular value 1.
///
/// Source:  PyTorch, `torch.nn.utils.spectral_norm`; one step of the power iteration for each judgement that learns.
#[derive(Debug)]
struct SpectralConv {
    weight: Tensor, // (o, i, k, k)
    bias: Tensor,   // (o)
    u: Tensor,      // (o), left singular vector
    v: Tensor,      // (i k k), right singular vector
}

impl SpectralConv {
    fn new(p: &VarBuilder, i: i64, o: i64) -> Self {
        let fan_in = i * 9;
        let bound = Init::Uniform(1.0 / (fan_in as f64).sqrt()); // as PyTorch fills a convolution
        let unit = |name: &str, n: i64| {
            let mut xs = p.buffer(name, &[n], Init::Normal(1.0));
            let _no_grad = tch::no_grad_guard();
            let _ = xs.g_div_(&xs.norm());
            xs
        };
        Self {
            weight: p.var("weight_orig", &[o, i, 3, 3], bound),
            bias: p.var("bias", &[o], bound),
            u: unit("weight_u", o),
            v: unit("weight_v", fan_in),
        }
    }

    /// xs (B, i, H, W) -> (B, o, H / 2, W / 2), rounded up.
    fn forward(&self, xs: &Tensor, judging: Judging) -> Tensor {
        let weight = held(&self.weight, judging);
        let rows = weight.flatten(1, -1); // (o, i k k)
        if judging == Judging::ToLearn {
            self.improve(&rows);
        }
        // copies: the next judgement moves u and v before this one's gradient is taken
        let (u, v) = (self.u.copy(), self.v.copy());
        let largest = u.dot(&rows.mv(&v)); // scalar
        let bias = held(&self.bias, judging);
        xs.conv2d(&(weight / largest), Some(&bias), [2, 2], [1, 1], [1, 1], 1)
    }

    /// One step of the power iteration on `rows` (o, i k k).
    fn improve(&self, rows: &Tensor) {
        let _no_grad = tch::no_grad_guard();
        let unit = |xs: Tensor| &xs / xs.norm().clamp_min(1e-12);
        self.v.shallow_clone().copy_(&unit(rows.tr().mv(&self.u)));
        self.u.shallow_clone().copy_(&unit(rows.mv(&self.v)));
    }
}

/// What a judged reconstruction pays: mean -log D, of logits (B, 1, h, w) -> scalar.
pub fn price(reconstructed: &Tensor) -> Tensor {
    (-reconstructed).softplus().mean(Kind::Float)
}

/// What the discriminator pays: half of mean -log D(picture) - log(1 - D(reconstruction)), of logits -> scalar.
pub fn mistakes(pictures: &Tensor, reconstructed: &Tensor) -> Tensor {
    ((-pictures).softplus().mean(Kind::Float) + reconstructed.softplus().mean(Kind::Float)) * 0.5
}
