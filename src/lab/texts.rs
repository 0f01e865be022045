//! Texts for the model: written as the captions it learned from are, and what it cannot know of them.

use super::Lab;
use super::view::View;
use crate::data::{DataConfig, Dataset, Part, Source, tidy};
use crate::error::Result;
use crate::tokens::text::MAX_LENGTH;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

/// Captions of a data set, each once, and the data set.
#[derive(Default)]
pub(super) struct KnownCaptions {
    of: Option<DataConfig>,
    captions: Rc<BTreeSet<String>>,
}

/// With more captions than this a model combines what it read, and no list of captions tells what it knows.
const MOST: usize = 20_000;

/// Maximum number of captions named for a text that is none of them.
const NAMED: usize = 3;

/// Letters of a text that a note repeats.
const SHOWN: usize = 60;

impl Lab {
    /// The captions that the model in hand learned from. Empty if it is untrained, or if they are not at hand: other
    /// data than the shipped ones are not read for this.
    fn known_captions(&mut self) -> Result<Rc<BTreeSet<String>>> {
        let model = self.model()?;
        let (data, trained) = {
            let model = model.borrow();
            (model.nets().config.data.clone(), model.is_trained())
        };
        if !trained || data.stream.is_some() || matches!(data.source, Source::Scenes(_)) {
            return Ok(Rc::default());
        }
        if self.known.of.as_ref() != Some(&data) {
            let open = self.state.train.clone().filter(|_| data == self.state.settings.data);
            let captions = match (open, &data.source) {
                (Some(open), _) => open.records.iter().map(|r| r.caption.clone()).collect(),
                (None, Source::Emoji | Source::Fashion) => captions(&data),
                _ => return Ok(Rc::default()),
            };
            let captions: BTreeSet<String> = captions.into_iter().collect();
            let few = captions.len() <= MOST;
            let captions = Rc::new(if few { captions } else { BTreeSet::new() });
            self.known = KnownCaptions { of: Some(data), captions };
        }
        Ok(self.known.captions.clone())
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
        let length = self.state.model.borrow().config.text.length;
        let room = length.map_or(MAX_LENGTH, |length| length as usize) - 1; // the end token takes one
        let known = self.known_captions()?;
        for text in texts {
            if text.len() > room {
                let all = text.len();
                view = view
                    .note(format!("the model reads the first {room} of the text's {all} bytes"));
            }
            if !known.is_empty() && !text.is_empty() && !known.contains(*text) {
                let near = nearest(text, &known);
                let near: Vec<String> =
                    near.iter().map(|caption| format!("\"{caption}\"")).collect();
                let short: String = text.chars().take(SHOWN).collect();
                let dots = if short.len() < text.len() { ".." } else { "" };
                view = view.note(format!(
                    "\"{short}{dots}\" is none of the {} captions that the model learned from; nearest: {}",
                    known.len(),
                    near.join(", ")
                ));
            }
        }
        Ok(view)
    }
}

/// The training captions of a data set. No picture is decoded.
fn captions(data: &DataConfig) -> Vec<String> {
    let seen = RefCell::new(Vec::new());
    let look = |record: &crate::data::Record| {
        seen.borrow_mut().push(record.caption.clone());
        false
    };
    // the data set is empty, since no record is kept: that is an error, and of no interest here
    let _ = Dataset::open_where(data, Part::Train, look);
    let mut seen = seen.into_inner();
    seen.truncate(data.limit.unwrap_or(usize::MAX));
    seen
}

/// The captions that share most pairs of neighbouring letters with the text, the nearest first.
///
/// Formula: 2 |A and B| / (|A| + |B|), of the sets of pairs (Dice's coefficient).
fn nearest<'a>(text: &str, captions: &'a BTreeSet<String>) -> Vec<&'a str> {
    let pairs = |text: &str| -> BTreeSet<(char, char)> {
        let letters: Vec<char> = text.to_lowercase().chars().take(500).collect();
        letters.windows(2).map(|two| (two[0], two[1])).collect()
    };
    let own = pairs(text);
    let likeness = |caption: &str| {
        let other = pairs(caption);
        2.0 * own.intersection(&other).count() as f64 / (own.len() + other.len()).max(1) as f64
    };
    let mut scored: Vec<(f64, &str)> = captions.iter().map(|c| (likeness(c), c.as_str())).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0)); // stable: captions that are alike stay in their order
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
    }
}
