//! The result of a command: an ordered list of blocks. Plain data; a face decides how to show each block.

use super::plot::Plot;
use image::RgbImage;
use serde_json::{Value, json};
use std::path::PathBuf;

/// The result of one command.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub blocks: Vec<ViewBlock>,
}

/// One block of a view.
#[derive(Clone, Debug)]
pub enum ViewBlock {
    /// Lines shown as they are.
    Text(String),
    /// A table with one header per column. Every row has one cell per column.
    Table {
        headers: Vec<String>,
        rows: Vec<Vec<String>>,
    },
    /// A picture. `file` is set once it is saved.
    Picture {
        image: RgbImage,
        caption: String,
        file: Option<PathBuf>,
        /// The face has shown it while the command ran: now its caption is enough.
        shown: bool,
    },
    Tokens(TokenGrid),
    /// A plot, drawn as pixels or SVG. The sketch is for terminals that can show neither.
    Chart {
        plot: Plot,
        sketch: String,
        caption: String,
        file: Option<PathBuf>,
    },
    /// A remark: a side effect, or a suggestion for the next command.
    Note(String),
}

/// A grid of tokens, each with the mean colour of its decoded code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenGrid {
    pub width: usize,
    /// Token values, row by row.
    pub tokens: Vec<i64>,
    /// One colour per token. Empty if the colours are not known.
    pub colors: Vec<[u8; 3]>,
    /// True for tokens to mark as noise. Empty if there are none.
    pub marked: Vec<bool>,
    pub caption: String,
}

impl View {
    /// An empty view.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a text.
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.blocks.push(ViewBlock::Text(text.into()));
        self
    }

    /// Appends a note.
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.blocks.push(ViewBlock::Note(text.into()));
        self
    }

    /// Appends each of some notes.
    pub fn notes(self, texts: impl IntoIterator<Item = String>) -> Self {
        texts.into_iter().fold(self, |view, text| view.note(text))
    }

    /// Appends a picture.
    pub fn picture(mut self, image: RgbImage, caption: impl Into<String>) -> Self {
        let caption = caption.into();
        self.blocks.push(ViewBlock::Picture { image, caption, file: None, shown: false });
        self
    }

    /// Marks its pictures as shown before, if they were.
    pub fn shown_before(mut self, were: bool) -> Self {
        for block in &mut self.blocks {
            if let ViewBlock::Picture { shown, .. } = block {
                *shown = were;
            }
        }
        self
    }

    /// Appends a grid of tokens.
    pub fn tokens(mut self, grid: TokenGrid) -> Self {
        self.blocks.push(ViewBlock::Tokens(grid));
        self
    }

    /// Appends a plot.
    pub fn chart(mut self, plot: Plot, sketch: String, caption: impl Into<String>) -> Self {
        self.blocks.push(ViewBlock::Chart { plot, sketch, caption: caption.into(), file: None });
        self
    }

    /// Appends a table.
    pub fn table(mut self, headers: &[&str], rows: Vec<Vec<String>>) -> Self {
        let headers = headers.iter().map(|h| h.to_string()).collect();
        self.blocks.push(ViewBlock::Table { headers, rows });
        self
    }

    /// Appends the blocks of another view.
    pub fn then(mut self, other: View) -> Self {
        self.blocks.extend(other.blocks);
        self
    }

    /// The first text block, for tests and notebooks.
    pub fn first_text(&self) -> Option<&str> {
        self.blocks.iter().find_map(|block| match block {
            ViewBlock::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// JSON for `--json`: `{"blocks": [{"type": ..}]}`. A picture is given as its file, size and caption.
    pub fn to_json(&self) -> Value {
        json!({ "blocks": self.blocks.iter().map(ViewBlock::to_json).collect::<Vec<_>>() })
    }
}

impl ViewBlock {
    /// The text of a note. None for other blocks.
    pub fn into_note(self) -> Option<String> {
        match self {
            Self::Note(text) => Some(text),
            _ => None,
        }
    }

    pub fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => json!({ "type": "text", "text": text }),
            Self::Note(text) => json!({ "type": "note", "text": text }),
            Self::Table { headers, rows } => {
                json!({ "type": "table", "headers": headers, "rows": rows })
            }
            Self::Picture { image, caption, file, .. } => {
                picture_json("picture", image.dimensions(), caption, file)
            }
            Self::Chart { plot, caption, file, .. } => {
                picture_json("chart", plot.size(), caption, file)
            }
            Self::Tokens(grid) => json!({
                "type": "tokens",
                "caption": grid.caption,
                "tokens": grid.tokens.chunks(grid.width.max(1)).collect::<Vec<_>>(),
            }),
        }
    }
}

/// A number as it is: up to four digits behind the point, or four significant ones where it is small. `1.25`, `0.0417`,
/// `1.25e-4`.
pub fn plain(y: f64) -> String {
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text.to_string(),
    };
    if y == 0.0 || !y.is_finite() || (1e-2..1e9).contains(&y.abs()) {
        return trimmed(&format!("{:.4}", y + 0.0)); // + 0.0: zero has no sign
    }
    let text = format!("{y:.3e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    format!("{}e{exponent}", trimmed(mantissa))
}

fn picture_json(
    kind: &str,
    (width, height): (u32, u32),
    caption: &str,
    file: &Option<PathBuf>,
) -> Value {
    json!({ "type": kind, "caption": caption, "file": file, "width": width, "height": height })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_as_they_are() {
        let text = [1.25, 8.0, 0.041_666_7, 0.0, -0.0, 1.25e-4, 5e-4, 0.7, 1234.5].map(plain);
        let wanted = ["1.25", "8", "0.0417", "0", "0", "1.25e-4", "5e-4", "0.7", "1234.5"];
        assert_eq!(text, wanted);
        assert_eq!([f64::NAN, f64::INFINITY].map(plain), ["NaN", "inf"]);
    }

    #[test]
    fn keeps_the_order_and_speaks_json() {
        let grid = TokenGrid { width: 2, tokens: vec![1, 2, 3, 4], ..TokenGrid::default() };
        let view = View::new().text("a").picture(RgbImage::new(4, 2), "b").tokens(grid).note("c");
        let json = view.to_json();
        assert_eq!(json["blocks"][0]["text"], "a");
        assert_eq!(
            (&json["blocks"][1]["width"], &json["blocks"][1]["height"]),
            (&4.into(), &2.into())
        );
        assert_eq!(json["blocks"][2]["tokens"][1][0], 3);
        assert_eq!(json["blocks"][3]["type"], "note");
    }
}
