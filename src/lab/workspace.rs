//! The workspace: the current picture, its tokens, their noised version, the sampling run. Cheap to copy.

use super::canvas::EditCanvas;
use super::mix::Mixture;
use super::seam::SeamLoss;
use super::view::TokenGrid;
use crate::error::{Error, Result};
use crate::model::weigh::PartWeights;
use crate::noise::Noised;
use crate::sample::Step;
use std::rc::Rc;
use tch::Tensor;

/// The data that commands pass to each other. Entries are replaced, never modified.
#[derive(Clone, Debug, Default)]
pub struct Workspace {
    pub picture: Option<Rc<Picture>>,
    /// Tokens of the picture, (1, h, w) i64.
    pub tokens: Option<Rc<Tensor>>,
    /// The noised tokens of the picture, a batch of one.
    pub noised: Option<Rc<Noised>>,
    pub sampling: Option<Rc<Sampling>>,
    /// The run that made the picture, all steps at once.
    pub made: Option<Rc<Sampling>>,
}

/// A picture with its caption, from the data set, a file or the sampler.
#[derive(Debug)]
pub struct Picture {
    /// (1, 3, H, W) f32 in 0..=1.
    pub images: Tensor,
    pub caption: String,
    /// Index in the data set, if the picture comes from there.
    pub index: Option<i64>,
}

/// A sampling run that advances one step at a time.
#[derive(Debug)]
pub struct Sampling {
    pub text: String,
    /// A text for each picture in place of `text`. Empty: all have that one.
    pub each: Vec<String>,
    /// The text that the last of the pictures has.
    pub to: Option<String>,
    /// Pictures and texts that condition the run in place of `text`.
    pub mix: Option<Rc<Mixture>>,
    /// The picture that conditions the last of the pictures, as `mix` does the first.
    pub mix_to: Option<Rc<Mixture>>,
    /// Whether the prior's guess of a picture stands beside a text, where the model has a prior.
    pub with_prior: bool,
    pub weights: Option<PartWeights>,
    pub negative: String,
    pub schedule: Vec<Step>,
    /// The initial noise, (B, h, w) i64 for B pictures.
    pub noise: Tensor,
    /// The tokens before step 0, 1, 2, ..: one more entry than steps taken.
    pub path: Vec<Rc<Tensor>>,
    /// Seed of each picture.
    pub(super) seeds: Vec<u64>,
    pub greedy: bool,
    /// What of the request has no effect, and how its area was read.
    pub remarks: Vec<String>,
    /// The picture that the run edits.
    pub canvas: Option<Rc<EditCanvas>>,
    /// What the edit begins with has been shown.
    pub(super) was_shown: bool,
    /// What the seam of the edit costs, once the run is at its end.
    pub seam: Option<SeamLoss>,
}

/// Seeds of `count` pictures: `first` and the numbers that follow, or always the `same`.
pub(super) fn seeds_of(first: u64, count: i64, same: bool) -> Vec<u64> {
    (0..count as u64).map(|k| if same { first } else { first.wrapping_add(k) }).collect()
}

impl Sampling {
    /// The seed of each picture: any of them can be made again alone.
    pub fn seeds(&self) -> &[u64] {
        &self.seeds
    }

    pub(super) fn seeds_in_words(&self) -> String {
        match self.seeds.as_slice() {
            [first, .., last] if first != last => format!("seeds {first} to {last}"),
            all => format!("seed {}", all[0]),
        }
    }

    /// Pictures of the run with the pixels that it keeps: (B, 3, H, W) -> the same.
    pub(super) fn restored(&self, images: Tensor) -> Tensor {
        match &self.canvas {
            Some(canvas) => canvas.restore(images),
            None => images,
        }
    }

    /// The caption of its pictures: its text, else those of the pictures that it varies.
    pub fn caption(&self) -> String {
        match &self.mix {
            Some(mix) if self.text.is_empty() => mix.captions.clone(),
            _ => self.text.clone(),
        }
    }

    /// Its text, or both of them.
    pub(super) fn texts(&self) -> String {
        if let Some(mix) = &self.mix {
            let text = if self.text.is_empty() { "" } else { " and " };
            let to =
                self.mix_to.as_ref().map_or(String::new(), |to| format!(" to {}", to.captions));
            return format!("picture of {}{to}{text}{}", mix.captions, self.text);
        }
        self.to.iter().fold(self.text.clone(), |text, to| format!("{text}\" to \"{to}"))
    }

    /// The same run with another path.
    pub(super) fn with_path(&self, path: Vec<Rc<Tensor>>) -> Self {
        Self {
            text: self.text.clone(),
            each: self.each.clone(),
            to: self.to.clone(),
            mix: self.mix.clone(),
            mix_to: self.mix_to.clone(),
            with_prior: self.with_prior,
            weights: self.weights.clone(),
            negative: self.negative.clone(),
            schedule: self.schedule.clone(),
            noise: self.noise.shallow_clone(),
            path,
            seeds: self.seeds.clone(),
            greedy: self.greedy,
            remarks: self.remarks.clone(),
            canvas: self.canvas.clone(),
            was_shown: self.was_shown,
            seam: self.seam,
        }
    }

    pub(super) fn seam_in_words(&self) -> Option<String> {
        let of = if self.seeds.len() > 1 { "in the first picture, " } else { "" };
        self.seam.map(|seam| format!("{of}{seam}"))
    }
}

impl Workspace {
    /// The current picture.
    ///
    /// Errors: there is none; the hint names commands that make one.
    pub fn picture(&self) -> Result<Rc<Picture>> {
        let hint = "`show 0`, `show red apple` or `sample \"red apple\"` puts one there";
        self.picture.clone().ok_or_else(|| Error::command("there is no picture yet", "", hint))
    }

    /// The run that made the current picture, at once or step by step. One that goes step by step stays when another picture
    /// is taken in hand: then there is none.
    pub fn run(&self) -> Option<Rc<Sampling>> {
        let run = self.made.clone().or_else(|| self.sampling.clone())?;
        let picture = self.picture.as_ref()?;
        let made = run.path.len() > 1 && picture.index.is_none();
        (made && run.caption() == picture.caption).then_some(run)
    }

    /// The tokens of the current picture.
    ///
    /// Errors: there are none.
    pub fn tokens(&self) -> Result<Rc<Tensor>> {
        let hint = "`encode` makes them";
        self.tokens.clone().ok_or_else(|| Error::command("there are no tokens yet", "", hint))
    }

    /// The noised tokens.
    ///
    /// Errors: there are none.
    pub fn noised(&self) -> Result<Rc<Noised>> {
        let hint = "`noise 0.5` puts some there";
        self.noised.clone().ok_or_else(|| Error::command("there is no noise yet", "", hint))
    }

    /// The sampling run.
    ///
    /// Errors: there is none.
    pub fn sampling(&self) -> Result<Rc<Sampling>> {
        let hint = "`start \"red apple\"` begins one";
        self.sampling
            .clone()
            .ok_or_else(|| Error::command("no sampling run is under way", "", hint))
    }

    /// Makes a picture the current one, and removes everything derived from the previous one.
    pub fn put(&mut self, picture: Picture) {
        *self = Self { picture: Some(Rc::new(picture)), ..Self::default() };
    }

    /// Name and shape of each tensor on the workspace.
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

/// Builds a grid to show from tokens (1, h, w) i64, an optional mask (1, h, w) bool, and the colours of the codes (may
/// be empty).
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

/// The values of an integer or boolean tensor, row by row.
pub fn ints(tensor: &Tensor) -> Vec<i64> {
    let flat = tensor.to_kind(tch::Kind::Int64).to_device(tch::Device::Cpu).flatten(0, -1);
    Vec::<i64>::try_from(&flat).expect("a flat tensor of i64")
}

/// The values of a numeric tensor, row by row.
pub fn floats(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.to_kind(tch::Kind::Double).to_device(tch::Device::Cpu).flatten(0, -1);
    Vec::<f64>::try_from(&flat).expect("a flat tensor of f64")
}
