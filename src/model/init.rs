//! The variable builder: names, shapes and initial values of a network's weights.

use std::ops::Div;
use tch::{Kind, Tensor, nn};

/// Initial values of a fresh variable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    Zeros,
    Ones,
    Normal(f64),
    Uniform(f64),
    /// `torch.nn.init.xavier_uniform_` times a gain.
    Xavier(f64),
}

/// Path in a `VarStore` that also knows whether variables are initialised or only listed.
///
/// Names join with dots, as in the published weights: `p / "down_blocks" / 1 / 0`.
#[derive(Clone)]
pub struct VarBuilder<'a> {
    path: nn::Path<'a>,
    skeleton: bool,
}

impl<'a> VarBuilder<'a> {
    /// Variables are filled at once.
    pub fn root(vars: &'a nn::VarStore) -> Self {
        Self { path: vars.root(), skeleton: false }
    }

    /// Variables have names and shapes but untouched memory: for weights that are loaded next, and for
    /// listing a network that would not fit.
    pub fn skeleton(vars: &'a nn::VarStore) -> Self {
        Self { path: vars.root(), skeleton: true }
    }

    /// A trained variable.
    pub fn var(&self, name: &str, dims: &[i64], init: Init) -> Tensor {
        self.path.add(name, self.filled(dims, init), true)
    }

    /// A variable that is saved but not trained, such as a running mean.
    pub fn buffer(&self, name: &str, dims: &[i64], init: Init) -> Tensor {
        self.path.add(name, self.filled(dims, init), false)
    }

    /// An integer counter that is saved with the weights.
    pub fn counter(&self, name: &str) -> Tensor {
        self.path.add(name, Tensor::zeros([0i64; 0], (Kind::Int64, self.path.device())), false)
    }

    /// The same tensor under a second name.
    pub fn alias(&self, name: &str, tensor: &Tensor) {
        // not trained a second time: the optimiser would move it twice
        let _ = self.path.add(name, tensor.shallow_clone(), false);
    }

    fn filled(&self, dims: &[i64], init: Init) -> Tensor {
        let empty = Tensor::empty(dims, (Kind::Float, self.path.device()));
        // initialising a billion weights that are read from a file next would take a minute
        if self.skeleton { empty } else { refill(empty, init) }
    }
}

impl<'a, T: ToString> Div<T> for &VarBuilder<'a> {
    type Output = VarBuilder<'a>;
    fn div(self, rhs: T) -> VarBuilder<'a> {
        VarBuilder { path: &self.path / rhs.to_string(), skeleton: self.skeleton }
    }
}

impl<'a, T: ToString> Div<T> for VarBuilder<'a> {
    type Output = VarBuilder<'a>;
    fn div(self, rhs: T) -> VarBuilder<'a> {
        &self / rhs
    }
}

fn refill(mut xs: Tensor, init: Init) -> Tensor {
    let _no_grad = tch::no_grad_guard(); // the start is no part of what is learned
    match init {
        Init::Zeros => xs.fill_(0.0),
        Init::Ones => xs.fill_(1.0),
        Init::Normal(std) => xs.normal_(0.0, std),
        Init::Uniform(bound) => xs.uniform_(-bound, bound),
        Init::Xavier(gain) => {
            let dims = xs.size(); // (o, i, kernel..)
            let field: i64 = dims[2..].iter().product(); // 1 for a linear layer
            // variance 2 / (fan in + fan out): signals keep their size forward, gradients backward
            let bound = gain * (6.0 / ((dims[0] + dims[1]) * field) as f64).sqrt();
            xs.uniform_(-bound, bound)
        }
    }
}
