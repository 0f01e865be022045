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
}
