//! The plain layers all networks share: linear, convolution, norms. Weights are named as PyTorch names them.
//!
//! Letters: B pictures, c channels, H x W positions.

use super::init::{Init, VarBuilder};
use crate::torch::cpu;
use crate::torch::precision::layer_norm_bf16;
use tch::{Kind, Tensor};

/// Epsilon of every layer norm in Paella and its VQGAN.
pub const EPS: f64 = 1e-6;

/// xs (.., i) -> (.., o), `weight` (o, i) and perhaps `bias` (o).
#[derive(Debug)]
pub struct Linear {
    pub weight: Tensor,
    pub bias: Option<Tensor>,
}

impl Linear {
    pub fn new(p: &VarBuilder, i: i64, o: i64, init: Init) -> Self {
        Self {
            weight: p.var("weight", &[o, i], init),
            bias: Some(p.var("bias", &[o], Init::Zeros)),
        }
    }

    pub fn without_bias(p: &VarBuilder, i: i64, o: i64, init: Init) -> Self {
        Self { weight: p.var("weight", &[o, i], init), bias: None }
    }

    pub fn forward(&self, xs: &Tensor) -> Tensor {
        xs.linear(&self.weight, self.bias.as_ref()) // (.., o)
    }
}

/// Shape of a convolution's window.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub kernel: i64,
    pub stride: i64,
    pub padding: i64,
    pub groups: i64,
}

impl Window {
    /// One pixel to one pixel.
    pub const POINT: Self = Self { kernel: 1, stride: 1, padding: 0, groups: 1 };

    pub fn strided(kernel: i64, stride: i64, padding: i64) -> Self {
        Self { kernel, stride, padding, groups: 1 }
    }

    pub fn depthwise(kernel: i64, padding: i64, groups: i64) -> Self {
        Self { kernel, stride: 1, padding, groups }
    }
}

/// xs (B, i, H, W) -> (B, o, H', W').
#[derive(Debug)]
pub struct Conv2d {
    pub weight: Tensor, // (o, i / groups, kernel, kernel)
    pub bias: Option<Tensor>,
    window: Window,
}

impl Conv2d {
    pub fn new(p: &VarBuilder, i: i64, o: i64, window: Window, init: Init) -> Self {
        let bias = Some(p.var("bias", &[o], Init::Zeros));
        Self { bias, ..Self::without_bias(p, i, o, window, init) }
    }

    pub fn without_bias(p: &VarBuilder, i: i64, o: i64, window: Window, init: Init) -> Self {
        let dims = [o, i / window.groups, window.kernel, window.kernel];
        Self { weight: p.var("weight", &dims, init), bias: None, window }
    }

    pub fn forward(&self, xs: &Tensor) -> Tensor {
        let Window { stride, padding, groups, .. } = self.window;
        if let Some(bias) = self.bias.as_ref().filter(|_| self.is_depthwise() && cpu::takes(xs)) {
            return cpu::depthwise(xs, &self.weight, bias).unwrap_or_else(|e| panic!("{e}"));
        }
        let (stride, padding) = ([stride; 2], [padding; 2]);
        xs.conv2d(&self.weight, self.bias.as_ref(), stride, padding, [1, 1], groups)
    }

    /// Whether each channel is convolved by itself, and the size stays.
    fn is_depthwise(&self) -> bool {
        let Window { kernel, stride, padding, groups } = self.window;
        let same = kernel % 2 == 1 && stride == 1 && padding == kernel / 2;
        same && groups > 1 && self.weight.size()[..2] == [groups, 1]
    }
}

/// xs (B, i, H, W) -> (B, o, stride H, stride W) for kernel = stride + 2 padding.
#[derive(Debug)]
pub struct ConvTranspose2d {
    weight: Tensor, // (i, o, kernel, kernel)
    bias: Tensor,
    window: Window,
}

impl ConvTranspose2d {
    /// PyTorch's default init, which the reference leaves as it is: uniform within 1 / sqrt(o kernel^2).
    pub fn new(p: &VarBuilder, i: i64, o: i64, window: Window) -> Self {
        // PyTorch takes the second dimension for the fan, which is o for a transposed convolution
        let bound = 1.0 / ((o * window.kernel * window.kernel) as f64).sqrt();
        let weight = p.var("weight", &[i, o, window.kernel, window.kernel], Init::Uniform(bound));
        Self { weight, bias: p.var("bias", &[o], Init::Uniform(bound)), window }
    }

    pub fn forward(&self, xs: &Tensor) -> Tensor {
        let Window { stride, padding, .. } = self.window;
        let (stride, padding) = ([stride; 2], [padding; 2]);
        xs.conv_transpose2d(&self.weight, Some(&self.bias), stride, padding, [0, 0], 1, [1, 1])
    }
}

/// Layer norm over the last dimension, no gain or offset.
pub fn layer_norm(xs: &Tensor) -> Tensor {
    if xs.kind() == Kind::BFloat16 {
        return layer_norm_bf16(xs, EPS).expect("bf16 values have a layer norm");
    }
    let c = xs.size().last().copied().expect("at least one dimension");
    xs.layer_norm([c], None::<Tensor>, None::<Tensor>, EPS, true)
}

/// Layer norm over the last dimension with gain and offset, epsilon 1e-5 as PyTorch has it: xs (.., c) -> (.., c).
#[derive(Debug)]
pub struct LayerNorm {
    weight: Tensor, // (c)
    bias: Tensor,
}

impl LayerNorm {
    pub fn new(p: &VarBuilder, c: i64) -> Self {
        Self { weight: p.var("weight", &[c], Init::Ones), bias: p.var("bias", &[c], Init::Zeros) }
    }

    pub fn forward(&self, xs: &Tensor) -> Tensor {
        xs.layer_norm(self.weight.size(), Some(&self.weight), Some(&self.bias), 1e-5, true)
    }
}

/// Layer norm over the channels of xs (B, c, H, W).
pub fn layer_norm2d(xs: &Tensor) -> Tensor {
    channels_first(&layer_norm(&channels_last(xs))) // libtorch norms the last dimensions only
}

/// xs (1 + a) + b: xs (B, c, H, W), a and b side by side (B, 2 c) -> (B, c, H, W).
pub fn scale_shift(xs: &Tensor, ab: &Tensor) -> Tensor {
    if cpu::takes(xs) {
        return cpu::scale_shift(xs, ab).unwrap_or_else(|e| panic!("{e}"));
    }
    let ab = ab.unsqueeze(-1).unsqueeze(-1).chunk(2, 1); // 2 x (B, c, 1, 1)
    if xs.kind() == Kind::BFloat16 {
        return ab[1].addcmul(xs, &(1.0 + &ab[0])); // the line below in one pass, rounded once
    }
    xs * (1.0 + &ab[0]) + &ab[1]
}

/// (B, c, H, W) -> (B, H, W, c), a view.
pub fn channels_last(xs: &Tensor) -> Tensor {
    xs.permute([0, 2, 3, 1])
}

/// (B, H, W, c) -> (B, c, H, W), a view.
pub fn channels_first(xs: &Tensor) -> Tensor {
    xs.permute([0, 3, 1, 2])
}

/// Global response norm: channels with much energy over the picture are raised against the others.
///
/// Formula: G_c = |x_c| over positions, N_c = G_c / (mean over channels of G + 1e-6), gamma x N + beta + x.
/// Shapes:  xs (B, H, W, c) -> (B, H, W, c).
/// Source:  dome272/Paella src/modules.py `GlobalResponseNorm` (ConvNeXt V2).
#[derive(Debug)]
pub struct GlobalResponseNorm {
    gamma: Tensor, // (1, 1, 1, c)
    beta: Tensor,
}

impl GlobalResponseNorm {
    pub fn new(p: &VarBuilder, c: i64) -> Self {
        Self {
            // zeros: a fresh norm passes its input on
            gamma: p.var("gamma", &[1, 1, 1, c], Init::Zeros),
            beta: p.var("beta", &[1, 1, 1, c], Init::Zeros),
        }
    }

    /// Dropout of the norm of GELU of xs (B, H, W, c), which is used up -> (B, H, W, c).
    pub fn after_gelu(&self, xs: Tensor, dropout: f64, train: bool) -> Tensor {
        let dropout = if train { dropout } else { 0.0 };
        if cpu::takes(&xs) {
            let normed = cpu::gelu_response_norm(xs, &self.gamma, &self.beta, dropout);
            return normed.unwrap_or_else(|e| panic!("{e}"));
        }
        let xs = self.forward(&xs.gelu("none"), train);
        if dropout > 0.0 { xs.dropout(dropout, true) } else { xs }
    }

    /// xs (B, H, W, c) -> (B, H, W, c). `train`: its gradient will be asked for. It is not read from `xs`: recomputed
    /// activations run forward without a graph first, and both runs have to agree.
    pub fn forward(&self, xs: &Tensor, train: bool) -> Tensor {
        let energy = if xs.kind() == Kind::BFloat16 && train {
            // Squares are rounded to bf16, their sum is f32. The gradient takes three passes over the widest tensor,
            // `norm`'s six. At least 1e-30: the root has no gradient at 0.
            (xs * xs).sum_dim_intlist(&[1i64, 2][..], true, Kind::Float).clamp_min(1e-30).sqrt()
        } else {
            xs.norm_scalaropt_dim(2.0, &[1i64, 2][..], true)
        }; // (B, 1, 1, c)
        let share = &energy / (energy.mean_dim(&[-1i64][..], true, Kind::Float) + 1e-6); // (B, 1, 1, c)
        if xs.kind() == Kind::BFloat16 {
            // The same in one pass over the widest tensor of the network, where the line below makes four.
            let gain = (&self.gamma * share + 1.0).to_kind(Kind::BFloat16); // (B, 1, 1, c)
            return self.beta.to_kind(Kind::BFloat16).addcmul(xs, &gain);
        }
        &self.gamma * (xs * share) + &self.beta + xs
    }
}

/// Sines and cosines of a noise ratio: t (B,) f32 -> (B, width); an odd width ends in a column of zeros.
///
/// Formula: [sin(10000 t f_k), cos(10000 t f_k)], f_k = 10000^(-k / (half - 1)), all in f32.
/// Source:  dome272/Paella modules.py `gen_r_embedding`; the prior has the same.
pub fn embed_ratio(t: &Tensor, width: i64) -> Tensor {
    let half = width / 2;
    let rate = -(10_000f64.ln()) / (half - 1) as f64;
    let frequency = (Tensor::arange(half, (Kind::Float, t.device())) * rate).exp(); // (half,) from 1 to 1 / 10000
    // The usual embedding is of a step out of thousands; t of 0..=1 is stretched to that.
    let angle = (t * 10_000.0).unsqueeze(1) * frequency.unsqueeze(0); // (B, half)
    let embedded = Tensor::cat(&[angle.sin(), angle.cos()], 1); // (B, 2 half)
    if width % 2 == 1 { embedded.constant_pad_nd([0, 1]) } else { embedded }
}
