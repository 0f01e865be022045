//! Where the denoiser looks: which places of the picture look at a word of the text, or at a part of the conditions.
//!
//! Letters: H x W positions of a level, S condition vectors, L of them of the text's tokens.

use super::Lab;
use super::picture::first_image;
use super::runner::conditions;
use super::view::{View, plain};
use super::workspace::{Sampling, floats};
use crate::error::{Result, counted};
use crate::image;
use crate::model::attention::BlockAttention;
use crate::model::weigh::PARTS;
use crate::near::did_you_mean;
use crate::tokens::words::TextTokens;
use ::image::{Rgb, RgbImage};
use std::ops::Range;
use tch::{Kind, Tensor};

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// A word or several, as the text has them.
    Word(String),
    /// One of [`PARTS`].
    Part(String),
}

/// One pass with its attention.
struct LastPass {
    text: String,
    /// What the model reads of it.
    reads: TextTokens,
    blocks: Vec<BlockAttention>,
    /// Condition vectors of each of [`PARTS`].
    lengths: [i64; 3],
    /// Noise ratio of the pass.
    t: f64,
    weighted: bool,
    self_attn: bool,
}

impl Lab {
    /// Draws over the current picture which places look at a word or a part: mean over heads and blocks of the last pass
    /// that made it, with `levels` also for each level alone. For a picture from elsewhere it is a pass on its tokens. With
    /// nothing named: a table of the shares of all parts and words.
    ///
    /// Errors: no picture; a word that the text has not, or that the model does not read; an absent part; no A blocks.
    pub fn attention(&mut self, looked: Option<&Looked>, levels: bool) -> Result<View> {
        let picture = self.state.workspace.picture()?;
        let pass = self.last_pass()?;
        if pass.blocks.is_empty() {
            let hint = "a model with blocks A in `model.levels`, such as emoji-64";
            return Err(Self::fault("this model has no attention", hint));
        }
        let Some(looked) = looked else { return Ok(pass.table()) };
        let (what, columns) = pass.columns(looked)?;
        let picture = first_image(&picture.images);
        let maps: Vec<(usize, Tensor)> = pass
            .blocks
            .iter()
            .map(|block| (block.level, share_of(&block.shares, &columns)))
            .collect();
        let all: Vec<&Tensor> = maps.iter().map(|(_, map)| map).collect();
        let map = mean(&all, &picture);
        let caption = format!(
            "{what}, dark to bright: {} of the attention of each place; T = {}, {}",
            in_words(&map),
            plain(pass.t),
            counted(maps.len(), "block"),
        );
        let both = image::grid(&[picture.clone(), lit(&picture, &map)], 2, 2);
        let mut view = View::new().picture(both, caption);
        let deepest = maps.iter().map(|(level, _)| *level).max().unwrap_or(0);
        for level in (0..=deepest).filter(|_| levels) {
            let own: Vec<&Tensor> =
                maps.iter().filter(|map| map.0 == level).map(|map| &map.1).collect();
            let Some(first) = own.first() else { continue };
            let (size, map) = (first.size(), mean(&own, &picture));
            let caption =
                format!("level {level}, {} x {} positions: {}", size[1], size[0], in_words(&map));
            view = view.picture(lit(&picture, &map), caption);
        }
        Ok(view)
    }

    /// The last pass of the run that made the current picture, else a pass on its tokens with its caption.
    fn last_pass(&mut self) -> Result<LastPass> {
        let workspace = &self.state.workspace;
        let run = match workspace.run() {
            Some(run) => run,
            None => {
                let (tokens, picture) = (self.need_tokens()?, self.state.workspace.picture()?);
                let t = self.state.settings.sample.schedule().pop();
                return self.pass_on(&tokens, t.map_or(0.0, |step| step.t), &picture.caption, None);
            }
        };
        let at = run.path.len() - 2;
        // the tokens of several texts stand at the same places
        let several = run.mix.as_ref().is_some_and(|mix| mix.texts().count() > 1);
        let text = if several { "" } else { &run.text };
        self.pass_on(&run.path[at], run.schedule[at].t, text, Some(&run))
    }

    /// A pass on the first of these tokens (B, h, w).
    fn pass_on(
        &self,
        tokens: &Tensor,
        t: f64,
        text: &str,
        run: Option<&Sampling>,
    ) -> Result<LastPass> {
        let model = self.model()?;
        let model = model.borrow();
        let nets = model.nets();
        let cond = match run {
            Some(run) => conditions(nets, run).0.mixed(&[1.0], 1),
            None => nets.condition(&[text.to_string()]),
        };
        let ratio = Tensor::full([1], t, (Kind::Float, nets.device));
        let tokens = tokens.narrow(0, 0, 1).to_device(nets.device);
        Ok(LastPass {
            text: text.into(),
            reads: nets.config.text.tokens,
            blocks: nets.denoiser.attention(&tokens, &ratio, &cond),
            lengths: cond.lengths(nets.config.model.clip_seq_len),
            t,
            weighted: cond.attn_weights.is_some(),
            self_attn: nets.config.model.looks_at_itself(),
        })
    }
}

impl LastPass {
    /// Name and columns of what is looked at.
    fn columns(&self, looked: &Looked) -> Result<(String, Vec<i64>)> {
        match looked {
            Looked::Part(part) => {
                let known = || PARTS.join(", ");
                let Some(at) = PARTS.iter().position(|name| name == part) else {
                    let hint = did_you_mean(part, PARTS, known());
                    return Err(Lab::fault(format!("`{part}` is no part"), hint));
                };
                let part = self.part(at);
                if part.is_empty() {
                    let there = (0..3).filter(|i| !self.part(*i).is_empty()).map(|i| PARTS[i]);
                    let hint = format!("there is {}", there.collect::<Vec<_>>().join(" and "));
                    return Err(Lab::fault(
                        format!("no {} conditions this picture", PARTS[at]),
                        hint,
                    ));
                }
                Ok((PARTS[at].into(), part.collect()))
            }
            Looked::Word(word) => {
                let found = places(&self.text, word);
                if found.is_empty() {
                    let hint = match self.text.is_empty() {
                        true => {
                            "it was made without a text, or with several; `attention` tells what there is".into()
                        }
                        false => format!("the text is \"{}\"", self.text),
                    };
                    return Err(Lab::fault(format!("the text has no `{word}`"), hint));
                }
                let read = self.lengths[0] - 1; // the end token takes one
                let tokens = self.reads.spans(&self.text);
                let meant = |token: &Range<usize>| {
                    found.iter().any(|at| at.start < token.end && token.start < at.end)
                };
                let columns: Vec<i64> =
                    (0..read).zip(&tokens).filter(|(_, at)| meant(at)).map(|(i, _)| i).collect();
                if columns.is_empty() {
                    let hint =
                        format!("it reads the first {read} {}s of the text", self.reads.noun());
                    return Err(Lab::fault(format!("the model does not read `{word}`"), hint));
                }
                Ok((format!("`{word}` of \"{}\"", self.text), columns))
            }
        }
    }

    /// The condition vectors of a part.
    fn part(&self, at: usize) -> Range<i64> {
        let before: i64 = self.lengths[..at].iter().sum();
        before..before + self.lengths[at]
    }

    /// The mean share over all positions and blocks, and the largest.
    fn shares(&self, columns: &[i64]) -> (f64, f64) {
        let each = self.blocks.iter().map(|block| share_of(&block.shares, columns));
        let each: Vec<(f64, f64)> = each
            .map(|map| (map.mean(Kind::Float).double_value(&[]), map.max().double_value(&[])))
            .collect();
        let mean = each.iter().map(|(mean, _)| mean).sum::<f64>() / each.len() as f64;
        (mean, each.iter().map(|(_, most)| *most).fold(0.0, f64::max))
    }

    /// How much of the attention goes to each part, and to each word of the text.
    fn table(&self) -> View {
        let row = |name: String, columns: &[i64]| {
            let (mean, most) = self.shares(columns);
            vec![name, format!("{:.2} %", mean * 100.0), format!("{:.2} %", most * 100.0)]
        };
        let parts = (0..3).filter(|at| !self.part(*at).is_empty());
        let mut rows: Vec<Vec<String>> =
            parts.map(|at| row(PARTS[at].into(), &self.part(at).collect::<Vec<_>>())).collect();
        let mut rest: Vec<i64> = self.part(0).collect();
        let (mut words, mut seen) = (Vec::new(), Vec::new());
        for word in words_of(&self.text) {
            if seen.contains(&word) {
                continue;
            }
            seen.push(word);
            if let Ok((_, columns)) = self.columns(&Looked::Word(word.into())) {
                rest.retain(|column| !columns.contains(column));
                words.push(row(format!("  `{word}`"), &columns));
            }
        }
        let at = rows.len().min(1);
        words.push(row("  blanks, signs, the end of the text and what fills it up".into(), &rest));
        rows.splice(at..at, words);
        if self.self_attn && !self.weighted {
            let all: Vec<i64> = (0..self.lengths.iter().sum()).collect();
            let own = (1.0 - self.shares(&all).0) * 100.0;
            rows.insert(0, vec!["the picture itself".into(), format!("{own:.2} %"), String::new()]);
        }
        View::new().table(&["what the picture looks at", "on average", "at most"], rows).note(
            format!(
                "one pass at T = {}; `attention WORD` draws a word over the picture",
                plain(self.t)
            ),
        )
    }
}

/// The words of a text, without the signs around them.
pub(super) fn words_of(text: &str) -> impl Iterator<Item = &str> {
    let bare =
        text.split_whitespace().map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()));
    bare.filter(|word| !word.is_empty())
}

/// Bytes of a text at which a word stands. Case does not count. A whole word is meant where there is one.
fn places(text: &str, word: &str) -> Vec<Range<usize>> {
    let (small, wanted) = (text.to_ascii_lowercase(), word.trim().to_ascii_lowercase());
    if wanted.is_empty() {
        return Vec::new();
    }
    let all = small.match_indices(&wanted).map(|(at, _)| at..at + wanted.len());
    let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let whole = |at: &Range<usize>| {
        !is_letter(small[..at.start].chars().next_back())
            && !is_letter(small[at.end..].chars().next())
    };
    let (words, parts): (Vec<_>, Vec<_>) = all.partition(whole);
    if words.is_empty() { parts } else { words }
}

/// Share of the attention that goes to these columns: (H, W, S) -> (H, W).
fn share_of(shares: &Tensor, columns: &[i64]) -> Tensor {
    let columns = Tensor::from_slice(columns).to_device(shares.device());
    shares.index_select(2, &columns).sum_dim_intlist([2i64].as_slice(), false, Kind::Float)
}

/// The mean of maps (H, W) of several sizes, at each pixel of a picture.
fn mean(maps: &[&Tensor], picture: &RgbImage) -> Tensor {
    let size = [i64::from(picture.height()), i64::from(picture.width())];
    let large = |map: &&Tensor| map.unsqueeze(0).unsqueeze(0).upsample_nearest2d(size, None, None);
    let all: Vec<Tensor> = maps.iter().map(large).collect();
    Tensor::cat(&all, 0).mean_dim([0i64, 1].as_slice(), false, Kind::Float)
}

/// The smallest and the largest value of a map of shares: `1.2 % to 3.4 %`.
fn in_words(map: &Tensor) -> String {
    let [least, most] = [map.min(), map.max()].map(|xs| xs.double_value(&[]) * 100.0);
    format!("{least:.2} % to {most:.2} %")
}

/// The picture, dark where a map (H, W) is small. The largest value leaves it as it is.
fn lit(picture: &RgbImage, map: &Tensor) -> RgbImage {
    const DARK: f64 = 0.15;
    let values = floats(map);
    let least = values.iter().copied().fold(f64::MAX, f64::min);
    let span = values.iter().copied().fold(f64::MIN, f64::max) - least;
    let mut picture = picture.clone();
    for (Rgb(pixel), value) in picture.pixels_mut().zip(values) {
        let share = if span > 0.0 { (value - least) / span } else { 1.0 };
        let light = DARK + (1.0 - DARK) * share;
        *pixel = pixel.map(|channel| (f64::from(channel) * light).round() as u8);
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_whole_where_they_stand() {
        let at = |text: &str, word: &str| -> Vec<(usize, usize)> {
            places(text, word).into_iter().map(|bytes| (bytes.start, bytes.end)).collect()
        };
        assert_eq!(at("red Apple, pineapple", "apple"), [(4, 9)]);
        assert_eq!(at("pineapple", "apple"), [(4, 9)]);
        assert_eq!(at("fox and fox", "fox"), [(0, 3), (8, 11)]);
        assert_eq!(at("caf\u{e9} au lait", "au"), [(6, 8)]);
        assert!(places("fox", "cat").is_empty() && places("fox", " ").is_empty());
        assert_eq!(words_of("apple, (3d) --").collect::<Vec<_>>(), ["apple", "3d"]);
    }

    #[test]
    fn maps_of_levels_are_averaged_and_light_the_picture() {
        let coarse = Tensor::from_slice(&[0.0f32, 1.0]).view([1, 2]);
        let fine = Tensor::from_slice(&[0.2f32, 0.2, 0.2, 1.2]).view([1, 4]);
        let picture = RgbImage::from_pixel(4, 1, Rgb([200; 3]));
        let map = mean(&[&coarse, &fine], &picture);
        let mut near = floats(&map).into_iter().zip([0.1, 0.1, 0.6, 1.1]);
        assert!(near.all(|(a, b)| (a - b).abs() < 1e-6), "{map:?}");
        assert_eq!(in_words(&map), "10.00 % to 110.00 %");
        let lit: Vec<u8> = lit(&picture, &map).pixels().map(|p| p.0[0]).collect();
        assert_eq!(lit, [30, 30, 115, 200]);
    }
}
