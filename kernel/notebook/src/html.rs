//! Small pieces of HTML: tables, pictures, token grids, bars. No scripts, so that an untrusted notebook shows them.

use crate::png::{base64, png};
use image::RgbImage;
use paella::lab::view::TokenGrid;

/// Text that is safe between tags and in attributes.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Lines with their blanks kept.
pub fn lines(text: &str) -> String {
    format!("<pre style=\"margin:0\">{}</pre>", escaped(text))
}

/// A remark, greyed.
pub fn note(text: &str) -> String {
    format!("<div style=\"opacity:.7\">{}</div>", escaped(text))
}

pub fn table(headers: &[String], rows: &[Vec<String>]) -> String {
    let cells = |tag: &str, cells: &[String]| -> String {
        cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell))).collect()
    };
    let body: String = rows.iter().map(|row| format!("<tr>{}</tr>", cells("td", row))).collect();
    let head = match headers.is_empty() {
        true => String::new(),
        false => format!("<thead><tr>{}</tr></thead>", cells("th", headers)),
    };
    format!("<table>{head}<tbody>{body}</tbody></table>")
}

/// A picture with its caption below, small ones enlarged without smoothing.
pub fn picture(image: &RgbImage, caption: &str) -> String {
    let width = image.width().max(1);
    format!(
        "<img src=\"data:image/png;base64,{}\" width=\"{}\" alt=\"{}\" style=\"image-rendering:pixelated\"/>{}",
        png(image),
        width * (320 / width).max(1),
        escaped(caption),
        note(caption)
    )
}

/// An SVG document among other content. It is an image, so that untrusted notebooks show it too.
pub fn drawing(svg: &str) -> String {
    format!("<img src=\"data:image/svg+xml;base64,{}\" alt=\"plot\"/>", base64(svg.as_bytes()))
}

/// Each number on the colour of its code, if known. Noise is framed.
pub fn tokens(grid: &TokenGrid) -> String {
    let cell = |i: usize| -> String {
        let color = grid.colors.get(i).map(|&[r, g, b]| {
            let dark = 299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b) < 140_000;
            let ink = if dark { "fff" } else { "000" };
            format!("background:#{r:02x}{g:02x}{b:02x};color:#{ink};")
        });
        let marked = grid.marked.get(i) == Some(&true);
        let frame = if marked { "outline:2px solid red;" } else { "" };
        let style = format!("{}{frame}padding:2px 4px", color.unwrap_or_default());
        format!("<td style=\"{style}\">{}</td>", grid.tokens[i])
    };
    let width = grid.width.max(1);
    let row = |start: usize| -> String {
        let end = (start + width).min(grid.tokens.len());
        format!("<tr>{}</tr>", (start..end).map(cell).collect::<String>())
    };
    let rows: String = (0..grid.tokens.len()).step_by(width).map(row).collect();
    format!(
        "<table style=\"border-spacing:0;text-align:right\"><tbody>{rows}</tbody></table>{}",
        note(&grid.caption)
    )
}

/// A bar filled to `done` of `total`, followed by text. Without a total only the text.
pub fn bar(done: u64, total: Option<u64>, text: &str) -> String {
    match total {
        Some(total) => format!(
            "<progress max=\"{}\" value=\"{done}\"></progress> {}",
            total.max(1),
            escaped(text)
        ),
        None => escaped(text),
    }
}
