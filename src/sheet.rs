//! Sheets: rows of pictures with a name for each row, and captions below.

use image::RgbImage;
use plotters::prelude::*;
use std::sync::OnceLock;

const FONT: &[u8] = include_bytes!("../assets/fonts/DejaVuSans-subset.ttf");
const INK: RGBColor = RGBColor(40, 44, 52);
/// In pixels: width of the row names, height of a text line, space between pictures.
const NAMES: u32 = 110;
const LINE: u32 = 18;
const GAP: u32 = 4;
/// Minimum width of a sheet, which leaves room for captions.
const WIDTH: u32 = 480;
/// Approximate width of a character, used to truncate captions.
const LETTER: u32 = 7;

/// Registers the built-in font as `sans-serif` for plotters.
pub fn register_font() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        plotters::style::register_font("sans-serif", FontStyle::Normal, FONT)
            .unwrap_or_else(|_| unreachable!("the font is built in"));
    });
}

/// Draws a sheet: one row per (name, n pictures of one size), then `captions`, one per column.
pub fn sheet(rows: &[(&str, Vec<RgbImage>)], captions: &[String]) -> RgbImage {
    let first = rows.iter().flat_map(|(_, images)| images).next();
    let (w, h) = first.map_or((1, 1), RgbImage::dimensions);
    let columns = rows.iter().map(|(_, images)| images.len() as u32).max().unwrap_or(0);
    let width = (NAMES + columns * (w + GAP)).max(WIDTH);
    let pictures = rows.len() as u32 * (h + GAP);
    let height = pictures + LINE * (captions.len() as u32 + 1);
    let mut sheet = RgbImage::from_pixel(width, height, image::Rgb([255; 3]));
    for (i, (_, images)) in (0u32..).zip(rows) {
        for (j, picture) in (0u32..).zip(images) {
            let (x, y) = (NAMES + j * (w + GAP), i * (h + GAP));
            image::imageops::replace(&mut sheet, picture, x.into(), y.into());
        }
    }
    let mut lines: Vec<(u32, u32, String)> = Vec::new();
    for (i, (name, _)) in (0u32..).zip(rows) {
        lines.push((4, i * (h + GAP) + h.saturating_sub(LINE) / 2, (*name).to_string()));
    }
    let room = ((width - 8) / LETTER) as usize;
    for (j, caption) in (0u32..).zip(captions) {
        let text: String = format!("{}  {caption}", j + 1).chars().take(room).collect();
        lines.push((4, pictures + LINE / 2 + j * LINE, text));
    }
    write_lines(&mut sheet, &lines);
    sheet
}

/// An axis of a sheet: its name, and what stands at each row or column.
pub struct SheetAxis {
    pub name: String,
    pub labels: Vec<String>,
}

/// Draws pictures of one size row by row: the labels of `across` above the columns, those of `down` beside the rows.
pub fn labelled(across: &SheetAxis, down: Option<&SheetAxis>, pictures: &[RgbImage]) -> RgbImage {
    let (w, h) = pictures.first().map_or((1, 1), RgbImage::dimensions);
    let wide = |text: &String| text.chars().count() as u32 * LETTER + 2 * GAP;
    let cell = across.labels.iter().map(wide).max().unwrap_or(0).max(w);
    let names = down.iter().flat_map(|axis| axis.labels.iter().chain([&axis.name]));
    let (left, top) = (names.map(wide).max().unwrap_or(GAP), 2 * LINE + GAP);
    let (columns, rows) =
        (across.labels.len() as u32, down.map_or(1, |axis| axis.labels.len()) as u32);
    let width = (left + columns * (cell + GAP)).max(left + wide(&across.name));
    let mut sheet = RgbImage::from_pixel(width, top + rows * (h + GAP), image::Rgb([255; 3]));
    let x = |i: u32| left + i * (cell + GAP);
    for (i, picture) in (0u32..).zip(pictures) {
        let y = top + i / columns * (h + GAP);
        image::imageops::replace(&mut sheet, picture, x(i % columns).into(), y.into());
    }
    let mut lines = vec![(left, GAP, across.name.clone())];
    lines.extend((0u32..).zip(&across.labels).map(|(i, label)| (x(i), LINE + GAP, label.clone())));
    if let Some(down) = down {
        lines.push((GAP, LINE + GAP, down.name.clone()));
        let y = |j: u32| top + j * (h + GAP) + h.saturating_sub(LINE) / 2;
        lines.extend((0u32..).zip(&down.labels).map(|(j, label)| (GAP, y(j), label.clone())));
    }
    write_lines(&mut sheet, &lines);
    sheet
}

/// Writes text, each with its upper left corner at (x, y). If plotters fails, the sheet stays without the text.
fn write_lines(sheet: &mut RgbImage, lines: &[(u32, u32, String)]) {
    register_font();
    let size = sheet.dimensions();
    let area = BitMapBackend::with_buffer(sheet, size).into_drawing_area();
    for (x, y, text) in lines {
        let style = ("sans-serif", 13, &INK).into_text_style(&area);
        let _ = area.draw_text(text, &style, (*x as i32, *y as i32));
    }
    let _ = area.present();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_stand_in_rows_with_text_beside_and_below() {
        let red = RgbImage::from_pixel(32, 32, image::Rgb([255, 0, 0]));
        let rows = [("original", vec![red.clone(), red.clone()]), ("guessed", vec![red])];
        let sheet = sheet(&rows, &["a cat".into(), "x".repeat(1000)]);
        let count = |colour: [u8; 3]| sheet.pixels().filter(|p| p.0 == colour).count();
        assert_eq!(count([255, 0, 0]), 3 * 32 * 32);
        let dark = sheet.pixels().filter(|p| p.0.iter().all(|&c| c < 120)).count();
        assert!(dark > 200, "{dark} pixels of text");
        assert!(super::sheet(&[], &[]).width() == WIDTH);
    }

    #[test]
    fn labels_stand_above_the_columns_and_beside_the_rows() {
        let axis = |name: &str, labels: &[&str]| {
            let labels = labels.iter().map(|label| label.to_string()).collect();
            SheetAxis { name: name.into(), labels }
        };
        let red = RgbImage::from_pixel(64, 64, image::Rgb([255, 0, 0]));
        let (steps, cfg) = (axis("steps", &["4", "8"]), axis("cfg", &["1", "3", "8..2"]));
        let sheet = labelled(&steps, Some(&cfg), &vec![red.clone(); 6]);
        let inked = |x: u32, y: u32, w: u32, h: u32| {
            let at = image::imageops::crop_imm(&sheet, x, y, w, h).to_image();
            at.pixels().any(|p| p.0.iter().all(|&c| c < 120))
        };
        assert_eq!(sheet.pixels().filter(|p| p.0 == [255, 0, 0]).count(), 6 * 64 * 64);
        let (left, top) = (sheet.width() - 2 * 68, sheet.height() - 3 * 68);
        assert!(inked(left, 0, 64, LINE), "the name of the columns");
        assert!((0..2).all(|i| inked(left + i * 68, LINE, 20, LINE)), "a label above each column");
        assert!(inked(0, LINE, left, LINE), "the name of the rows");
        assert!((0..3).all(|j| inked(0, top + j * 68, left, 64)), "a label beside each row");
        // pictures smaller than their labels, and fewer than there is room for
        let small =
            labelled(&axis("temperature", &["0.7..0.3", "1"]), None, &[RgbImage::new(8, 8)]);
        assert!(small.width() > 2 * 8 * LETTER && small.height() > 2 * LINE);
    }
}
