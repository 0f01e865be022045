//! Where variables live and how they start.

use std::ops::Div;
use tch::{Kind, Tensor, nn};

/// How a fresh variable is filled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    Zeros,
    Ones,
    Normal(f64),
    Uniform(f64),
    /// `torch.nn.init.xavier_uniform_` times a gain.
    Xavier(f64),
}

/// A place in a `VarStore`: a path that also knows whether variables are filled or only listed.
///
/// Names join with dots, as in the published weights: `p / "down_blocks" / 1 / 0`.
#[derive(Clone)]
pub struct Place<'a> {
    path: nn::Path<'a>,
    skeleton: bool,
}

impl<'a> Place<'a> {
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
    pub fn var(&self, name: &str, dims: &[i64], fill: Fill) -> Tensor {
        self.path.add(name, self.filled(dims, fill), true)
    }

    /// A variable that is saved but not trained, such as a running mean.
    pub fn buffer(&self, name: &str, dims: &[i64], fill: Fill) -> Tensor {
        self.path.add(name, self.filled(dims, fill), false)
    }

    /// An integer counter that is saved with the weights.
    pub fn counter(&self, name: &str) -> Tensor {
        self.path.add(name, Tensor::zeros([0i64; 0], (Kind::Int64, self.path.device())), false)
    }

    /// The same tensor under a second name.
    pub fn alias(&self, name: &str, tensor: &Tensor) {
        let _ = self.path.add(name, tensor.shallow_clone(), false);
    }

    fn filled(&self, dims: &[i64], fill: Fill) -> Tensor {
        let empty = Tensor::empty(dims, (Kind::Float, self.path.device()));
        if self.skeleton { empty } else { refill(empty, fill) }
    }
}

impl<'a, T: ToString> Div<T> for &Place<'a> {
    type Output = Place<'a>;
    fn div(self, rhs: T) -> Place<'a> {
        Place { path: &self.path / rhs.to_string(), skeleton: self.skeleton }
    }
}

impl<'a, T: ToString> Div<T> for Place<'a> {
    type Output = Place<'a>;
    fn div(self, rhs: T) -> Place<'a> {
        &self / rhs
    }
}

fn refill(mut xs: Tensor, fill: Fill) -> Tensor {
    let _no_grad = tch::no_grad_guard();
    match fill {
        Fill::Zeros => xs.fill_(0.0),
        Fill::Ones => xs.fill_(1.0),
        Fill::Normal(std) => xs.normal_(0.0, std),
        Fill::Uniform(bound) => xs.uniform_(-bound, bound),
        Fill::Xavier(gain) => {
            let dims = xs.size();
            let field: i64 = dims[2..].iter().product();
            let bound = gain * (6.0 / ((dims[0] + dims[1]) * field) as f64).sqrt();
            xs.uniform_(-bound, bound)
        }
    }
}
