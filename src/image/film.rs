//! Films: pictures one after the other, as GIF.

use crate::error::{Error, Result};
use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, DynamicImage, Frame, RgbImage};
use std::path::Path;
use std::time::Duration;

/// Errors: a film in another format than the one it is written in.
pub fn is_gif(file: &Path) -> Result<()> {
    if file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gif")) {
        return Ok(());
    }
    let what = "a film is written as GIF";
    Err(Error::command(what, file.display().to_string(), "end the name with .gif"))
}

/// Writes a GIF. Each frame lasts a quarter second and the last one 2 s. Frames are enlarged by a whole factor, to at
/// most 256 pixels wide.
///
/// Errors: the file cannot be written; those of the frames.
pub fn write(frames: impl ExactSizeIterator<Item = Result<RgbImage>>, file: &Path) -> Result<()> {
    let place = file.display().to_string();
    let failed = |e: &dyn std::fmt::Display| {
        Error::data(format!("could not write the film: {e}"), &place, "")
    };
    let mut bytes = Vec::new();
    {
        let mut encoder = GifEncoder::new(&mut bytes);
        encoder.set_repeat(Repeat::Infinite).map_err(|e| failed(&e))?;
        let last = frames.len().saturating_sub(1);
        for (i, frame) in frames.enumerate() {
            let (frame, millis) = (frame?, if i == last { 2000 } else { 250 });
            let factor = (256 / frame.width().max(1)).max(1);
            let large = DynamicImage::ImageRgb8(super::enlarge(&frame, factor)).into_rgba8();
            let delay = Delay::from_saturating_duration(Duration::from_millis(millis));
            encoder.encode_frame(Frame::from_parts(large, 0, 0, delay)).map_err(|e| failed(&e))?;
        }
    }
    crate::files::write(file, &bytes).map_err(|e| failed(&e))
}
