//! Texts for the model: written as the captions it learned from are, and what it cannot know of them.

use super::Lab;
use super::model::LoadedModel;
use super::view::View;
use crate::data::scenes::words::Claim;
use crate::data::{DataConfig, Dataset, Part, Source, tidy};
use crate::error::{Error, Result, counted};
use crate::model::clip::ClipTextConfig;
use crate::networks::captions;
use crate::tokens::pieces;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Captions of a data set, each once, the data set, and where the model is that learned from it.
#[derive(Default)]
pub(super) struct KnownCaptions {
    of: Option<(DataConfig, PathBuf)>,
    captions: Rc<BTreeSet<String>>,
}

/// Maximum number of captions named for a text that is none of them.
const NAMED: usize = 3;

/// Letters of a text that a note repeats.
const SHOWN: usize = 60;

impl Lab {
    /// The captions that the model in hand learned from. Empty if it is untrained, or if they are not at hand: shipped data
    /// are read for this, of others the list in the model's folder.
    fn known_captions(&mut self) -> Result<Rc<BTreeSet<String>>> {
        let model = self.model()?;
        let (data, trained, place) = {
            let model = model.borrow();
            let place = model.origin.path().to_path_buf();
            (model.nets().config.data.clone(), model.is_trained(), place)
        };
        if !trained || data.is_endless() {
            return Ok(Rc::default());
        }
        let of = Some((data, place));
        if self.known.of != of {
            let captions = Rc::new(self.own_captions(&model.borrow()));
            // none may mean that the data are not open yet
            let of = of.filter(|_| !captions.is_empty());
            self.known = KnownCaptions { of, captions };
        }
        Ok(self.known.captions.clone())
    }

    /// Whether the model in hand learned from scenes, whose captions have a grammar.
    fn speaks_of_scenes(&self) -> Result<bool> {
        let model = self.model()?;
        let model = model.borrow();
        Ok(model.nets().config.data.has_scenes() && model.is_trained())
    }

    /// The captions of a model's data: of the data in hand, of shipped ones, or from its folder.
    fn own_captions(&self, model: &LoadedModel) -> BTreeSet<String> {
        let data = &model.nets().config.data;
        let open = self.state.train.as_ref().filter(|_| *data == self.state.settings.data);
        match (open, &data.source) {
            (Some(open), _) => captions::of(open, data),
            (None, Source::Emoji | Source::Fashion) => shipped(data),
            _ => captions::read(model.origin.path()),
        }
    }

    /// Writes the captions of the model in hand to the folder of a model.
    ///
    /// Errors: those of the disk.
    pub(super) fn write_captions(&self, model: &LoadedModel, folder: &Path) -> io::Result<()> {
        let kept = model.is_trained() && captions::are_kept(&model.nets().config);
        let captions = if kept { self.own_captions(model) } else { BTreeSet::new() };
        captions::write(folder, &captions)
    }

    /// The text as the training captions are written: single blanks, and their case.
    pub(super) fn as_caption(&mut self, text: &str) -> Result<String> {
        let (text, known) = (tidy(text), self.known_captions()?);
        if known.contains(&text) {
            return Ok(text);
        }
        let small = text.to_lowercase();
        let same = known.iter().find(|caption| caption.to_lowercase() == small);
        let all_small = !known.is_empty() && known.iter().all(|c| *c == c.to_lowercase());
        Ok(same.cloned().unwrap_or(if all_small { small } else { text }))
    }

    /// Adds a note for each of these texts that the model truncates, and for each that it cannot know.
    pub(super) fn note_texts(&mut self, mut view: View, texts: &[&str]) -> Result<View> {
        let (reads, clip) = {
            let model = self.state.model.borrow();
            let clip = model.config.clip.as_ref().map(|clip| clip.model.text.clone());
            (model.config.text.clone(), clip)
        };
        let (room, noun) = (reads.room(), reads.tokens.noun());
        let known = self.known_captions()?;
        let speaks_of_scenes = self.speaks_of_scenes()?;
        for text in texts {
            let all = reads.tokens.spans(text).len();
            if all > room {
                view = view
                    .note(format!("the model reads the first {room} of the text's {all} {noun}s"));
            }
            if let Some(ClipTextConfig { pieces, context_length, .. }) = &clip {
                let n = pieces::cut(text, *pieces, *context_length);
                if n > 0 {
                    let what = format!("{pieces:?}").to_lowercase();
                    view = view.note(format!("CLIP does not read the last {n} {what} of the text"));
                }
            }
            let spoken = Some(text).filter(|text| speaks_of_scenes && !text.is_empty());
            for fault in
                spoken.and_then(|text| Claim::parse(text).err()).iter().flat_map(Error::faults)
            {
                view = view.note(format!("{}: {}", fault.what, fault.hint));
            }
            if !known.is_empty() && !text.is_empty() && !known.contains(*text) {
                let near = nearest(text, &known);
                let near: Vec<String> =
                    near.iter().map(|caption| format!("\"{caption}\"")).collect();
                let short: String = text.chars().take(SHOWN).collect();
                let dots = if short.len() < text.len() { ".." } else { "" };
                view = view.note(format!(
                    "\"{short}{dots}\" is none of the {} that the model learned from; nearest: {}",
                    counted(known.len(), "caption"),
                    near.join(", ")
                ));
            }
        }
        Ok(view)
    }
}

/// The training captions of a data set. No picture is decoded.
fn shipped(data: &DataConfig) -> BTreeSet<String> {
    let seen = RefCell::new(Vec::new());
    let look = |record: &crate::data::Record| {
        seen.borrow_mut().push(record.caption.clone());
        false
    };
    // the data set is empty, since no record is kept: that is an error, and of no interest here
    let _ = Dataset::open_where(data, Part::Train, look);
    let mut seen = seen.into_inner();
    seen.truncate(data.limit.unwrap_or(usize::MAX));
    seen.into_iter().collect()
}

/// The captions that share most pairs of neighbouring letters with the text, the nearest first; of those that are as near
/// the shortest. A pair counts the more, the fewer captions have it: names count more than styles.
///
/// Formula: sum of ln(1 + captions / captions with the pair) over the shared pairs.
fn nearest<'a>(text: &str, captions: &'a BTreeSet<String>) -> Vec<&'a str> {
    let pairs = |text: &str| -> BTreeSet<(char, char)> {
        let letters: Vec<char> = text.to_lowercase().chars().take(500).collect();
        letters.windows(2).map(|two| (two[0], two[1])).collect()
    };
    let own = pairs(text);
    let shared: Vec<(Vec<(char, char)>, &str)> = captions
        .iter()
        .map(|caption| (own.intersection(&pairs(caption)).copied().collect(), caption.as_str()))
        .collect();
    let mut having: BTreeMap<(char, char), usize> = BTreeMap::new();
    shared
        .iter()
        .flat_map(|(pairs, _)| pairs)
        .for_each(|pair| *having.entry(*pair).or_default() += 1);
    let weight = |pair: &(char, char)| (captions.len() as f64 / having[pair] as f64).ln_1p();
    let mut scored: Vec<(f64, &str)> =
        shared.iter().map(|(pairs, caption)| (pairs.iter().map(weight).sum(), *caption)).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.len().cmp(&b.1.len())));
    scored.into_iter().take(NAMED).map(|(_, caption)| caption).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_captions_share_letters() {
        let all =
            ["red apple, 3d emoji", "pineapple, 3d emoji", "fox, 3d emoji", "hat, flat emoji"];
        let all: BTreeSet<String> = all.map(String::from).into();
        assert_eq!(nearest("appel, 3d emoji", &all)[2], "fox, 3d emoji");
        assert_eq!(nearest("hats", &all)[0], "hat, flat emoji");
        assert_eq!(nearest("", &all).len(), 3);
        let faces =
            ["tiger face, flat emoji", "tiger, 3d emoji", "horse face, 3d emoji", "owl, 3d emoji"];
        let faces: BTreeSet<String> = faces.map(String::from).into();
        assert_eq!(nearest("tiger fase, 3d emoji", &faces)[0], "tiger face, flat emoji");
    }
}
