//! InceptionV3 as the Fréchet Inception distance (FID) has it: a picture as 2,048 numbers.
//!
//! Letters: B pictures of S x S pixels, c channels, H x W positions.
//!
//! Source: mseitzer/pytorch-fid, `inception.py`, round torchvision's `inception_v3`. Weights carry the names of its state
//! dict, `pt_inception-2015-12-05-*.pth`. It differs from torchvision's network in its pooling: means do not count the
//! border, and the last block takes the largest value in place of the mean.

use super::init::{Init, VarBuilder};
use tch::Tensor;

/// Numbers of a picture.
pub const FEATURES: i64 = 2048;
/// Side in pixels that pictures are brought to.
const SIDE: i64 = 299;
/// Classes of the weights. Torchvision's have 1,000.
const CLASSES: i64 = 1008;

/// The network up to its last mean.
#[derive(Debug)]
pub struct Inception(Vec<Layer>);

impl Inception {
    pub fn new(p: &VarBuilder) -> Self {
        // not computed with: its shape tells these weights from those of other Inceptions
        let fc = p / "fc";
        let _ = fc.var("weight", &[CLASSES, FEATURES], Init::Zeros);
        let _ = fc.var("bias", &[CLASSES], Init::Zeros);
        let chain = Chain { p: p.clone(), c: 3, layers: Vec::new() }
            .inside("Conv2d_1a_3x3", 32, 2) // (B, 32, 149, 149)
            .inside("Conv2d_2a_3x3", 32, 1) // (B, 32, 147, 147)
            .same("Conv2d_2b_3x3", 64, [3, 3])
            .largest(2, 0) // (B, 64, 73, 73)
            .same("Conv2d_3b_1x1", 80, [1, 1])
            .inside("Conv2d_4a_3x3", 192, 1) // (B, 192, 71, 71)
            .largest(2, 0) // (B, 192, 35, 35)
            .mixed("Mixed_5b", |at| mixed_5(at, 32))
            .mixed("Mixed_5c", |at| mixed_5(at, 64))
            .mixed("Mixed_5d", |at| mixed_5(at, 64)) // (B, 288, 35, 35)
            .mixed("Mixed_6a", mixed_6a) // (B, 768, 17, 17)
            .mixed("Mixed_6b", |at| mixed_6(at, 128))
            .mixed("Mixed_6c", |at| mixed_6(at, 160))
            .mixed("Mixed_6d", |at| mixed_6(at, 160))
            .mixed("Mixed_6e", |at| mixed_6(at, 192))
            .mixed("Mixed_7a", mixed_7a) // (B, 1280, 8, 8)
            .mixed("Mixed_7b", |at| mixed_7(at, Chain::mean))
            .mixed("Mixed_7c", |at| mixed_7(at, |chain| chain.largest(1, 1))); // (B, 2048, 8, 8)
        Self(chain.layers)
    }

    /// images (B, 3, S, S) f32 in 0..=1 -> (B, 2048) f32.
    pub fn features(&self, images: &Tensor) -> Tensor {
        let xs = images.upsample_bilinear2d([SIDE, SIDE], false, None, None); // (B, 3, 299, 299)
        let xs = through(&self.0, &(xs * 2.0 - 1.0)); // (B, 2048, 8, 8)
        xs.mean_dim(&[2i64, 3][..], false, None)
    }
}

/// What the network consists of: (B, c, H, W) -> (B, c', H', W').
#[derive(Debug)]
enum Layer {
    Conv(Conv),
    /// Mean of 3 x 3 positions, of those that there are.
    Mean,
    /// Largest of 3 x 3 positions.
    Max {
        stride: i64,
        padding: i64,
    },
    /// Each on the same input, their channels side by side.
    Branches(Vec<Vec<Layer>>),
}

impl Layer {
    fn forward(&self, xs: &Tensor) -> Tensor {
        match self {
            Self::Conv(conv) => conv.forward(xs),
            Self::Mean => xs.avg_pool2d([3, 3], [1, 1], [1, 1], false, false, None),
            Self::Max { stride, padding } => {
                xs.max_pool2d([3, 3], [*stride; 2], [*padding; 2], [1, 1], false)
            }
            Self::Branches(all) => {
                let parts: Vec<Tensor> = all.iter().map(|branch| through(branch, xs)).collect();
                Tensor::cat(&parts, 1)
            }
        }
    }
}

/// One layer after the other.
fn through(layers: &[Layer], xs: &Tensor) -> Tensor {
    layers.iter().fold(xs.shallow_clone(), |xs, layer| layer.forward(&xs))
}

/// A convolution without bias, batch norm with the statistics of its training (epsilon 0.001), and ReLU.
#[derive(Debug)]
struct Conv {
    weight: Tensor, // (o, i, kernel)
    gain: Tensor,   // (o), as all below
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    stride: i64,
    padding: [i64; 2],
}

impl Conv {
    fn new(p: &VarBuilder, dims: [i64; 4], stride: i64, padding: [i64; 2]) -> Self {
        let (bn, o) = (p / "bn", &dims[..1]);
        Self {
            weight: (p / "conv").var("weight", &dims, Init::Normal(0.1)),
            gain: bn.var("weight", o, Init::Ones),
            bias: bn.var("bias", o, Init::Zeros),
            mean: bn.buffer("running_mean", o, Init::Zeros),
            variance: bn.buffer("running_var", o, Init::Ones),
            stride,
            padding,
        }
    }

    fn forward(&self, xs: &Tensor) -> Tensor {
        let (none, stride) = (None::<Tensor>, [self.stride; 2]);
        let xs = xs.conv2d(&self.weight, none, stride, self.padding, [1, 1], 1);
        let (gain, bias) = (Some(&self.gain), Some(&self.bias));
        let (mean, variance) = (Some(&self.mean), Some(&self.variance));
        xs.batch_norm(gain, bias, mean, variance, false, 0.0, 1e-3, true).relu()
    }
}

/// Layers that follow each other, and the channels that the last one gives.
struct Chain<'a> {
    p: VarBuilder<'a>,
    c: i64,
    layers: Vec<Layer>,
}

impl Chain<'_> {
    /// A convolution that keeps the size.
    fn same(self, name: &str, o: i64, kernel: [i64; 2]) -> Self {
        self.conv(name, o, kernel, 1, kernel.map(|n| n / 2))
    }

    /// A convolution of 3 x 3 positions inside of the picture, without a border.
    fn inside(self, name: &str, o: i64, stride: i64) -> Self {
        self.conv(name, o, [3, 3], stride, [0, 0])
    }

    fn conv(
        mut self,
        name: &str,
        o: i64,
        [h, w]: [i64; 2],
        stride: i64,
        padding: [i64; 2],
    ) -> Self {
        let conv = Conv::new(&(&self.p / name), [o, self.c, h, w], stride, padding);
        self.layers.push(Layer::Conv(conv));
        Self { c: o, ..self }
    }

    fn mean(mut self) -> Self {
        self.layers.push(Layer::Mean);
        self
    }

    fn largest(mut self, stride: i64, padding: i64) -> Self {
        self.layers.push(Layer::Max { stride, padding });
        self
    }

    /// No layers yet, on the output of this one.
    fn fresh(&self) -> Self {
        Self { p: self.p.clone(), c: self.c, layers: Vec::new() }
    }

    /// Branches below `name`.
    fn mixed(self, name: &str, branches: impl Fn(&Self) -> Vec<Self>) -> Self {
        let all = branches(&Self { p: &self.p / name, ..self.fresh() });
        self.joined(all)
    }

    /// A row and a column of three positions, side by side.
    fn crossed(self, names: [&str; 2], o: i64) -> Self {
        let [row, column] = names;
        let all = [(row, [1, 3]), (column, [3, 1])];
        let all = all.map(|(name, kernel)| self.fresh().same(name, o, kernel));
        self.joined(all.into())
    }

    fn joined(mut self, all: Vec<Self>) -> Self {
        let c = all.iter().map(|branch| branch.c).sum();
        let branches = all.into_iter().map(|branch| branch.layers).collect();
        self.layers.push(Layer::Branches(branches));
        Self { c, ..self }
    }
}

/// `InceptionA`.
fn mixed_5<'a>(at: &Chain<'a>, pooled: i64) -> Vec<Chain<'a>> {
    let five = at.fresh().same("branch5x5_1", 48, [1, 1]).same("branch5x5_2", 64, [5, 5]);
    let three = at.fresh().same("branch3x3dbl_1", 64, [1, 1]).same("branch3x3dbl_2", 96, [3, 3]);
    vec![
        at.fresh().same("branch1x1", 64, [1, 1]),
        five,
        three.same("branch3x3dbl_3", 96, [3, 3]),
        at.fresh().mean().same("branch_pool", pooled, [1, 1]),
    ]
}

/// `InceptionB`: halves the size.
fn mixed_6a<'a>(at: &Chain<'a>) -> Vec<Chain<'a>> {
    let three = at.fresh().same("branch3x3dbl_1", 64, [1, 1]).same("branch3x3dbl_2", 96, [3, 3]);
    vec![
        at.fresh().inside("branch3x3", 384, 2),
        three.inside("branch3x3dbl_3", 96, 2),
        at.fresh().largest(2, 0),
    ]
}

/// `InceptionC`.
fn mixed_6<'a>(at: &Chain<'a>, c: i64) -> Vec<Chain<'a>> {
    let once = at.fresh().same("branch7x7_1", c, [1, 1]).same("branch7x7_2", c, [1, 7]);
    let twice = at.fresh().same("branch7x7dbl_1", c, [1, 1]).same("branch7x7dbl_2", c, [7, 1]);
    let twice = twice.same("branch7x7dbl_3", c, [1, 7]).same("branch7x7dbl_4", c, [7, 1]);
    vec![
        at.fresh().same("branch1x1", 192, [1, 1]),
        once.same("branch7x7_3", 192, [7, 1]),
        twice.same("branch7x7dbl_5", 192, [1, 7]),
        at.fresh().mean().same("branch_pool", 192, [1, 1]),
    ]
}

/// `InceptionD`: halves the size.
fn mixed_7a<'a>(at: &Chain<'a>) -> Vec<Chain<'a>> {
    let seven = at.fresh().same("branch7x7x3_1", 192, [1, 1]).same("branch7x7x3_2", 192, [1, 7]);
    vec![
        at.fresh().same("branch3x3_1", 192, [1, 1]).inside("branch3x3_2", 320, 2),
        seven.same("branch7x7x3_3", 192, [7, 1]).inside("branch7x7x3_4", 192, 2),
        at.fresh().largest(2, 0),
    ]
}

/// `InceptionE` with this pooling.
fn mixed_7<'a>(at: &Chain<'a>, pool: impl Fn(Chain<'a>) -> Chain<'a>) -> Vec<Chain<'a>> {
    let three = at.fresh().same("branch3x3_1", 384, [1, 1]);
    let twice = at.fresh().same("branch3x3dbl_1", 448, [1, 1]).same("branch3x3dbl_2", 384, [3, 3]);
    vec![
        at.fresh().same("branch1x1", 320, [1, 1]),
        three.crossed(["branch3x3_2a", "branch3x3_2b"], 384),
        twice.crossed(["branch3x3dbl_3a", "branch3x3dbl_3b"], 384),
        pool(at.fresh()).same("branch_pool", 192, [1, 1]),
    ]
}
