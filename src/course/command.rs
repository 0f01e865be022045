//! `check ID`: the command that the course adds to a session.

use super::{Exercise, Lesson, check, folder, lessons};
use crate::error::{Error, Result};
use crate::lab::args::Args;
use crate::lab::command::{Command, Takes};
use crate::lab::{Lab, Reply, table, turn::internal_error};
use crate::near::did_you_mean;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Name of the course's command.
const CHECK: &str = "check";

/// The row that the course adds to the table of commands.
pub const COMMANDS: &[Command] = &[Command {
    name: CHECK,
    aliases: &[],
    synopsis: "check ID",
    summary: "look whether an exercise of the lessons is solved",
    help: "Looks at the pictures, tokens and numbers that the session has in hand, and says for each what the exercise \
           asks of it and what it is. The lessons name their exercises; within `paella lesson` the one at hand needs no \
           name.",
    example: "check half",
    needs: &["the exercise"],
    words: Some(1),
    keys: &[],
    takes: Takes::Names(ids),
    functions: &["look"],
    changes: false,
    run: |lab, args, _| Ok(answer(lab, &find(args)?)?.1.view),
}];

/// Adds `check` to a session.
pub fn join(lab: &mut Lab) {
    lab.add_commands(COMMANDS);
}

/// All commands of a session with the course.
pub fn commands() -> Vec<&'static Command> {
    table::COMMANDS.iter().chain(COMMANDS).collect()
}

/// IDs of all exercises, for completion.
fn ids() -> Vec<String> {
    let all = folder().and_then(|folder| exercises(&folder)).unwrap_or_default();
    all.into_iter().map(|e| e.id).collect()
}

/// Checks whether an exercise is solved, and reports it.
///
/// Errors: an internal error during the check.
pub fn answer(lab: &mut Lab, exercise: &Exercise) -> Result<(bool, Reply)> {
    let looked = catch_unwind(AssertUnwindSafe(|| check::look(&exercise.checks, lab)));
    let (solved, view) = looked.map_err(|_| internal_error(&format!("check {}", exercise.id)))?;
    let verdict = if solved { "solved" } else { "not solved yet" };
    let view = view.note(format!("{}: {verdict}", exercise.title));
    Ok((solved, Reply { command: CHECK, view }))
}

/// The exercises of all lessons of a folder.
fn exercises(folder: &Path) -> Result<Vec<Exercise>> {
    let all = lessons(folder)?;
    Ok(all.iter().flat_map(Lesson::exercises).cloned().collect())
}

/// The exercise that the line names.
fn find(args: &Args) -> Result<Exercise> {
    let exercises = exercises(&folder()?)?;
    let names: Vec<String> = exercises.iter().map(|e| e.id.clone()).collect();
    let ids = names.join(", ");
    let wanted = args.first();
    let found = exercises.into_iter().find(|exercise| exercise.id == wanted);
    found.ok_or_else(|| {
        Error::command(
            format!("there is no exercise `{wanted}`"),
            format!("`{}`", args.line),
            did_you_mean(wanted, names.iter().map(String::as_str), format!("there are: {ids}")),
        )
    })
}
