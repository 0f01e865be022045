//! Finds a command by name, and suggests similar ones.

use super::command::Command;
use crate::error::{Error, Result};

impl Command {
    /// The command of this name or alias among `commands`.
    ///
    /// Errors: no such command; the hint names the nearest ones.
    pub fn find(commands: &[&'static Command], name: &str) -> Result<&'static Command> {
        let lower = name.trim_start_matches(':').to_lowercase();
        let known = |c: &&Command| c.name == lower || c.aliases.contains(&lower.as_str());
        commands.iter().copied().find(known).ok_or_else(|| {
            let near =
                commands.iter().filter(|c| close(c.name, &lower)).map(|c| format!("`{}`", c.name));
            let hint = match near.collect::<Vec<_>>().as_slice() {
                [] => "`help` lists all commands".to_string(),
                near => format!("did you mean {}?", near.join(" or ")),
            };
            Error::command(format!("unknown command `{name}`"), "", hint)
        })
    }
}

/// Whether the word is a prefix of the name, differs from it in at most two letters, or has the same letters in another
/// order.
fn close(name: &str, word: &str) -> bool {
    let common = name.chars().zip(word.chars()).filter(|(a, b)| a == b).count();
    let longest = name.chars().count().max(word.chars().count());
    (word.len() >= 2 && name.starts_with(word))
        || (longest >= 4 && common + 2 >= longest)
        || swapped(name, word)
}

fn swapped(a: &str, b: &str) -> bool {
    let sorted = |s: &str| {
        let mut letters: Vec<char> = s.chars().collect();
        letters.sort_unstable();
        letters
    };
    a.len() > 2 && sorted(a) == sorted(b)
}

#[cfg(test)]
mod tests {
    use super::super::table::COMMANDS;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_command_is_told_in_full() {
        let mut names = BTreeSet::new();
        for c in COMMANDS {
            assert!(c.synopsis.starts_with(c.name), "{}", c.name);
            assert!(!c.summary.is_empty() && !c.help.is_empty(), "{}", c.name);
            let (name, _) =
                super::super::args::parse(c.example).expect("parses").expect("a command");
            assert_eq!(name, c.name);
            for key in c.keys {
                assert!(c.synopsis.contains(&format!("{key}=")), "{}: {key}", c.name);
            }
            for name in c.aliases.iter().chain([&c.name]) {
                assert!(names.insert(*name), "`{name}` names two commands");
            }
        }
    }

    #[test]
    fn every_function_to_explain_exists() {
        for c in COMMANDS {
            for name in c.functions {
                assert!(super::super::explain::find_function(name).is_some(), "{}: {name}", c.name);
            }
        }
        // several files have a function of this name: `show` means the one for pictures
        let fit = super::super::explain::find_function("fit").expect("a function");
        assert_eq!(fit.file, "src/image.rs");
    }

    #[test]
    fn finds_commands_and_suggests() {
        let all: Vec<&Command> = COMMANDS.iter().collect();
        let find = |name| Command::find(&all, name);
        assert_eq!(find("?").map(|c| c.name), Ok("help"));
        assert_eq!(find(":Show").map(|c| c.name), Ok("show"));
        let hint = |name| find(name).map(|_| ()).expect_err("unknown").faults()[0].hint.clone();
        assert_eq!(hint("smaple"), "did you mean `sample`?");
        assert_eq!(hint("enc"), "did you mean `encode`?");
        assert_eq!(hint("xyzzy"), "`help` lists all commands");
    }
}
