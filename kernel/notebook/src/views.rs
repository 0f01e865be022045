//! Answers of the session in a notebook: each block in order.

use crate::bundle::Bundle;
use crate::html;
use image::RgbImage;
use paella::face::terminal::Terminal;
use paella::lab::view::{View, ViewBlock};

/// A single plot as SVG and PNG; else all blocks as HTML and text, and a single picture as PNG too.
pub fn view(view: &View) -> Bundle {
    if let [ViewBlock::Chart { plot, sketch, caption, .. }] = view.blocks.as_slice() {
        return Bundle::new().plot(plot, caption).text(format!("{sketch}\n{caption}"));
    }
    let (mut texts, mut page, mut pictures) = (Vec::new(), String::new(), Vec::new());
    for block in &view.blocks {
        let (text, part) = shown(block);
        texts.push(text);
        page += &part;
        if let ViewBlock::Picture { image, shown: false, .. } = block {
            pictures.push(image);
        }
    }
    let bundle = match texts.is_empty() {
        true => Bundle::new(),
        false => Bundle::new().text(texts.join("\n")).html(page),
    };
    match pictures.as_slice() {
        [image] => bundle.png(image),
        _ => bundle,
    }
}

/// As text and as HTML.
fn shown(block: &ViewBlock) -> (String, String) {
    let terminal = Terminal::plain();
    match block {
        ViewBlock::Text(text) => (text.clone(), html::lines(text)),
        ViewBlock::Note(text) => (text.clone(), html::note(text)),
        ViewBlock::Table { headers, rows } => {
            (terminal.table(headers, rows), html::table(headers, rows))
        }
        ViewBlock::Tokens(grid) => (terminal.tokens(grid), html::tokens(grid)),
        ViewBlock::Picture { caption, shown: true, .. } => {
            (format!("picture: {caption}"), html::note(caption))
        }
        ViewBlock::Picture { image, caption, .. } => {
            (format!("picture: {caption}"), html::picture(image, caption))
        }
        ViewBlock::Chart { plot, sketch, caption, .. } => {
            let drawing = plot.svg(caption).map(|svg| html::drawing(&svg));
            (format!("{sketch}\n{caption}"), drawing.unwrap_or_else(|_| html::lines(sketch)))
        }
    }
}

/// A picture with its caption.
pub fn picture(image: &RgbImage, caption: &str) -> Bundle {
    let size = format!("{} x {} pixels", image.width(), image.height());
    let text =
        if caption.is_empty() { format!("picture, {size}") } else { format!("picture: {caption}") };
    Bundle::new().html(html::picture(image, caption)).png(image).text(text)
}
