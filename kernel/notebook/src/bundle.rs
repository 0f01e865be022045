//! One value in several forms, for the front end to choose from: MIME type to content.

use crate::html;
use base64::Engine;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, RgbImage};
use paella::lab::plot::Plot;
use serde_json::{Map, Value};

/// MIME type -> content, as Jupyter wants it: binary content in base64.
#[derive(Clone, Debug, Default)]
pub struct Bundle(Map<String, Value>);

impl Bundle {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn text(self, text: impl Into<String>) -> Self {
        self.with("text/plain", text)
    }

    pub fn html(self, html: impl Into<String>) -> Self {
        self.with("text/html", html)
    }

    pub fn svg(self, svg: impl Into<String>) -> Self {
        self.with("image/svg+xml", svg)
    }

    pub fn png(self, image: &RgbImage) -> Self {
        self.with("image/png", png(image))
    }

    /// A plot as SVG, and as PNG for front ends that show no SVG: JupyterLab where the notebook is not trusted.
    pub fn plot(self, plot: &Plot, caption: &str) -> Self {
        match (plot.svg(caption), plot.image(caption)) {
            (Ok(svg), Ok(image)) => self.svg(svg).png(&image),
            _ => self,
        }
    }

    pub fn with(mut self, mime: &str, content: impl Into<String>) -> Self {
        self.0.insert(mime.into(), Value::String(content.into()));
        self
    }

    /// The PNG in it, as pixels.
    pub fn picture(&self) -> Option<RgbImage> {
        let text = self.0.get("image/png")?.as_str()?;
        let file = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
        image::load_from_memory_with_format(&file, image::ImageFormat::Png)
            .ok()
            .map(|image| image.into_rgb8())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn data(&self) -> Value {
        Value::Object(self.0.clone())
    }

    fn get(&self, mime: &str) -> Option<&str> {
        self.0.get(mime).and_then(Value::as_str)
    }

    /// Several values, one below the other.
    pub fn stacked(parts: &[Self]) -> Self {
        let texts: Vec<&str> = parts.iter().filter_map(|part| part.get("text/plain")).collect();
        match parts {
            [one] => one.clone(),
            _ if texts.is_empty() => Self::new(),
            _ => Self::new()
                .text(texts.join("\n"))
                .html(parts.iter().map(Self::page).collect::<String>()),
        }
    }

    /// The richest form as HTML.
    fn page(&self) -> String {
        let svg = || self.get("image/svg+xml").map(html::drawing);
        let own = self.get("text/html").map(|page| format!("<div>{page}</div>"));
        own.or_else(svg).unwrap_or_else(|| html::lines(self.get("text/plain").unwrap_or_default()))
    }
}

/// A picture as a PNG file in base64, as small as it gets; empty if it has no pixels.
pub fn png(image: &RgbImage) -> String {
    let mut file = Vec::new();
    let encoder =
        PngEncoder::new_with_quality(&mut file, CompressionType::Best, FilterType::Adaptive);
    let (width, height) = image.dimensions();
    match encoder.write_image(image.as_raw(), width, height, ExtendedColorType::Rgb8) {
        Ok(()) => base64(&file),
        Err(_) => String::new(),
    }
}

pub fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
