//! Prints a View as well as the terminal allows: pictures, colours, or plain lines.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use crate::error::{Error, Fault};
use crate::image::enlarge;
use crate::lab::view::{TokenGrid, View, ViewBlock};
use image::{DynamicImage, RgbImage};
use std::borrow::Cow;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// How pictures are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pictures {
    /// Real pixels: kitty, iTerm or sixel.
    Pixels,
    /// Coloured half blocks, two pixels per character.
    Blocks,
    /// The file name only.
    Files,
}

/// Capabilities of standard output, detected once.
#[derive(Clone, Debug)]
pub struct Terminal {
    pub pictures: Pictures,
    pub color: bool,
    pub stderr_color: bool,
    config: viuer::Config,
}

impl Terminal {
    /// Detects the capabilities: whether it is a terminal, which one, and whether NO_COLOR is set.
    ///
    /// `PAELLA_PICTURES` = kitty, iterm, sixel, blocks or files overrides the choice.
    pub fn detect() -> Self {
        let is = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let tty = std::io::stdout().is_terminal();
        let capable = std::env::var("TERM").is_ok_and(|t| t != "dumb") && !is("NO_COLOR");
        let (pictures, config) = choose(tty && capable);
        let stderr_color = capable && std::io::stderr().is_terminal();
        Self { pictures, color: tty && capable, stderr_color, config }
    }

    /// No colours and no pictures, for files, pipes and tests.
    pub fn plain() -> Self {
        let config = viuer::Config::default();
        Self { pictures: Pictures::Files, color: false, stderr_color: false, config }
    }

    /// Prints a view.
    pub fn show(&self, view: &View) {
        for block in &view.blocks {
            match block {
                ViewBlock::Text(text) => println!("{}", printable(text)),
                ViewBlock::Note(text) => println!("{}", self.paint("2", &printable(text))),
                ViewBlock::Table { headers, rows } => println!("{}", self.table(headers, rows)),
                ViewBlock::Tokens(grid) => println!("{}", self.tokens(grid)),
                ViewBlock::Picture { caption, file, shown: true, .. } => {
                    self.caption(caption, file.as_deref());
                }
                ViewBlock::Picture { image, caption, file, .. } => {
                    self.picture(image, caption, file)
                }
                ViewBlock::Chart { plot, sketch, caption, file } => {
                    let pixels = self.pictures == Pictures::Pixels;
                    match pixels.then(|| plot.image("")) {
                        Some(Ok(image)) => self.print(&image, 100),
                        _ => println!("{sketch}"),
                    }
                    self.caption(caption, file.as_deref());
                }
            }
        }
    }

    /// Prints an error on standard error: `error:`, `in:` and `hint:`.
    pub fn error(&self, error: &Error) {
        error.faults().iter().for_each(|fault| eprintln!("{}", self.fault(fault)));
    }

    fn fault(&self, fault: &Fault) -> String {
        let fault = fault.to_string();
        let fault = printable(&fault);
        match self.stderr_color {
            true => format!("\x1b[1;31merror:\x1b[0m {fault}"),
            false => format!("error: {fault}"),
        }
    }

    fn picture(&self, image: &RgbImage, caption: &str, file: &Option<PathBuf>) {
        if self.pictures != Pictures::Files {
            self.print(image, 64);
        }
        self.caption(caption, file.as_deref());
    }

    fn caption(&self, caption: &str, file: Option<&Path>) {
        let file = file.map(|f| printable(&f.display().to_string()).into_owned());
        let (width, caption) = (terminal_width(), printable(caption));
        match file {
            None => println!("{caption}"),
            Some(file) if self.pictures == Pictures::Files => {
                println!("picture: {file} ({caption})")
            }
            Some(file) if caption.len() + file.len() + 3 > width => {
                println!("{caption}\n{}", self.paint("2", &file));
            }
            Some(file) => println!("{caption}  {}", self.paint("2", &file)),
        }
    }

    /// Prints pixels. Small pictures are enlarged by whole factors to about `columns` characters.
    fn print(&self, image: &RgbImage, columns: u32) {
        let (columns, rows) = match viuer::terminal_size() {
            (0, _) | (_, 0) => (columns.min(80), 22), // a terminal that does not report its size
            (w, h) => (u32::from(w).min(columns.max(image.width())), u32::from(h).max(4) - 2),
        };
        // One character is 1 x 2 pixels as blocks, and about 8 x 16 screen pixels.
        let scale = if self.pictures == Pictures::Pixels { 8 } else { 1 };
        let image = fit_to(image, columns * scale, rows * 2 * scale);
        let config = viuer::Config {
            width: Some((image.width() / scale).max(1)),
            height: Some((image.height().div_ceil(2 * scale)).max(1)),
            ..self.config.clone()
        };
        if let Err(error) = viuer::print(&DynamicImage::ImageRgb8(image), &config) {
            println!("{}", self.paint("2", &format!("(the terminal took no picture: {error})")));
        }
    }

    /// A grid of numbers, each on the colour of its code.
    pub fn tokens(&self, grid: &TokenGrid) -> String {
        let digits = grid.tokens.iter().map(|t| t.to_string().len()).max().unwrap_or(1);
        let cell = |i: usize| -> String {
            let marked = grid.marked.get(i) == Some(&true);
            let text = format!("{:>digits$}{}", grid.tokens[i], if marked { "*" } else { " " });
            match grid.colors.get(i) {
                Some(&[r, g, b]) if self.color => {
                    let dark =
                        299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b) < 140_000;
                    let ink = if dark { 97 } else { 30 };
                    format!("\x1b[{ink};48;2;{r};{g};{b}m{text}\x1b[0m")
                }
                _ => text,
            }
        };
        let row = |start: usize| -> String {
            let end = (start + grid.width.max(1)).min(grid.tokens.len());
            (start..end).map(cell).collect::<String>().trim_end().into()
        };
        let mut lines: Vec<String> =
            (0..grid.tokens.len()).step_by(grid.width.max(1)).map(row).collect();
        lines.push(printable(&grid.caption).into_owned());
        lines.join("\n")
    }

    /// A table. Columns are as wide as their widest cell, and numbers are right-aligned.
    pub fn table(&self, headers: &[String], rows: &[Vec<String>]) -> String {
        let cell = |row: &[String], i: usize| {
            row.get(i).map_or(String::new(), |text| printable(text).into_owned())
        };
        let width = |i: usize| {
            let cells = rows.iter().map(|row| cell(row, i).chars().count());
            cells.max().unwrap_or(0).max(headers[i].chars().count())
        };
        let widths: Vec<usize> = (0..headers.len()).map(width).collect();
        let numeric = |i: usize| {
            let mut cells =
                rows.iter().map(|row| cell(row, i)).filter(|c| !c.is_empty()).peekable();
            cells.peek().is_some()
                && cells.all(|c| c.trim_end_matches('%').trim().parse::<f64>().is_ok())
        };
        let right: Vec<bool> = (0..headers.len()).map(numeric).collect();
        let line = |row: &[String]| -> String {
            let put = |i: usize| match right[i] {
                true => format!("{:>w$}", cell(row, i), w = widths[i]),
                false => format!("{:<w$}", cell(row, i), w = widths[i]),
            };
            (0..widths.len()).map(put).collect::<Vec<_>>().join("  ").trim_end().into()
        };
        let mut lines = vec![self.paint("1", &line(headers))];
        lines.extend(rows.iter().map(|row| line(row)));
        lines.join("\n")
    }

    /// A text with an ANSI style code. Unchanged without colours.
    pub fn paint(&self, code: &str, text: &str) -> String {
        match self.color && !text.is_empty() {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.into(),
        }
    }
}

/// A text without what a terminal would obey: control characters and changes of the direction of writing are shown as
/// signs. Line feeds and tabs stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(obeyed) {
        return text.into();
    }
    let sign = |c: char| match u32::from(c) {
        0x7f => '␡',
        code @ 0..0x20 => char::from_u32(0x2400 + code).unwrap_or('�'), // the picture of this character
        _ => '�',
    };
    text.chars().map(|c| if obeyed(c) { sign(c) } else { c }).collect()
}

/// Columns of standard output, or 80 if unknown.
pub fn terminal_width() -> usize {
    match viuer::terminal_size() {
        (0, _) => 80,
        (w, _) => w.into(),
    }
}

/// Chooses how to show pictures. Only terminals known to answer are queried; a query to another one would hang.
fn choose(usable: bool) -> (Pictures, viuer::Config) {
    let has = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    let var = |name: &str| std::env::var(name).unwrap_or_default().to_lowercase();
    let any = |text: &str, names: &[&str]| names.iter().any(|n| text.contains(n));
    let program = var("TERM_PROGRAM");
    let within = has("TMUX") || any(&var("TERM"), &["screen", "tmux"]);
    let kitty = any(&var("TERM"), &["kitty", "ghostty"]) || any(&program, &["ghostty", "wezterm"]);
    let iterm = any(&program, &["iterm", "mintty"]) || has("KONSOLE_VERSION");
    let sixel = any(&var("TERM"), &["foot", "mlterm", "sixel"])
        || any(&program, &["contour"])
        || has("XTERM_VERSION")
        || has("WT_SESSION");
    let forced = var("PAELLA_PICTURES");
    let (kitty, iterm, sixel) = match forced.as_str() {
        "" => (kitty && !within, iterm && !within, sixel && !within),
        name => (name == "kitty", name == "iterm", name == "sixel"),
    };
    let config = viuer::Config {
        absolute_offset: false,
        use_kitty: kitty && usable,
        use_iterm: iterm && usable,
        use_sixel: sixel && usable && viuer::is_sixel_supported(),
        truecolor: viuer::Config::default().truecolor || within,
        ..viuer::Config::default()
    };
    let pixels = config.use_sixel
        || (config.use_iterm && viuer::is_iterm_supported())
        || (config.use_kitty && viuer::get_kitty_support() != viuer::KittySupport::None);
    match forced.as_str() {
        _ if !usable && forced != "blocks" => (Pictures::Files, config),
        "files" => (Pictures::Files, config),
        _ if pixels => (Pictures::Pixels, config),
        _ => (Pictures::Blocks, config),
    }
}

/// Enlarges by the largest whole factor that fits, or shrinks if the picture is too large. The height is even, for half
/// blocks.
fn fit_to(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    let (w, h) = (image.width().max(1), image.height().max(1));
    let factor = (width / w).min(height / h);
    if factor >= 1 {
        return even(enlarge(image, factor));
    }
    let scale = (f64::from(width) / f64::from(w)).min(f64::from(height) / f64::from(h));
    let side = |x: u32| ((f64::from(x) * scale) as u32).max(1);
    even(image::imageops::resize(image, side(w), side(h), image::imageops::FilterType::Triangle))
}

fn even(image: RgbImage) -> RgbImage {
    match image.height() % 2 {
        0 => image,
        _ => image::imageops::resize(
            &image,
            image.width(),
            image.height() + 1,
            image::imageops::FilterType::Nearest,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_as_signs() {
        assert_eq!(printable("a fox\n\tb, é 🍓"), "a fox\n\tb, é 🍓");
        assert_eq!(printable("\x1b[31mred\x07\r\x7f\u{9b}2J\u{202e}"), "␛[31mred␇␍␡�2J�");
        let plain = Terminal::plain();
        let bad = "a\x1b]0;x\x07".to_string();
        let table = plain.table(std::slice::from_ref(&bad), &[vec![bad.clone()]]);
        let grid =
            TokenGrid { width: 1, tokens: vec![1], caption: bad.clone(), ..TokenGrid::default() };
        let fault = plain.fault(&Fault::new(bad.as_str(), bad.as_str(), bad.as_str()));
        for text in [table, plain.tokens(&grid), fault] {
            assert!(!text.contains(['\x1b', '\x07']) && text.contains("a␛]0;x␇"), "{text}");
        }
    }

    #[test]
    fn a_table_lines_up() {
        let cells = |row: &[&str]| row.iter().map(|c| c.to_string()).collect::<Vec<_>>();
        let rows = vec![cells(&["loss", "10.5"]), cells(&["accuracy", "0.25"])];
        let text = Terminal::plain().table(&cells(&["name", "value"]), &rows);
        assert_eq!(text, "name      value\nloss       10.5\naccuracy   0.25");
    }

    #[test]
    fn tokens_without_colour_mark_the_noise() {
        let grid = TokenGrid {
            width: 2,
            tokens: vec![7, 12, 100, 3],
            marked: vec![false, true, false, false],
            caption: "2 x 2".into(),
            ..TokenGrid::default()
        };
        assert_eq!(Terminal::plain().tokens(&grid), "  7  12*\n100   3\n2 x 2");
    }

    #[test]
    fn small_pictures_grow_by_whole_factors() {
        let size = |w, h| fit_to(&RgbImage::new(w, h), 64, 46).dimensions();
        assert_eq!((size(8, 8), size(32, 32), size(100, 50)), ((40, 40), (32, 32), (64, 32)));
        assert_eq!(size(1, 1), (46, 46));
        assert_eq!(size(1000, 1), (64, 2));
    }
}
