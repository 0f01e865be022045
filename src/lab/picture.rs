//! Commands on pictures and tokens: data, show, caption, encode, decode, codebook, noise.

use super::args::quoted;
use super::view::View;
use super::workspace::{Picture, floats, ints, token_grid};
use super::{Lab, seed_torch};
use crate::data::scenes::ScenesConfig;
use crate::data::{Dataset, Part, Source, home, shard_list};
use crate::error::{Fault, Result, counted, shell_path};
use crate::files;
use crate::image;
use crate::near::{did_you_mean, missing};
use crate::networks::Networks;
use crate::noise::{Noised, draw_mask, random_tokens, uniform};
use crate::tokens::words::TextTokens;
use ::image::RgbImage;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tch::{Kind, Tensor};

/// Selects a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// Index in the data set.
    Index(i64),
    /// A caption, or the beginning of one.
    Caption(String),
    /// A picture in a file, read at this width and height in pixels; None: as [`Lab::show`] says.
    File(PathBuf, Option<(i64, i64)>),
}

impl Lab {
    /// Chooses a data set and describes its content. `None` keeps the current source.
    ///
    /// Errors: as `Dataset::open`; the previous choice is then kept.
    pub fn choose_data(
        &mut self,
        source: Option<Source>,
        change: impl FnOnce(&mut crate::data::DataConfig),
    ) -> Result<View> {
        let mut config = self.state.settings.data.clone();
        config.source = source.unwrap_or(config.source);
        change(&mut config);
        let wanted =
            crate::config::RunConfig { data: config.clone(), ..self.state.settings.clone() };
        if let Some(Fault { what, place, hint }) =
            wanted.check().into_iter().find(|fault| fault.place.starts_with("data"))
        {
            return Err(Self::fault(format!("`{place}`: {what}"), hint));
        }
        if config != self.state.settings.data {
            (self.state.train, self.state.val) = (None, None);
            self.state.settings.data = config;
        }
        let data = self.data(Part::Train)?;
        // the user gave one folder: what is not among those to train on is not lost
        let held = match self.state.settings.data.source {
            Source::Folder(_) => self.data(Part::Val).map_or(0, |data| data.len()),
            _ => 0,
        };
        let held = if held > 0 { format!(", {held} held back") } else { String::new() };
        let mut view = View::new().text(format!(
            "{}: {} of {size} x {size} to train on{held}",
            source_name(&self.state.settings.data.source),
            counted(data.len(), "picture"),
            size = self.state.settings.data.size
        ));
        let groups = count(data.records.iter().map(|r| (r.group.as_str(), r.style.as_str())));
        let row = |((group, style), n): ((&str, &str), usize)| {
            vec![group.into(), style.into(), n.to_string()]
        };
        if groups.keys().any(|k| !k.0.is_empty() || !k.1.is_empty()) {
            view =
                view.table(&["group", "style", "pictures"], groups.into_iter().map(row).collect());
        }
        for (reason, n) in &data.skipped.reasons {
            view = view.note(format!("{n} left out: {reason}"));
        }
        Ok(view)
    }

    /// Makes a picture the current one.
    ///
    /// A file keeps its pixels if its shorter side is as long as the pictures that the model was trained on, and the model
    /// makes pictures of its size. Of any other its middle square is read, resized to theirs.
    ///
    /// Errors: no such picture; a size that the model does not make.
    pub fn show(&mut self, pick: &Pick) -> Result<View> {
        let mut remarks = Vec::new();
        let picture = match pick {
            Pick::File(path, size) => {
                let (picture, said) = self.picture_of(path, *size)?;
                remarks = said;
                picture
            }
            Pick::Index(_) | Pick::Caption(_) => {
                let data = self.data(Part::Train)?;
                match find(&data, pick) {
                    Ok(index) => Picture { index: Some(index), ..picture_at(&data, index) },
                    Err(error) => {
                        remarks.push("held back: it is not among the pictures to train on".into());
                        self.held_back(pick).ok_or(error)?
                    }
                }
            }
        };
        self.state.workspace.put(picture);
        Ok(self.show_again()?.notes(remarks))
    }

    /// The picture of a caption among those that are not trained on. None if there is none; shards are not read for this.
    fn held_back(&mut self, pick: &Pick) -> Option<Picture> {
        let Pick::Caption(text) = pick else { return None };
        if matches!(self.state.settings.data.source, Source::Shards { .. } | Source::Scenes(_)) {
            return None;
        }
        let data = self.data(Part::Val).ok()?;
        Some(picture_at(&data, data.find(text)? as i64))
    }

    /// Shows the current picture again.
    pub fn show_again(&self) -> Result<View> {
        let picture = self.state.workspace.picture()?;
        let number = picture.index.map_or(String::new(), |i| format!("{i}: "));
        Ok(View::new()
            .picture(first_image(&picture.images), format!("{number}{}", picture.caption)))
    }

    /// The caption of the current picture, and the numbers the text encoder receives for it.
    pub fn caption(&self) -> Result<View> {
        let picture = self.state.workspace.picture()?;
        let reads = self.state.model.borrow().config.text.clone();
        let ids = reads.ids(&picture.caption);
        let numbers: Vec<String> = ids.iter().take(64).map(i64::to_string).collect();
        let how = match reads.tokens {
            TextTokens::Bytes => "bytes + 3",
            TextTokens::Words => "a hash of each word",
        };
        Ok(View::new().text(picture.caption.clone()).note(format!(
            "the text encoder sees {} numbers ({how}, then 1 for the end): {}{}",
            ids.len(),
            numbers.join(" "),
            if ids.len() > 64 { " .." } else { "" }
        )))
    }

    /// The caption of picture `index`.
    pub fn caption_of(&mut self, index: i64) -> Result<View> {
        let data = self.data(Part::Train)?;
        let index = find(&data, &Pick::Index(index))?;
        Ok(View::new().text(data.captions(&[index]).remove(0)))
    }

    /// Up to 20 pictures whose caption contains `text`. Ignores case.
    pub fn find_captions(&mut self, text: &str) -> Result<View> {
        let data = self.data(Part::Train)?;
        let wanted = text.to_lowercase();
        let fits = data
            .records
            .iter()
            .enumerate()
            .filter(|(_, r)| r.caption.to_lowercase().contains(&wanted));
        let rows: Vec<Vec<String>> =
            fits.map(|(i, r)| vec![i.to_string(), r.caption.clone()]).collect();
        if rows.is_empty() {
            let hint = "`data` tells what there is; fewer letters find more";
            return Err(Self::fault(format!("no caption holds `{text}`"), hint));
        }
        let (found, shown) = (rows.len(), rows.len().min(20));
        let view = View::new().table(&["N", "caption"], rows.into_iter().take(shown).collect());
        Ok(if found > shown { view.note(format!("and {} more", found - shown)) } else { view })
    }

    /// Encodes the current picture -> tokens (1, h, w) on the workspace.
    pub fn encode(&mut self) -> Result<View> {
        let tokens = self.need_tokens()?;
        let model = self.model()?;
        let colors = model.borrow_mut().code_colors();
        let (h, w) = (tokens.size()[1], tokens.size()[2]);
        let values: std::collections::BTreeSet<i64> = ints(&tokens).into_iter().collect();
        let caption =
            format!("{h} x {w} tokens, {} different of {} codes", values.len(), colors.len());
        Ok(View::new().tokens(token_grid(&tokens, None, &colors, caption)))
    }

    /// Decodes the tokens on the workspace, shown beside the original picture.
    pub fn decode(&mut self) -> Result<View> {
        let (tokens, picture) = (self.need_tokens()?, self.state.workspace.picture()?);
        let model = self.model()?;
        let decoded = model.borrow().nets().decode(&tokens).to_device(tch::Device::Cpu);
        let psnr = psnr(&decoded, &picture.images);
        let both = image::grid(&[first_image(&picture.images), first_image(&decoded)], 2, 2);
        Ok(View::new().picture(both, format!("original and decoded tokens, PSNR {psnr:.1} dB")))
    }

    /// Shows every code as a patch, with its number of uses.
    pub fn codebook(&mut self) -> Result<View> {
        let counts = self.code_counts(256)?;
        let model = self.model()?;
        let patches = model.borrow_mut().code_images();
        let patches = image::all_from_tensor(&patches);
        let columns = (patches.len() as f64).sqrt().ceil() as usize;
        let used = counts.iter().filter(|&&n| n > 0.0).count();
        let mut order: Vec<usize> = (0..counts.len()).collect();
        order.sort_by(|&a, &b| counts[b].total_cmp(&counts[a]));
        let total: f64 = counts.iter().sum();
        let row = |&k: &usize| {
            vec![
                k.to_string(),
                format!("{:.0}", counts[k]),
                format!("{:.1}%", 100.0 * counts[k] / total.max(1.0)),
            ]
        };
        let caption = format!("{} codes, {columns} a row; {used} of them in use", counts.len());
        Ok(View::new()
            .picture(image::grid(&patches, columns, 1), caption)
            .table(&["code", "uses", "share"], order.iter().take(8).map(row).collect()))
    }

    /// Replaces a fraction `t` (0..=1) of the tokens by random ones.
    pub fn noise(&mut self, t: f64) -> Result<View> {
        let tokens = self.need_tokens()?;
        let model = self.model()?;
        let seed = self.draw_seed();
        seed_torch(seed);
        let mut model = model.borrow_mut();
        let nets = model.nets();
        let ratio = Tensor::from_slice(&[t as f32]).to_device(nets.device); // (1,)
        let noised = noised(nets, &tokens, ratio); // tokens and mask (1, h, w)
        let image = first_image(&nets.decode(&noised.tokens));
        let both = image::grid(&[image.clone(), mask_image(&noised.mask, image.width())], 2, 2);
        let (replaced, all) = (ints(&noised.mask).iter().sum::<i64>(), tokens.numel());
        let caption = format!("T = {t}: {replaced} of {all} tokens are random, marked *");
        let colors = model.code_colors();
        let grid = token_grid(&noised.tokens, Some(&noised.mask), &colors, caption.clone());
        self.state.workspace.noised = Some(Rc::new(noised));
        Ok(View::new()
            .tokens(grid)
            .picture(both, format!("noised tokens decoded, and the mask: {caption}")))
    }

    /// The tokens on the workspace. Encodes the current picture if there are none yet.
    pub(super) fn need_tokens(&mut self) -> Result<Rc<Tensor>> {
        if let Some(tokens) = &self.state.workspace.tokens {
            return Ok(tokens.clone());
        }
        let picture = self.state.workspace.picture()?;
        let model = self.model()?;
        let model = model.borrow();
        let nets = model.nets();
        let tokens = Rc::new(nets.encode(&picture.images.to_device(nets.device)));
        self.state.workspace.tokens = Some(tokens.clone());
        Ok(tokens)
    }

    /// Uses of each code in up to `most` pictures of the data set.
    pub(super) fn code_counts(&mut self, most: i64) -> Result<Vec<f64>> {
        let data = self.data(Part::Train)?;
        let model = self.model()?;
        let model = model.borrow();
        let nets = model.nets();
        let mut counts =
            Tensor::zeros([nets.config.model.num_labels], (Kind::Int64, tch::Device::Cpu));
        let indices: Vec<i64> = (0..most.min(data.len() as i64)).collect();
        for some in indices.chunks(64) {
            let tokens = nets.encode(&data.images(some).to_device(nets.device));
            let flat = tokens.flatten(0, -1).to_device(tch::Device::Cpu);
            counts += flat.bincount::<Tensor>(None, nets.config.model.num_labels);
        }
        Ok(floats(&counts))
    }
}

/// PSNR of two pictures of the same size in 0..=1, in dB: 10 log10(1 / mean squared error), at most 100.
pub fn psnr(a: &Tensor, b: &Tensor) -> f64 {
    let error = (a - b).square().mean(Kind::Float).double_value(&[]);
    -10.0 * error.max(1e-10).log10()
}

/// A data source as a word or a path.
pub fn source_name(source: &Source) -> String {
    match source {
        Source::Emoji => "emoji".into(),
        Source::Fashion => "fashion".into(),
        Source::Scenes(_) => "scenes".into(),
        Source::Shards { train, .. } => train.join(", "),
        Source::Idx(path) | Source::Folder(path) => path.display().to_string(),
    }
}

/// Parses a word as a source: a shipped set, a folder, or shards, several with commas or braces.
pub fn source_of(word: &str) -> Result<Source> {
    let path = &home(Path::new(word));
    match word.to_lowercase().as_str() {
        "emoji" => Ok(Source::Emoji),
        "fashion" => Ok(Source::Fashion),
        "scenes" => Ok(Source::Scenes(ScenesConfig::default())),
        _ if shard_list(word).is_some() => {
            let shards = shard_list(word).unwrap_or_default();
            Ok(Source::Shards { train: shards.clone(), val: shards })
        }
        _ if path.join("train-images-idx3-ubyte").exists()
            || path.join("train-images-idx3-ubyte.gz").exists() =>
        {
            Ok(Source::Idx(path.into()))
        }
        _ if path.is_dir() => Ok(Source::Folder(path.into())),
        _ if path.is_file() => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = quoted(&folder.unwrap_or(Path::new(".")).display().to_string(), None);
            let mut hint =
                format!("its folder: `data {folder}`; `show FILE` takes one picture in hand");
            if let Some(unpack) = unpacked(path) {
                hint = format!("shards are .tar or .tar.gz; `{unpack}` in the shell unpacks it");
            }
            Err(Lab::fault(format!("`{word}` is a file, and no .tar shard"), hint))
        }
        _ => {
            let known = ["emoji", "fashion", "scenes"];
            let otherwise = match word.starts_with('~') || word.contains('/') {
                true => missing(path),
                false => "emoji, fashion, scenes, a folder, or .tar shards".into(),
            };
            let hint = did_you_mean(word, known, otherwise);
            Err(Lab::fault(format!("there is no data set `{word}`, and no such folder"), hint))
        }
    }
}

/// The line of a shell that unpacks a shard of another packing, known by its first bytes. None for other files.
fn unpacked(path: &Path) -> Option<String> {
    let hint = files::foreign(&files::head(path).ok()?)?.1?;
    let (_, tool) = hint.strip_suffix("` unpacks it")?.split_once('`')?;
    Some(format!("{tool} {}", shell_path(path)))
}

/// A picture of a data set, without its number.
fn picture_at(data: &Dataset, index: i64) -> Picture {
    let caption = data.captions(&[index]).remove(0);
    Picture { images: data.images(&[index]), caption, index: None }
}

fn find(data: &Dataset, pick: &Pick) -> Result<i64> {
    match pick {
        Pick::Index(i) if (0..data.len() as i64).contains(i) => Ok(*i),
        Pick::Index(i) => {
            let hint = format!("0 to {}", data.len() as i64 - 1);
            Err(Lab::fault(format!("there is no picture {i}"), hint))
        }
        Pick::Caption(text) => data.find(text).map(|i| i as i64).ok_or_else(|| {
            let word = text.split_whitespace().next().unwrap_or_default();
            let known = data.records.iter().flat_map(|r| [r.name.as_str(), r.caption.as_str()]);
            let search = format!("`caption {word}` searches within captions");
            let hint = did_you_mean(text, known.filter(|name| !name.is_empty()), search);
            Lab::fault(format!("no caption begins with `{text}`"), hint)
        }),
        Pick::File(..) => unreachable!("files are not in the data set"),
    }
}

fn count<K: Ord>(keys: impl Iterator<Item = K>) -> BTreeMap<K, usize> {
    keys.fold(BTreeMap::new(), |mut counts, key| {
        *counts.entry(key).or_default() += 1;
        counts
    })
}

/// The first picture of images (B, 3, H, W).
pub(super) fn first_image(images: &Tensor) -> RgbImage {
    image::from_tensor(&images.get(0))
}

/// mask (1, h, w) -> a black and white picture of `side` pixels, white at the noise.
pub(super) fn mask_image(mask: &Tensor, side: u32) -> RgbImage {
    let (width, values) = (mask.size()[2] as u32, ints(mask));
    let factor = (side / width).max(1);
    let small = RgbImage::from_fn(width, mask.size()[1] as u32, |x, y| {
        let noise = values[(y * width + x) as usize] != 0;
        ::image::Rgb([if noise { 255 } else { 0 }; 3])
    });
    image::enlarge(&small, factor)
}

/// As [`crate::noise::corrupt`], with the draws in the session's order: a seed gives the noise of earlier versions.
pub fn noised(nets: &Networks, tokens: &Tensor, t: Tensor) -> Noised {
    let noise = random_tokens(&tokens.size(), nets.config.model.num_labels, nets.device); // (B, h, w)
    let mask = draw_mask(&uniform(&tokens.size(), nets.device), &t); // (B, h, w)
    Noised::new(tokens, &noise, mask, t)
}
