//! One value in several forms, for the front end to choose from: MIME type to content.

use crate::html;
use crate::png::{pixels, png};
use image::RgbImage;
use paella::lab::plot::Plot;
use paella_wire::Media;
use serde_json::Value;

/// MIME type -> content, as Jupyter wants it: binary content in base64.
#[derive(Clone, Debug, Default)]
pub struct Bundle(Media);

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
        self.get("image/png").and_then(pixels)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn media(&self) -> Media {
        self.0.clone()
    }

    pub(crate) fn get(&self, mime: &str) -> Option<&str> {
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
