//! One value in several forms, for the front end to choose from: MIME type to content.

use base64::Engine;
use image::{ImageFormat, RgbImage};
use serde_json::{Map, Value};
use std::io::Cursor;

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

    pub fn with(mut self, mime: &str, content: impl Into<String>) -> Self {
        self.0.insert(mime.into(), Value::String(content.into()));
        self
    }

    /// The PNG in it, as pixels.
    pub fn picture(&self) -> Option<RgbImage> {
        let text = self.0.get("image/png")?.as_str()?;
        let file = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
        image::load_from_memory_with_format(&file, ImageFormat::Png)
            .ok()
            .map(|image| image.into_rgb8())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn data(&self) -> Value {
        Value::Object(self.0.clone())
    }
}

/// A picture as a PNG file in base64; empty if it has no pixels.
pub fn png(image: &RgbImage) -> String {
    let mut file = Cursor::new(Vec::new());
    match image.write_to(&mut file, ImageFormat::Png) {
        Ok(()) => base64::engine::general_purpose::STANDARD.encode(file.into_inner()),
        Err(_) => String::new(),
    }
}
