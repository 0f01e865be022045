//! A turn of a face that knows the exercises too: `check ID`, and every command of the session.

use super::{Exercise, check, folder, lessons};
use crate::error::{Error, Result};
use crate::lab::args::{Args, parse};
use crate::lab::watch::Watch;
use crate::lab::{Lab, Reply, turn::internal_error};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Run one line: `check ID`, or what `Lab::turn` runs.
///
/// Errors: as `Lab::turn`; there is no such exercise. One that is not solved is an answer, no error.
pub fn turn(lab: &mut Lab, line: &str, watch: &mut dyn Watch) -> Result<Option<Reply>> {
    match parse(line) {
        Ok(Some((name, args))) if name == "check" => {
            let (_, reply) = answer(lab, &find(&args)?)?;
            Ok(Some(reply))
        }
        _ => lab.turn(line, watch),
    }
}

/// Look whether an exercise is solved, and say so.
///
/// Errors: a fault of this program on the way.
pub fn answer(lab: &mut Lab, exercise: &Exercise) -> Result<(bool, Reply)> {
    let looked = catch_unwind(AssertUnwindSafe(|| check::look(&exercise.checks, lab)));
    let (solved, view) = looked.map_err(|_| internal_error(&format!("check {}", exercise.id)))?;
    let verdict = if solved { "solved" } else { "not solved yet" };
    let view = view.note(format!("{}: {verdict}", exercise.title));
    Ok((solved, Reply { command: "check", view }))
}

/// The exercise that the line names.
fn find(args: &Args) -> Result<Exercise> {
    let exercises: Vec<Exercise> = lessons(&folder()?)?
        .iter()
        .flat_map(|l| l.exercises().cloned().collect::<Vec<_>>())
        .collect();
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
