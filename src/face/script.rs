//! Runs commands from a file or a pipe, as at the prompt.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use super::progress::ProgressLine;
use super::terminal::{Terminal, printable};
use crate::error::{Error, Fault, Result};
use crate::lab::Lab;
use crate::lab::watch::stop_asked;
use crate::near::there;
use ron_faults::utf8;
use std::io::{BufRead, Read};
use std::path::Path;

/// Runs a file of commands. The first error ends it.
///
/// Errors: the file cannot be read, or a command fails; the place is then `FILE:LINE: COMMAND`.
pub fn run_file(lab: &mut Lab, path: &Path, terminal: &Terminal, json: bool) -> Result<()> {
    let name = path.display().to_string();
    there(path, "paella --script FILE")?;
    let file = std::fs::File::open(path)
        .map_err(|e| Error::command(format!("could not read the script: {e}"), &name, ""))?;
    run(lab, std::io::BufReader::new(file), &name, terminal, json)
}

/// Runs commands line by line. Each is shown as `> command` before its answer.
pub fn run(
    lab: &mut Lab,
    mut lines: impl BufRead,
    name: &str,
    terminal: &Terminal,
    json: bool,
) -> Result<()> {
    for i in 1.. {
        let place = format!("{name}:{i}");
        let Some(bytes) = next_line(&mut lines, &place)? else { break };
        let line = utf8(bytes, name).map_err(|fault| {
            let Fault { what, hint, .. } = fault;
            Error::command(what, &place, hint)
        })?;
        if stop_asked() {
            eprintln!("stopped before {}; from there on nothing is run", printable(&place));
            break;
        }
        let line = line.trim();
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

/// The longest line of a script, in bytes.
const LONGEST: usize = 1 << 20;

/// The next line without its end. None at the end of the script.
///
/// Errors: it cannot be read; it is longer than `LONGEST`, as in a file that is no script.
fn next_line(lines: &mut impl BufRead, place: &str) -> Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let read = lines.take(LONGEST as u64 + 1).read_until(b'\n', &mut bytes);
    let read = read.map_err(|e| Error::command(format!("could not read: {e}"), place, ""))?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    } else if read > LONGEST {
        let what = format!("this line is longer than {LONGEST} bytes");
        return Err(Error::command(what, place, "a script has a command on each line"));
    }
    Ok((read > 0).then_some(bytes))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_and_have_a_bound() {
        let mut lines: &[u8] = b"one\n\ntwo";
        let mut next = || next_line(&mut lines, "s:1").expect("read");
        assert_eq!(
            [next(), next(), next(), next()],
            [Some(b"one".to_vec()), Some(vec![]), Some(b"two".to_vec()), None]
        );
        let mut endless = std::io::BufReader::new(std::io::repeat(0));
        let error = next_line(&mut endless, "s:1").expect_err("refused").to_string();
        assert!(error.contains("longer than 1048576 bytes") && error.contains("s:1"), "{error}");
        let mut full = vec![b'x'; LONGEST];
        full.push(b'\n');
        assert_eq!(
            next_line(&mut full.as_slice(), "s:1").expect("read").map(|line| line.len()),
            Some(LONGEST)
        );
    }
}
