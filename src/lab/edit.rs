//! Edits of the current picture: what of it stays, and what a sampling run makes new.
//!
//! Letters: H x W pixels, h x w tokens, f pixels a side of a token.

use super::Lab;
use super::canvas::{EditCanvas, marked};
use super::picture::first_image;
use super::view::{View, plain};
use super::workspace::Sampling;
use crate::config::RunConfig;
use crate::data::home;
use crate::error::{Error, Result};
use crate::image;
use crate::near::no_file;
use crate::networks::Networks;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tch::{Kind, Tensor};

/// What a sampling run does with the current picture.
///
/// Source: the sampler of Paella v3, `sample` with `init_x` and `mask`.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// Samples the tokens of an area again; the others stay as they are.
    Inpaint(Area),
    /// Continues the picture beyond a side, by this many pixels.
    Outpaint(Side, i64),
    /// Starts from the picture with this share of its tokens under noise, above 0 to 1.
    Renoise(f64),
}

/// A part of a picture. Numbers are pixels.
#[derive(Clone, Debug, PartialEq)]
pub enum Area {
    /// Half of the picture, at this side.
    Half(Side),
    /// Half as wide and as high as the picture, in its middle.
    Middle,
    /// Left, top, width, height.
    Rect([i64; 4]),
    /// Centre across and down, radius.
    Circle([i64; 3]),
    /// A picture of any size: white is the area, black stays. As of a picture's file, its middle is laid over the current one.
    Mask(PathBuf),
}

/// A side of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
    Top,
    Bottom,
}

/// Pixels by which a picture grows, and the share of noise from which an edit starts, where nothing is said.
pub const BY: i64 = 16;
pub const STRENGTH: f64 = 0.6;

/// Reads `96x64`: width and height.
pub fn size(text: &str) -> Option<(i64, i64)> {
    let (w, h) = text.split_once('x')?;
    Some((w.parse().ok()?, h.parse().ok()?))
}

/// How areas are written.
const AREAS: &str = "left, right, top, bottom, middle, X,Y,WIDTH,HEIGHT, a circle X,Y,RADIUS, or a picture: white is \
                     sampled";

impl FromStr for Side {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "left" => Self::Left,
            "right" => Self::Right,
            "top" | "above" => Self::Top,
            "bottom" | "below" => Self::Bottom,
            _ => {
                let hint = "left, right, top or bottom";
                return Err(Error::command(format!("`{text}` is no side"), "", hint));
            }
        })
    }
}

impl FromStr for Area {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim().trim_end_matches(" half");
        if let Ok(side) = text.parse() {
            return Ok(Self::Half(side));
        }
        let numbers: Option<Vec<i64>> =
            text.split(',').map(|number| number.trim().parse().ok()).collect();
        match numbers.as_deref() {
            _ if text == "middle" => Ok(Self::Middle),
            Some(&[x, y, w, h]) => Ok(Self::Rect([x, y, w, h])),
            Some(&[x, y, radius]) => Ok(Self::Circle([x, y, radius])),
            None if Path::new(text).extension().is_some() => Ok(Self::Mask(home(Path::new(text)))),
            _ => Err(Error::command(format!("`{text}` is no area"), "", AREAS)),
        }
    }
}

impl Area {
    /// Whether each pixel of a picture of `w` x `h` is inside, row by row; and what of a mask is not used, in words.
    ///
    /// Errors: a mask that cannot be read.
    fn pixels(&self, (w, h): (i64, i64)) -> Result<(Vec<bool>, Option<String>)> {
        let mask = match self {
            Self::Mask(path) if !path.is_file() => return Err(no_file(path, "area=\"FILE\"")),
            Self::Mask(path) => {
                let mask = image::load(path)?;
                let part = image::middle(mask.dimensions(), (w as u32, h as u32));
                Some((mask, part))
            }
            _ => None,
        };
        let remark = mask.as_ref().and_then(|(mask, [_, _, part_w, part_h])| {
            let (own_w, own_h) = mask.dimensions();
            ((*part_w, *part_h) != (own_w, own_h)).then(|| {
                format!(
                    "of the mask's {own_w} x {own_h} pixels the middle {part_w} x {part_h} are used"
                )
            })
        });
        let inside = |x: i64, y: i64| match self {
            Self::Half(Side::Left) => 2 * x < w,
            Self::Half(Side::Right) => 2 * x >= w,
            Self::Half(Side::Top) => 2 * y < h,
            Self::Half(Side::Bottom) => 2 * y >= h,
            Self::Middle => (w..3 * w).contains(&(4 * x)) && (h..3 * h).contains(&(4 * y)),
            Self::Rect([left, top, width, height]) => {
                let within = |at: i64, from: &i64, size: &i64| at >= *from && at - *from < *size;
                within(x, left, width) && within(y, top, height)
            }
            Self::Circle([cx, cy, radius]) => {
                // from the middle of the pixel, in halves; f64, since any number may be typed
                let far = |at: i64, centre: &i64| (at as f64 + 0.5 - *centre as f64).powi(2);
                far(x, cx) + far(y, cy) <= (*radius as f64).powi(2) && *radius > 0
            }
            Self::Mask(_) => mask.as_ref().is_some_and(|(mask, part)| {
                let [left, top, part_w, part_h] = part.map(i64::from);
                let (x, y) = (left + x * part_w / w, top + y * part_h / h);
                mask.get_pixel(x as u32, y as u32).0[1] >= 128
            }),
        };
        let all = (0..h).flat_map(|y| (0..w).map(move |x| (x, y)));
        Ok((all.map(|(x, y)| inside(x, y)).collect(), remark))
    }
}

impl Edit {
    /// The canvas for a picture (1, 3, H, W) f32 with its tokens (1, h, w) i64. `keep_pixels`: what is not sampled keeps its
    /// pixels, not only its tokens.
    ///
    /// Errors: an area without a pixel of the picture; a size that the network cannot make; a share out of range.
    pub fn canvas(
        &self,
        nets: &Networks,
        images: &Tensor,
        tokens: &Tensor,
        keep_pixels: bool,
    ) -> Result<EditCanvas> {
        let (_, h, w) = tokens.size3()?;
        let f = nets.config.tokenizer.model.factor();
        let yes = |size: &[i64]| Tensor::ones(size, (Kind::Bool, tokens.device()));
        let mut remark = None;
        let (original, mask, pixels) = match self {
            Self::Renoise(share) if !(*share > 0.0 && *share <= 1.0) => {
                return Err(refused(format!("a strength of {share}"), "above 0 to 1, such as 0.6"));
            }
            Self::Renoise(_) => (tokens.shallow_clone(), yes(&[1, h, w]), images.shallow_clone()),
            Self::Inpaint(area) => {
                let (inside, said) = area.pixels((w * f, h * f))?;
                remark = said;
                if !inside.contains(&true) {
                    let what =
                        format!("no pixel of the picture, {} x {}, is in the area", w * f, h * f);
                    return Err(refused(what, AREAS));
                }
                let inside = Tensor::from_slice(&inside).view([1, 1, h * f, w * f]);
                // a token is sampled if any of its pixels is in the area
                let mask =
                    inside.to_kind(Kind::Float).max_pool2d([f, f], [f, f], [0, 0], [1, 1], false);
                let mask = mask.gt(0.5).squeeze_dim(1).to_device(tokens.device()); // (1, h, w)
                (tokens.shallow_clone(), mask, images.shallow_clone())
            }
            Self::Outpaint(side, by) => {
                let unit = unit(&nets.config);
                if *by < 1 || by % unit != 0 {
                    let near =
                        ((by.clamp(&0, &MOST) + unit / 2) / unit).clamp(1, MOST / unit) * unit;
                    let hint = format!("by={near}: multiples of {unit}");
                    return Err(refused(format!("the picture cannot grow by {by} pixels"), hint));
                }
                let (more_w, more_h) = match side {
                    Side::Left | Side::Right => (*by, 0),
                    Side::Top | Side::Bottom => (0, *by),
                };
                let size = (w * f).checked_add(more_w).zip((h * f).checked_add(more_h));
                let (wide, high) = size.unwrap_or((i64::MAX, i64::MAX));
                let (new_h, new_w) = grid(nets, (wide, high))?;
                let (x, y) = match side {
                    Side::Left => (new_w - w, 0),
                    Side::Top => (0, new_h - h),
                    Side::Right | Side::Bottom => (0, 0),
                };
                let put = |into: Tensor, xs: &Tensor, scale: i64| {
                    let place =
                        into.narrow(-1, x * scale, w * scale).narrow(-2, y * scale, h * scale);
                    place.shallow_clone().copy_(xs);
                    into
                };
                let like =
                    |size: &[i64], xs: &Tensor| Tensor::zeros(size, (xs.kind(), xs.device()));
                let mask = put(yes(&[1, new_h, new_w]), &like(&[1, h, w], &yes(&[1])), 1);
                let original = put(like(&[1, new_h, new_w], tokens), tokens, 1);
                let pixels = put(like(&[1, 3, new_h * f, new_w * f], images), images, f);
                (original, mask, pixels)
            }
        };
        let shown = match self {
            Self::Renoise(_) => None,
            Self::Inpaint(_) | Self::Outpaint(..) => Some(marked(&pixels, &mask, f)),
        };
        Ok(EditCanvas { original, mask, pixels: keep_pixels.then_some(pixels), shown, remark })
    }
}

impl Lab {
    /// The current picture as an edit begins with it. Encodes it if there are no tokens yet.
    pub(super) fn canvas(&mut self, edit: &Edit, keep_pixels: bool) -> Result<EditCanvas> {
        let (tokens, picture) = (self.need_tokens()?, self.state.workspace.picture()?);
        let model = self.model()?;
        edit.canvas(model.borrow().nets(), &picture.images, &tokens, keep_pixels)
    }

    /// What an edit begins with, to be looked at first: the part that is sampled, or the picture under noise. Empty for a
    /// picture from nothing.
    pub(super) fn shown_edit(&self, run: &Sampling) -> Result<View> {
        let Some(canvas) = &run.canvas else { return Ok(View::new()) };
        let Some(shown) = &canvas.shown else {
            let model = self.model()?;
            let start = first_image(&model.borrow().nets().decode(&run.path[0].narrow(0, 0, 1)));
            return Ok(View::new().picture(start, format!("the start: {}", under_noise(run))));
        };
        let sampled = canvas.mask.to_kind(Kind::Int64).sum(Kind::Int64).int64_value(&[]);
        let caption = format!("grey: {sampled} of {} tokens are sampled", canvas.mask.numel());
        Ok(View::new().picture(shown.clone(), caption))
    }
}

/// What an edit of the whole picture begins with.
pub(super) fn under_noise(run: &Sampling) -> String {
    let t = run.schedule.first().map_or(1.0, |step| step.t);
    format!("the picture with {} of its tokens under noise", plain(t))
}

/// The grid (h, w) of tokens for a picture of `w` x `h` pixels.
///
/// Errors: as [`makeable`].
pub fn grid(nets: &Networks, size: (i64, i64)) -> Result<(i64, i64)> {
    let ((w, h), f) = (makeable(&nets.config, size)?, nets.config.tokenizer.model.factor());
    Ok((h / f, w / f))
}

/// The same size, if a model of this config makes pictures of it.
///
/// Errors: a size that tokenizer, patches and levels do not divide; the hint names the nearest that they do.
pub(super) fn makeable(config: &RunConfig, (w, h): (i64, i64)) -> Result<(i64, i64)> {
    if is_makeable(config, (w, h)) {
        return Ok((w, h));
    }
    let unit = unit(config);
    let near = |side: i64| {
        let side = side.clamp(unit, MOST);
        (side + unit / 2) / unit * unit
    };
    let what = format!("this model makes no picture of {w} x {h} pixels");
    let hint =
        format!("the nearest is {}x{}: multiples of {unit}, at most {MOST}", near(w), near(h));
    Err(refused(what, hint))
}

/// Most pixels a side.
const MOST: i64 = 2048;

/// Whether a model of this config makes pictures of `w` x `h` pixels.
pub(super) fn is_makeable(config: &RunConfig, (w, h): (i64, i64)) -> bool {
    [w, h].iter().all(|side| (1..=MOST).contains(side) && side % unit(config) == 0)
}

/// Pixels a side of one position of the deepest level.
fn unit(config: &RunConfig) -> i64 {
    let model = &config.model;
    config.tokenizer.model.factor() * (model.patch_size << (model.levels.len() - 1))
}

fn refused(what: impl Into<String>, hint: impl Into<String>) -> Error {
    Error::command(what, "", hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(area: &str, size: (i64, i64)) -> usize {
        let area: Area = area.parse().expect("an area");
        area.pixels(size).expect("no file").0.iter().filter(|inside| **inside).count()
    }

    #[test]
    fn areas_cover_what_their_words_say() {
        assert_eq!(count("left", (8, 4)), 16);
        assert_eq!(count("bottom half", (8, 4)), 16);
        assert_eq!(count("middle", (8, 4)), 8);
        assert_eq!(count("1, 1, 3, 2", (8, 4)), 6);
        assert_eq!(count("-5,-5,6,6", (8, 4)), 1);
        assert_eq!(count("4,2,1", (8, 4)), 4);
        assert_eq!(count("100,100,3", (8, 4)), 0);
        assert_eq!(count("0,0,9223372036854775807,9223372036854775807", (8, 4)), 32);
        for odd in ["", "up", "1,2", "1,2,3,4,5", "1,2,x"] {
            let error = odd.parse::<Area>().expect_err(odd);
            assert!(error.to_string().contains("middle"), "{odd}: {error}");
        }
    }
}
