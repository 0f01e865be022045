//! Runs commands from a file or a pipe, as at the prompt.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use super::progress::ProgressLine;
use super::terminal::{Terminal, printable};
use crate::error::{Error, Fault, Result};
use crate::lab::Lab;
use crate::lab::near::no_file;
use std::io::BufRead;
use std::path::Path;

/// Runs a file of commands. The first error ends it.
///
/// Errors: the file cannot be read, or a command fails; the place is then `FILE:LINE: COMMAND`.
pub fn run_file(lab: &mut Lab, path: &Path, terminal: &Terminal, json: bool) -> Result<()> {
    let name = path.display().to_string();
    if !path.exists() || path.is_dir() {
        return Err(no_file(path, "paella --script FILE"));
    }
    let file = std::fs::File::open(path)
        .map_err(|e| Error::command(format!("could not read the script: {e}"), &name, ""))?;
    run(lab, std::io::BufReader::new(file), &name, terminal, json)
}

/// Runs commands line by line. Each is shown as `> command` before its answer.
pub fn run(
    lab: &mut Lab,
    lines: impl BufRead,
    name: &str,
    terminal: &Terminal,
    json: bool,
) -> Result<()> {
    for (i, line) in lines.split(b'\n').enumerate() {
        let place = format!("{name}:{}", i + 1);
        let bytes = line.map_err(|e| Error::command(format!("could not read: {e}"), &place, ""))?;
        let line = String::from_utf8(bytes).map_err(|_| {
            Error::command("this line is no UTF-8 text", &place, "save the script as UTF-8")
        })?;
        let line = line.trim_start_matches('\u{feff}').trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if !json {
            println!("> {}", printable(line));
        }
        let reply =
            lab.turn(line, &mut ProgressLine::new(json)).map_err(|e| placed(e, &place, line))?;
        match reply {
            Some(reply) if json => println!("{}", reply.view.to_json()),
            Some(reply) => terminal.show(&reply.view),
            None => {}
        }
        if lab.is_over() {
            break;
        }
    }
    Ok(())
}

/// The error with the script line added to its place.
fn placed(error: Error, place: &str, line: &str) -> Error {
    let shorter: String = line.chars().take(80).collect();
    error.map(|fault| {
        let own = fault.place.trim_matches('`') == line || fault.place.is_empty();
        let place =
            if own { format!("{place}: {shorter}") } else { format!("{place}: {}", fault.place) };
        Fault { place, ..fault }
    })
}
