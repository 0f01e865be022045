//! Finds a command by name, and suggests similar ones.

use super::command::Command;
use super::model::shipped_models;
use crate::error::{Error, Result};
use crate::near::{did_you_mean, nearest};

impl Command {
    /// The command of this name or alias among `commands`.
    ///
    /// Errors: no such command; the hint names the nearest one.
    pub fn find(commands: &[&'static Command], name: &str) -> Result<&'static Command> {
        let lower = name.trim_start_matches(':').to_lowercase();
        let known = |c: &&Command| c.name == lower || c.aliases.contains(&lower.as_str());
        commands.iter().copied().find(known).ok_or_else(|| {
            let names = commands.iter().map(|c| c.name);
            let hint = of_the_shell(&lower)
                .unwrap_or_else(|| did_you_mean(&lower, names, of_a_model(&lower)));
            Error::command(format!("unknown command `{name}`"), "", hint)
        })
    }
}

/// The program's own commands that the prompt does not have.
pub const OF_THE_SHELL: [&str; 11] = [
    "bench",
    "completions",
    "convert",
    "doctor",
    "eval",
    "kernel",
    "lesson",
    "lessons",
    "plan",
    "precompute",
    "pull",
];

/// The hint for a word of the shell's.
fn of_the_shell(word: &str) -> Option<String> {
    if matches!(word, "paella" | "$") {
        return Some(
            "this is the prompt: commands stand here without `paella`; `help` lists them".into(),
        );
    }
    let hint = || format!("`paella {word}` is a command of the shell; `quit` leaves this prompt");
    OF_THE_SHELL.contains(&word).then(hint)
}

/// The hint for a word near no command: it may be a model's name.
fn of_a_model(word: &str) -> String {
    let models = shipped_models();
    match nearest(word, models.iter().map(String::as_str)) {
        Some(model) => format!("`load {model}` opens that model; `help` lists all commands"),
        None => "`help` lists all commands".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::COMMANDS;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_command_is_described_in_full() {
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
        // several files have a function of each of these names
        for (name, file) in [
            ("fit", "src/image.rs"),
            ("keep", "src/sample/mod.rs"),
            ("images", "src/tokens/clip.rs"),
            ("draw", "src/sample/chance.rs"),
            ("guess", "src/sample/mod.rs"),
            ("look", "src/course/check.rs"),
            ("encode", "src/networks.rs"),
            ("decode", "src/networks.rs"),
            ("save", "src/networks.rs"),
            ("load", "src/networks.rs"),
            ("step", "src/train/denoiser.rs"),
            ("update", "src/optim.rs"),
            ("set", "crates/ron-faults/src/edit.rs"),
            ("back", "src/lab/sampling.rs"),
            ("closest", "src/eval/nearest.rs"),
            ("verdict_on", "src/eval/scenes.rs"),
        ] {
            let found = super::super::explain::find_function(name).expect("a function");
            assert_eq!(found.file, file, "{name}");
        }
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
        assert_eq!(hint("nose"), "did you mean `noise`?");
        assert_eq!(hint("xyzzy"), "`help` lists all commands");
    }
}
