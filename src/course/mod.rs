//! The course: lessons at the prompt and as notebooks, with exercises that the session checks.
//!
//! The source of all lessons is `tutorials/`; [`source`] documents its format. [`check`] decides when an exercise is
//! solved, [`walk`] steps through a lesson, [`notebook`] writes it as `.ipynb`.

pub mod check;
pub mod command;
mod guesses;
pub mod measures;
pub mod notebook;
pub mod progress;
pub mod source;
pub mod walk;

pub use command::{answer, commands, join};
pub use source::{Exercise, Lesson, LessonBlock, NextLesson};

use crate::data::assets::assets_dir;
use crate::error::{Error, Result};
use crate::near::did_you_mean;
use std::path::{Path, PathBuf};

/// The folder of lessons: `tutorials`, beside the shipped data.
///
/// Errors: as `assets_dir`.
pub fn folder() -> Result<PathBuf> {
    let assets = assets_dir()?;
    Ok(assets.parent().unwrap_or(Path::new(".")).join("tutorials"))
}

/// All lessons of a folder: the numbered ones in order, then the others by name.
///
/// Errors: the folder or one of its lessons cannot be read.
pub fn lessons(folder: &Path) -> Result<Vec<Lesson>> {
    let entries = std::fs::read_dir(folder).map_err(|e| {
        let hint = "the lessons come with the source of this program";
        Error::data(format!("no lessons can be read: {e}"), folder.display().to_string(), hint)
    })?;
    let files = entries.flatten().map(|entry| entry.path());
    let sources = files.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    let known = commands();
    let mut lessons =
        sources.map(|path| Lesson::read(&path, &known)).collect::<Result<Vec<_>>>()?;
    lessons.sort_by_key(|lesson| (lesson.number.is_none(), lesson.stem()));
    for i in 1..lessons.len() {
        let Lesson { name, title, .. } = lessons[i].clone();
        let next = NextLesson { stem: lessons[i].stem(), name, title };
        // the lessons without a number stand alone
        lessons[i - 1].next = lessons[i].number.is_some().then_some(next);
    }
    Ok(lessons)
}

/// The lesson with this number or name.
///
/// Errors: no such lesson; the hint lists the existing ones.
pub fn find(lessons: Vec<Lesson>, which: &str) -> Result<Lesson> {
    let names: Vec<String> = lessons.iter().map(Lesson::stem).collect();
    let words: Vec<String> = lessons.iter().map(|lesson| lesson.name.clone()).collect();
    let fits = |lesson: &Lesson| {
        lesson.name == which
            || lesson.stem() == which
            || lesson.number.is_some() && lesson.number == which.parse().ok()
    };
    lessons.into_iter().find(fits).ok_or_else(|| {
        Error::command(
            format!("there is no lesson `{which}`"),
            "",
            did_you_mean(
                which,
                words.iter().map(String::as_str),
                format!("there are: {}", names.join(", ")),
            ),
        )
    })
}
