//! The workspace: the picture in hand, its tokens, their noise, the sampling run. Cheap to copy.

use super::view::TokenGrid;
use crate::error::{Error, Result};
use crate::noise::Noised;
use crate::sample::Step;
use std::rc::Rc;
use tch::Tensor;

/// Everything that the commands hand on to each other. Nothing in it is ever changed in place.
#[derive(Clone, Debug, Default)]
pub struct Workspace {
    pub picture: Option<Rc<Picture>>,
    /// Tokens of the picture, (1, h, w) i64.
    pub tokens: Option<Rc<Tensor>>,
    /// The picture's tokens under noise, a batch of one.
    pub noised: Option<Rc<Noised>>,
    pub sampling: Option<Rc<Sampling>>,
}

/// A picture with its caption, from the data set, a file or the sampler.
#[derive(Debug)]
pub struct Picture {
    /// (1, 3, S, S) f32 in 0..=1.
    pub images: Tensor,
    pub caption: String,
    /// Its place in the data set, where it comes from there.
    pub index: Option<i64>,
}

/// A sampling run that is walked through one step at a time.
#[derive(Debug)]
pub struct Sampling {
    pub text: String,
    pub negative: String,
    pub plan: Vec<Step>,
    /// The grid of noise it started from, (1, h, w) i64.
    pub noise: Tensor,
    /// The tokens before step 0, 1, 2, ..: as many as steps taken, and one.
    pub path: Vec<Rc<Tensor>>,
    pub seed: u64,
    pub greedy: bool,
}

impl Workspace {
    pub fn picture(&self) -> Result<Rc<Picture>> {
        let hint = "`show 0`, `show red apple` or `sample \"red apple\"` puts one there";
        self.picture.clone().ok_or_else(|| Error::command("there is no picture yet", "", hint))
    }

    pub fn tokens(&self) -> Result<Rc<Tensor>> {
        let hint = "`encode` makes them";
        self.tokens.clone().ok_or_else(|| Error::command("there are no tokens yet", "", hint))
    }

    pub fn noised(&self) -> Result<Rc<Noised>> {
        let hint = "`noise 0.5` puts some there";
        self.noised.clone().ok_or_else(|| Error::command("there is no noise yet", "", hint))
    }

    pub fn sampling(&self) -> Result<Rc<Sampling>> {
        let hint = "`start \"red apple\"` begins one";
        self.sampling
            .clone()
            .ok_or_else(|| Error::command("no sampling run is under way", "", hint))
    }

    /// Another picture: what was made from the last one goes.
    pub fn put(&mut self, picture: Picture) {
        *self = Self { picture: Some(Rc::new(picture)), ..Self::default() };
    }

    /// Name and shape of all that lies here.
    pub fn shapes(&self) -> Vec<(&'static str, String)> {
        let mut rows = Vec::new();
        let mut add = |name, tensor: &Tensor, letters: &str| {
            rows.push((name, format!("{letters} = {:?} {:?}", tensor.size(), tensor.kind())));
        };
        if let Some(picture) = &self.picture {
            add("images", &picture.images, "(B, 3, H, W)");
        }
        if let Some(tokens) = &self.tokens {
            add("tokens", tokens, "(B, h, w)");
        }
        if let Some(noised) = &self.noised {
            add("noised", &noised.tokens, "(B, h, w)");
            add("mask", &noised.mask, "(B, h, w)");
        }
        if let Some(sampling) = &self.sampling {
            add("noise", &sampling.noise, "(B, h, w)");
        }
        rows
    }
}

/// tokens (1, h, w) i64, mask (1, h, w) bool or none, colours of the codes or none of them -> a grid to show.
pub fn token_grid(
    tokens: &Tensor,
    mask: Option<&Tensor>,
    colors: &[[u8; 3]],
    caption: impl Into<String>,
) -> TokenGrid {
    let numbers = ints(tokens);
    let color = |&token: &i64| colors.get(token as usize).copied().unwrap_or([128; 3]);
    let known = if colors.is_empty() { &[][..] } else { &numbers[..] };
    TokenGrid {
        width: tokens.size().last().map_or(1, |&w| w as usize),
        colors: known.iter().map(color).collect(),
        marked: mask.map(|m| ints(m).iter().map(|&m| m != 0).collect()).unwrap_or_default(),
        tokens: numbers,
        caption: caption.into(),
    }
}

/// Any tensor of whole numbers or truths -> its values, row by row.
pub fn ints(tensor: &Tensor) -> Vec<i64> {
    let flat = tensor.to_kind(tch::Kind::Int64).to_device(tch::Device::Cpu).flatten(0, -1);
    Vec::<i64>::try_from(&flat).expect("a flat tensor of i64")
}

/// Any tensor of numbers -> its values, row by row.
pub fn floats(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.to_kind(tch::Kind::Double).to_device(tch::Device::Cpu).flatten(0, -1);
    Vec::<f64>::try_from(&flat).expect("a flat tensor of f64")
}
