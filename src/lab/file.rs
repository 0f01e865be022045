//! Pictures in files: the size at which they are read, and their captions.

use super::Lab;
use super::edit;
use super::picture::first_image;
use super::view::View;
use super::workspace::Picture;
use crate::data::{caption, read_caption, tidy};
use crate::error::{Result, counted};
use crate::image::{self, film};
use crate::near::there;
use std::io::ErrorKind;
use std::path::Path;

impl Lab {
    /// The picture in a file, and what there is to say about how it was read; `size` as in [`super::Pick::File`].
    pub(super) fn picture_of(
        &self,
        path: &Path,
        size: Option<(i64, i64)>,
    ) -> Result<(Picture, Vec<String>)> {
        there(path, "show \"FILE\"")?;
        let image = image::load(path)?;
        let own = (i64::from(image.width()), i64::from(image.height()));
        let side = self.state.settings.data.size;
        let model = self.state.model.borrow();
        let (w, h) = match size {
            Some(size) => edit::makeable(&model.config, size)?,
            None if own.0.min(own.1) == side && edit::is_makeable(&model.config, own) => own,
            None => (side, side),
        };
        let [_, _, part_w, part_h] = image::middle(image.dimensions(), (w as u32, h as u32));
        let is_whole = (part_w, part_h) == image.dimensions();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let read = format!("of {} x {} pixels", own.0, own.1);
        let size = match (is_whole, own == (w, h)) {
            (true, true) => None,
            (true, false) => Some(format!("{name}, {read}, is read as {w} x {h}")),
            (false, _) => Some(format!("{name}: the middle {read} is read, as {w} x {h}")),
        };
        let (caption, remark) = caption_of_file(path);
        let image = image::fit_to(&image, (w as u32, h as u32));
        let images = image::to_tensor(&image).unsqueeze(0); // (1, 3, h, w)
        let picture = Picture { images, caption, index: None };
        Ok((picture, size.into_iter().chain(remark).collect()))
    }

    /// Writes the current picture; with the name of a GIF, how it emerged; of a way from one to another, its pictures.
    ///
    /// Errors: no picture, or for a GIF one that no run made; the file cannot be written.
    pub fn save_picture(&self, file: &Path) -> Result<View> {
        let picture = self.state.workspace.picture()?;
        if film::is_gif(file).is_err() {
            image::save(&first_image(&picture.images), file)?;
            return Ok(View::new().text(format!("picture: {}", file.display())));
        }
        let Some(run) = self.state.workspace.run() else {
            let hint =
                "`sample TEXT` makes one; with the name of a .png the picture itself is saved";
            return Err(Self::fault("no run made this picture, so there is no film of it", hint));
        };
        let frames = self.frames(&run)?;
        let length = counted(frames.len(), "frame");
        film::write(frames.into_iter().map(Ok), file)?;
        Ok(View::new().text(format!("film of {length}: {}", file.display())))
    }
}

/// The text of the `.txt` beside a picture's file, else the file's name. The remark says why a `.txt` is not used.
fn caption_of_file(path: &Path) -> (String, Option<String>) {
    let file = path.with_extension("txt");
    let why = match read_caption(&file) {
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) => Some(format!("cannot be read: {e}")),
        Ok(bytes) => match caption(&bytes) {
            Ok(text) if !text.is_empty() => return (text, None),
            Ok(_) => Some("is empty".into()),
            Err(why) => Some(why.trim_start_matches("the caption ").into()),
        },
    };
    let name = path.file_stem().unwrap_or_default().to_string_lossy().replace(['_', '-'], " ");
    let said = |why| format!("{} {why}: the picture's name is its caption", file.display());
    (tidy(&name), why.map(said))
}

/// Whether a path that is no file reads like one, rather than like a caption.
pub fn names_a_file(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    let picture = ending.is_some_and(|e| ::image::ImageFormat::from_extension(e).is_some());
    picture
        || path.is_dir()
        || path.is_absolute()
        || path.starts_with(".")
        || path.starts_with("..")
}
