//! A turn of a face that knows the exercises too: `check ID`, and every command of the session, with their completion and help.

use super::{Exercise, Lesson, check, folder, lessons};
use crate::error::{Error, Result};
use crate::lab::args::{Args, parse};
use crate::lab::command::Command;
use crate::lab::complete::Completion;
use crate::lab::view::View;
use crate::lab::watch::Watch;
use crate::lab::{Lab, Reply, turn::internal_error};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// The one command of the course.
pub const CHECK: &str = "check";
const SUMMARY: &str = "look whether an exercise of the lessons is solved";
const HELP: &str = "check ID

Looks at the pictures, tokens and numbers that the session has in hand, and says for each what the exercise asks of it
and what it is. The lessons name their exercises; within `paella lesson` the one at hand needs no name.

example: check half";

/// Run one line: `check ID`, or what `Lab::turn` runs.
///
/// Errors: as `Lab::turn`; there is no such exercise. One that is not solved is an answer, no error.
pub fn turn(lab: &mut Lab, line: &str, watch: &mut dyn Watch) -> Result<Option<Reply>> {
    match parse(line) {
        Ok(Some((name, args))) if name == CHECK => {
            let (_, reply) = answer(lab, &find(&args)?)?;
            Ok(Some(reply))
        }
        Ok(Some((name, args))) if asks_for_help(&name, &args) => {
            let view = help(lab, args.words.first().map(String::as_str))?;
            Ok(Some(Reply { command: "help", view }))
        }
        _ => lab.turn(line, watch),
    }
}

/// Whether the line is `help` or `help check`: the session answers all else.
fn asks_for_help(name: &str, args: &Args) -> bool {
    let here = args.words.is_empty() || args.words == [CHECK];
    here && args.pairs.is_empty() && Command::find(name).is_ok_and(|c| c.name == "help")
}

/// As `Lab::help`, and of `check`.
///
/// Errors: no such command.
pub fn help(lab: &Lab, name: Option<&str>) -> Result<View> {
    match name {
        Some(CHECK) => Ok(View::new().text(HELP)),
        Some(name) => lab.help(Some(name)),
        None => {
            Ok(lab.help(None)?.note(format!("in lessons and notebooks too: `check ID`: {SUMMARY}")))
        }
    }
}

/// As `Lab::complete`, and of `check` with the exercises of all lessons.
pub fn complete(lab: &mut Lab, line: &str) -> Completion {
    let start = line.rfind(char::is_whitespace).map_or(0, |i| i + 1);
    let (before, word) = (line[..start].trim(), &line[start..]);
    if before == CHECK {
        let all = folder().and_then(|folder| exercises(&folder)).unwrap_or_default();
        let words = all.into_iter().map(|e| e.id).filter(|id| id.starts_with(word)).collect();
        return Completion { start, words, files: false };
    }
    let mut found = lab.complete(line);
    if before.is_empty() && CHECK.starts_with(word) {
        found.words.push(format!("{CHECK} "));
    }
    found
}

/// Look whether an exercise is solved, and say so.
///
/// Errors: a fault of this program on the way.
pub fn answer(lab: &mut Lab, exercise: &Exercise) -> Result<(bool, Reply)> {
    let looked = catch_unwind(AssertUnwindSafe(|| check::look(&exercise.checks, lab)));
    let (solved, view) = looked.map_err(|_| internal_error(&format!("check {}", exercise.id)))?;
    let verdict = if solved { "solved" } else { "not solved yet" };
    let view = view.note(format!("{}: {verdict}", exercise.title));
    Ok((solved, Reply { command: CHECK, view }))
}

/// Those of all lessons of a folder.
fn exercises(folder: &Path) -> Result<Vec<Exercise>> {
    let all = lessons(folder)?;
    Ok(all.iter().flat_map(Lesson::exercises).cloned().collect())
}

/// The exercise that the line names.
fn find(args: &Args) -> Result<Exercise> {
    let exercises = exercises(&folder()?)?;
    let ids = exercises.iter().map(|e| e.id.clone()).collect::<Vec<_>>().join(", ");
    let wanted = match args.words.as_slice() {
        [id] => id,
        _ => {
            return Err(
                args.fault("an exercise is named by one word", format!("check ID, of {ids}"))
            );
        }
    };
    let found = exercises.into_iter().find(|exercise| exercise.id == *wanted);
    found.ok_or_else(|| {
        Error::command(
            format!("there is no exercise `{wanted}`"),
            format!("`{}`", args.line),
            format!("there are: {ids}"),
        )
    })
}
