//! Preparation in a process of its own: this one has another environment since its start.

use crate::trouble::{Result, Tell, Trouble};
use crate::workplace::Workplace;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Lines of cargo about its progress, which nobody at a notebook wants to read.
const CARGO: [&str; 6] =
    ["Compiling", "Finished", "Downloading", "Downloaded", "Blocking", "Fresh"];

/// Lines of the process that an error repeats.
const LAST: usize = 12;

/// Run `paella-kernel prepare` as a person would; `tell` hears what it says.
///
/// Errors: it cannot be started, or it fails; what it said last is in the text.
pub fn prepare(place: &Workplace, tell: &Tell) -> Result<()> {
    let fault = |text: String| {
        let hint = "`paella kernel install` in a terminal says more";
        Trouble::new(text, "the preparation of the kernel", hint)
    };
    let program = std::env::current_exe().map_err(|e| fault(e.to_string()))?;
    let mut command = Command::new(program);
    command.arg("prepare").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    place.as_before(&mut command);
    let mut child = command.spawn().map_err(|e| fault(e.to_string()))?;
    tell("this kernel is being prepared, once for these sources and this rustc:\n");
    let mut last: Vec<String> = Vec::new();
    let said = child.stderr.take().map(BufReader::new);
    for line in said.into_iter().flat_map(BufRead::lines).map_while(std::io::Result::ok) {
        if !CARGO.iter().any(|word| line.trim_start().starts_with(word)) {
            tell(&format!("{line}\n"));
            last.push(line);
        }
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(fault(last.split_off(last.len().saturating_sub(LAST)).join("\n"))),
        Err(error) => Err(fault(error.to_string())),
    }
}
