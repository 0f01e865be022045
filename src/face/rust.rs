//! Rust at the prompt, where a compiler stands behind it: what is no command is Rust.

use crate::course;
use crate::lab::command::Command;

/// What runs Rust on the session of the prompt.
pub trait Rust {
    /// Run it and show what comes of it; false for an error, which is shown too.
    fn run(&self, code: &str) -> bool;
    /// Whether it can be run, or wants further lines.
    fn is_whole(&self, code: &str) -> bool;
    /// Where the word before byte `at` begins, and what it may become.
    fn complete(&self, code: &str, at: usize) -> (usize, Vec<String>);
}

/// Rust that begins with a command's name goes on with one of these: `noise = 3`, `step += 1`, `show(&xs)`.
const RUST_GOES_ON: [char; 14] =
    ['=', '+', '*', '/', '&', '|', '<', '>', '^', '?', ';', '(', '{', '['];

/// The command of a line, where Rust is understood too. A `%` in front makes it one in any case, a blank makes it Rust.
pub fn command(line: &str) -> Option<&str> {
    if let Some(command) = line.strip_prefix('%') {
        return Some(command);
    }
    let word = line.split(char::is_whitespace).next().unwrap_or_default();
    let known = Command::find(&course::commands(), word).is_ok();
    let lower = !word.contains(char::is_uppercase);
    let rest = line[word.len()..].trim_start();
    let dash = rest.strip_prefix(['-', '.']).is_some_and(|rest| rest.starts_with(' '));
    (known && lower && !dash && !rest.starts_with(RUST_GOES_ON)).then_some(line)
}

/// What a command misspelt as Rust may have meant.
pub fn misspelt(line: &str) -> Option<String> {
    let word = line.split(char::is_whitespace).next().filter(|word| word.len() > 2)?;
    let error = Command::find(&course::commands(), word).err()?;
    let hint = error.faults().first()?.hint.clone();
    hint.starts_with("did you mean").then(|| format!("no command is called `{word}`; {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_rust_are_told_apart() {
        for line in [
            "noise 0.5",
            "show \"red apple\"",
            "train 10",
            "help",
            "?",
            "%step",
            "step",
            "check hidden",
            "quit",
        ] {
            assert!(command(line).is_some(), "{line}");
        }
        assert_eq!(command("%noise 1"), Some("noise 1"));
        for line in [
            "noise.size()",
            "noise = 3",
            "let a = 1;",
            "step += 1",
            "Step { t: 1.0 }",
            " noise 1",
            "1 + 1",
            "show(&a)",
            ":dep rand = \"0.9\"",
            "noise - 1",
        ] {
            assert!(command(line).is_none(), "{line}");
        }
    }

    #[test]
    fn a_misspelt_command_is_recognised() {
        let text = misspelt("smaple \"red apple\"").expect("a suggestion");
        assert!(text.contains("`sample`"), "{text}");
        assert_eq!((misspelt("let a = 1;"), misspelt("1 + 1")), (None, None));
    }
}
