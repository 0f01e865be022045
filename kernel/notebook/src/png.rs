//! Pictures and bytes as text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, ImageFormat, RgbImage};

/// A picture as a PNG file in base64, as small as possible; empty if it has no pixels.
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

/// The picture of a PNG file in base64.
pub fn pixels(text: &str) -> Option<RgbImage> {
    let file = STANDARD.decode(text).ok()?;
    let image = image::load_from_memory_with_format(&file, ImageFormat::Png).ok()?;
    Some(image.into_rgb8())
}

pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
