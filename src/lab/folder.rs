//! The run folder, which keeps every picture a command shows, with its caption.

use super::view::{View, ViewBlock};
use crate::error::Result;
use crate::files;
use crate::image;
use ::image::RgbImage;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Writes `runs/<date-time>/NNN-command.png` and `.txt`. The folder is created with the first picture.
pub struct RunFolder {
    parent: PathBuf,
    path: Option<PathBuf>,
    count: usize,
}

impl RunFolder {
    pub fn new(parent: impl Into<PathBuf>) -> Self {
        Self { parent: parent.into(), path: None, count: 0 }
    }

    /// Path of this run's files. None before the first one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Saves each picture and plot of the view that has no file yet, and records the file in the view. `text`: what the
    /// pictures show, for their `.txt`, which is read as their caption again. What the view says of them goes to
    /// `pictures.log`. Without a text the `.txt` has what the view says.
    pub fn keep(&mut self, view: &mut View, command: &str, text: Option<&str>) -> Result<()> {
        for block in &mut view.blocks {
            match block {
                ViewBlock::Picture { image, caption, file, .. } if file.is_none() => {
                    let path = self.write(image, text.unwrap_or(caption), command)?;
                    self.note(&path, caption)?;
                    *file = Some(path);
                }
                ViewBlock::Chart { plot, caption, file, .. } if file.is_none() => {
                    *file = Some(self.write(&plot.image("")?, caption, command)?);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes a picture and its caption to separate files.
    fn write(&mut self, image: &RgbImage, caption: &str, command: &str) -> Result<PathBuf> {
        let path = self.next(command)?;
        image::save(image, &path)?;
        std::fs::write(path.with_extension("txt"), format!("{caption}\n"))
            .map_err(|e| image_error(&path, &e))?;
        Ok(path)
    }

    /// Adds a line on a picture to `pictures.log`.
    fn note(&self, picture: &Path, caption: &str) -> Result<()> {
        let log = picture.with_file_name("pictures.log");
        let name = picture.file_name().unwrap_or_default().to_string_lossy();
        let line = format!("{name}: {}\n", caption.replace('\n', " "));
        let opened = std::fs::OpenOptions::new().create(true).append(true).open(&log);
        opened
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .map_err(|e| image_error(&log, &e))
    }

    fn next(&mut self, command: &str) -> Result<PathBuf> {
        self.count += 1;
        let file = format!("{:03}-{command}.png", self.count);
        if let Some(path) = &self.path {
            return Ok(path.join(file));
        }
        let path = fresh(&self.parent, &timestamp(SystemTime::now()))?;
        Ok(self.path.insert(path).join(file))
    }
}

/// Creates a folder of this name, with -2, -3, .. appended if the name is taken.
fn fresh(parent: &Path, name: &str) -> Result<PathBuf> {
    std::fs::create_dir_all(parent).map_err(|e| image_error(parent, &e))?;
    for path in files::numbered(&parent.join(name)) {
        match std::fs::create_dir(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => continue,
            Err(e) => return Err(image_error(&path, &e)),
            Ok(()) => return Ok(path),
        }
    }
    unreachable!("some number is free")
}

/// Whether a file is there, which is going to be replaced. Refuses to replace something that is not a regular file: a
/// folder, or a device such as /dev/null.
///
/// Errors: `path` exists and is not a regular file.
pub fn replaceable(path: &Path) -> Result<bool> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            let place = path.display().to_string();
            Err(crate::Error::command("there is something that is no file", place, "name a file"))
        }
        found => Ok(found.is_ok()),
    }
}

fn image_error(path: &Path, error: &std::io::Error) -> crate::Error {
    let hint = "start paella in a folder you may write to, or name one: `paella --runs DIR`";
    crate::Error::data(format!("could not write: {error}"), path.display().to_string(), hint)
}

/// Formats a time in UTC: `2026-01-31-17-05-09`.
///
/// Source: Howard Hinnant, chrono-Compatible Low-Level Date Algorithms, `civil_from_days`.
pub fn timestamp(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (days, second) = ((seconds / 86_400) as i64 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153; // months from March
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year}-{month:02}-{day:02}-{hour:02}-{minute:02}-{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn tells_the_time() {
        let at = |seconds| timestamp(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01-00-00-00");
        assert_eq!(at(1_709_210_096), "2024-02-29-12-34-56"); // date -u -d @1709210096
        assert_eq!(at(1_735_689_599), "2024-12-31-23-59-59");
    }

    #[test]
    fn keeps_pictures_with_their_captions() {
        let parent = tempfile::tempdir().expect("a folder");
        let mut folder = RunFolder::new(parent.path());
        assert!(folder.path().is_none());
        let mut view = View::new().picture(RgbImage::new(2, 2), "a fox").text("x");
        folder.keep(&mut view, "show", None).expect("kept");
        let ViewBlock::Picture { file: Some(file), .. } = &view.blocks[0] else {
            panic!("no file")
        };
        assert!(file.ends_with("001-show.png"));
        let caption = std::fs::read_to_string(file.with_extension("txt")).expect("a caption");
        assert_eq!(caption, "a fox\n");
        let mut view = View::new().picture(RgbImage::new(2, 2), "\"a fox\", 12 steps, seed 1");
        folder.keep(&mut view, "sample", Some("a fox")).expect("kept");
        let read = |name: &str| std::fs::read_to_string(file.with_file_name(name)).expect("a file");
        assert_eq!(read("002-sample.txt"), "a fox\n");
        let log = "001-show.png: a fox\n002-sample.png: \"a fox\", 12 steps, seed 1\n";
        assert_eq!(read("pictures.log"), log);
    }
}
