//! The type of a command: name, arguments, help, and the function it runs. How many words it takes is checked here.

use super::Lab;
use super::args::{Args, quoted};
use super::view::View;
use super::watch::Watch;
use crate::data::shard_list;
use crate::error::{Error, Result};

/// The function of a command.
pub type CommandFn = fn(&mut Lab, &Args, &mut dyn Watch) -> Result<View>;

/// One row of the command table.
pub struct Command {
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    /// Name and arguments: `noise T`.
    pub synopsis: &'static str,
    /// One line for the list.
    pub summary: &'static str,
    /// Description in a few lines.
    pub help: &'static str,
    pub example: &'static str,
    /// The words that have to be there, as an error names them: `the folder`.
    pub needs: &'static [&'static str],
    /// Maximum number of words. None: any number, which form one text.
    pub words: Option<usize>,
    /// The keys it accepts as `key=value`.
    pub keys: &'static [&'static str],
    /// What its words are, for completion.
    pub takes: Takes,
    /// Functions that implement it, for `explain`.
    pub functions: &'static [&'static str],
    /// Whether it changes the session, so that `undo` can revert it.
    pub changes: bool,
    pub run: CommandFn,
}

impl Command {
    /// Whether its words form one text. Such a text may be empty (`""`); a name, a path or a number may not.
    fn takes_text(&self) -> bool {
        self.words.is_none()
    }

    /// Refuses words that are missing, one too many, or empty.
    pub fn check_words(&self, args: &Args) -> Result<()> {
        let is_there = |word: &String| self.takes_text() || !word.is_empty();
        for (at, name) in self.needs.iter().enumerate() {
            if !args.words.get(at).is_some_and(is_there) {
                let more = self.choices();
                return Err(args.fault(
                    format!("{name} is missing"),
                    format!("usage: {}{more}", self.synopsis),
                ));
            }
        }
        if let Some(word) = self.words.and_then(|most| args.words.get(most)) {
            return Err(self.one_too_many(word, args));
        }
        match args.words.iter().all(is_there) {
            true => Ok(()),
            false => Err(args.misused("a word is empty")),
        }
    }

    /// What else to say where a word is missing.
    fn choices(&self) -> String {
        match self.takes {
            Takes::Caption if self.takes_text() => "; the empty text is \"\"".into(),
            Takes::Names(names) => format!("; known: {}", names().join(", ")),
            _ => String::new(),
        }
    }

    fn one_too_many(&self, word: &str, args: &Args) -> Error {
        let comment = word.starts_with('#').then(|| args.comment_at(&format!(" {word}")));
        if let Some(error) = comment.flatten() {
            return error;
        }
        let what = format!("`{word}` is one word too many");
        if !matches!(self.takes, Takes::Model | Takes::File | Takes::Source) {
            return args.misused(what);
        }
        let name = args.line.split_whitespace().next().unwrap_or_default();
        let pipe = args.first().starts_with("pipe:");
        let items: Vec<&str> = args.words.iter().map(|word| word.trim_matches(',')).collect();
        let shards = matches!(self.takes, Takes::Source)
            && items.iter().all(|word| shard_list(word).is_some());
        let hint = if pipe && matches!(self.takes, Takes::Source) {
            let rest = quoted(args.rest(), None);
            format!("a command with blanks goes in quotes: `{name} {rest}`")
        } else if shards {
            let list = quoted(&items.join(","), None);
            format!("several shards have commas between them: `{name} {list}`")
        } else {
            let path = quoted(&args.joined(), None);
            format!("a name with blanks goes in quotes: `{name} {path}`")
        };
        args.fault(what, hint)
    }
}

/// What the words of a command name.
#[derive(Clone, Copy, Debug)]
pub enum Takes {
    Nothing,
    Caption,
    /// Words of the current picture's caption.
    Word,
    Setting,
    Command,
    Model,
    File,
    Source,
    OneOf(&'static [&'static str]),
    /// Names that are listed on demand.
    Names(fn() -> Vec<String>),
}

#[cfg(test)]
mod tests {
    use super::super::args::parse;
    use super::super::table::COMMANDS;
    use super::*;

    fn refused(command: &Command, line: &str) -> Option<String> {
        let (_, mut args) = parse(line).expect("a good line").expect("a command");
        args.usage = command.synopsis;
        command.check_words(&args).err().map(|error| error.to_string())
    }

    #[test]
    fn every_row_says_how_many_words_it_takes() {
        for c in COMMANDS {
            let most = c.words.unwrap_or(c.needs.len() + 5);
            assert!(c.needs.len() <= most, "{}", c.name);
            assert_eq!(refused(c, c.example), None, "{}", c.name);
            for count in 0..=most + 1 {
                let error = refused(c, &format!("{}{}", c.name, " w".repeat(count)));
                let expected = match c.needs.get(count) {
                    Some(missing) => Some(format!("{missing} is missing")),
                    None if c.words.is_some_and(|most| count > most) => {
                        Some("`w` is one word too many".into())
                    }
                    None => None,
                };
                match (&error, &expected) {
                    (Some(error), Some(expected)) => assert!(error.contains(expected), "{error}"),
                    _ => assert_eq!(error, expected, "{} with {count} words", c.name),
                }
            }
        }
    }

    /// `TEXT` of `start` may be left out where a picture is edited.
    #[test]
    fn a_synopsis_names_the_words_that_are_needed() {
        for c in COMMANDS.iter().filter(|c| c.name != "start") {
            let words = c.synopsis.split(" [").next().unwrap_or_default().split_whitespace();
            let required = words.skip(1).filter(|word| !word.contains('=')).count();
            assert_eq!(required, c.needs.len(), "{}", c.synopsis);
        }
    }

    #[test]
    fn a_missing_word_is_named_with_a_line_that_works() {
        let command = |name: &str| COMMANDS.iter().find(|c| c.name == name).expect("a command");
        let error = |line: &str| -> String {
            let name = line.split(' ').next().unwrap_or_default();
            refused(command(name), line).unwrap_or_else(|| panic!("{line} is accepted"))
        };
        assert!(
            error("noise").contains("T is missing") && error("noise").contains("usage: noise T")
        );
        assert!(error("set sample.steps").contains("its value is missing"));
        assert!(error("sample steps=3").contains("the empty text is \"\""));
        assert!(error("save my pics").contains("in quotes: `save \"my pics\"`"));
        // an empty word is a text, and nothing else
        assert_eq!(refused(command("sample"), "sample \"\""), None);
        assert!(error("save \"\"").contains("the folder is missing"));
        assert!(error("load \"\"").contains("a word is empty"));
    }
}
