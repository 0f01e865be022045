//! Rust at the prompt, available in the kernel build: a line that is not a command is Rust.

use crate::course;
use crate::lab::command::Command;

/// Runs Rust code on the session of the prompt.
pub trait Rust {
    /// Runs the code and shows its result. Returns false for an error, which is shown too.
    fn run(&self, code: &str) -> bool;
    /// Whether the code is complete, or needs further lines.
    fn is_whole(&self, code: &str) -> bool;
    /// Start of the word before byte `at`, and its completions.
    fn complete(&self, code: &str, at: usize) -> (usize, Vec<String>);
}

/// Characters after a command's name that show that the line is Rust: `noise = 3`, `step += 1`, `show(&xs)`.
const RUST_GOES_ON: [char; 14] =
    ['=', '+', '*', '/', '&', '|', '<', '>', '^', '?', ';', '(', '{', '['];

/// The command of a line, if it is one. A leading `%` always makes it a command, a leading blank makes it Rust.
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

/// A suggestion for a line that may be a misspelt command. Shorter words, such as `let`, are near too many.
pub fn misspelt(line: &str) -> Option<String> {
    let word = line.split(char::is_whitespace).next().filter(|word| word.len() > 3)?;
    let error = Command::find(&course::commands(), word).err()?;
    let hint = error.faults().first()?.hint.clone();
    hint.starts_with("did you mean").then(|| format!("no command is called `{word}`; {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_rust_are_distinguished() {
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
