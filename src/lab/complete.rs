//! Completion of the line: commands, keys, captions, settings, models, files.

use super::Lab;
use super::args::{last_word, quoted, unquoted};
use super::attention::words_of;
use super::command::{Command, Takes};
use super::model::shipped_models;
use crate::data::scenes::words::vocabulary;
use crate::data::{Part, Record, Source, home};
use crate::model::weigh::PARTS;
use std::collections::BTreeSet;
use std::path::Path;

/// The candidates for the word before the cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// Start of the word in bytes.
    pub start: usize,
    pub words: Vec<String>,
    /// Whether file names fit too. The face lists them: see [`files`].
    pub files: bool,
}

/// Maximum number of captions offered.
const MOST: usize = 40;

impl Lab {
    /// Completions for `line`, the text up to the cursor.
    pub fn complete(&mut self, line: &str) -> Completion {
        let start = last_word(line);
        let (before, word) = (line[..start].trim(), &line[start..]);
        let pick = |all: Vec<String>| -> Vec<String> {
            all.into_iter().filter(|w| w.starts_with(word)).collect()
        };
        let Some(name) = before.split_whitespace().next() else {
            let names = self.commands.iter().map(|c| format!("{} ", c.name)).collect();
            return Completion { start, words: pick(names), files: false };
        };
        let Ok(command) = Command::find(&self.commands, name) else { return Completion::default() };
        let keys = command.keys.iter().map(|k| format!("{k}=")).collect();
        let first = before == name;
        let mut words = match command.takes {
            Takes::Caption => {
                let mut found = self.complete_caption(line, name);
                if found.start == start && !found.words.is_empty() && !word.is_empty() {
                    found.words.extend(pick(keys)); // a word of a caption, or a key
                } else if found.words.is_empty() {
                    let words = [pick(keys), pick(self.values(command, before, word))].concat();
                    found = Completion { start, words, files: command.name == "show" };
                }
                return found;
            }
            Takes::Word => pick(self.words_of_picture()),
            Takes::Setting if first => {
                let diff = (command.name == "config").then(|| "diff".to_string());
                pick(crate::config::paths(&self.state.settings).into_iter().chain(diff).collect())
            }
            Takes::Command if first => {
                pick(self.commands.iter().map(|c| c.name.to_string()).collect())
            }
            Takes::Names(names) if first => pick(names()),
            Takes::Model if first => pick(shipped_models()),
            Takes::Source if first => {
                pick(["emoji", "fashion", "scenes"].map(String::from).to_vec())
            }
            Takes::OneOf(words) if first => pick(words.iter().map(|w| w.to_string()).collect()),
            _ => Vec::new(),
        };
        words.extend(pick(keys));
        words.extend(pick(self.values(command, before, word)));
        Completion {
            start,
            words,
            files: first && matches!(command.takes, Takes::Model | Takes::File | Takes::Source),
        }
    }

    /// Values for a `key=`, and the current value after `set PATH `.
    fn values(&mut self, command: &Command, before: &str, word: &str) -> Vec<String> {
        if let Some((key, typed)) =
            word.split_once('=').filter(|(key, _)| command.keys.contains(key))
        {
            let front = typed.rfind(',').map_or("", |comma| &typed[..=comma]); // lists have commas
            return self
                .values_of(key)
                .into_iter()
                .map(|name| format!("{key}={front}{name}"))
                .collect();
        }
        let settings = &self.state.settings;
        let path = before.strip_prefix("set ").filter(|_| command.name == "set");
        match path.and_then(|path| crate::config::get(settings, path.trim()).ok()) {
            Some(value) if value == "true" || value == "false" => {
                ["true", "false"].map(String::from).to_vec()
            }
            Some(value) if !value.contains('\n') => vec![value],
            _ => Vec::new(),
        }
    }

    /// Names that a key accepts. Empty if it takes numbers or text.
    fn values_of(&mut self, key: &str) -> BTreeSet<String> {
        let field = match key {
            "greedy" | "levels" | "films" => return ["true", "false"].map(String::from).into(),
            "prior" => return ["on", "off"].map(String::from).into(),
            "part" => return PARTS.map(String::from).into(),
            "group" => |r: &Record| r.group.clone(),
            "style" => |r: &Record| r.style.clone(),
            _ => return BTreeSet::new(),
        };
        let Ok(data) = self.data(Part::Train) else { return BTreeSet::new() };
        data.records.iter().map(field).filter(|name| !name.is_empty()).collect()
    }

    /// The words of the current picture's caption.
    fn words_of_picture(&self) -> Vec<String> {
        let picture = self.state.workspace.picture.iter();
        picture.flat_map(|picture| words_of(&picture.caption)).map(String::from).collect()
    }

    /// Captions that begin with the text after the command, quoted or not.
    fn complete_caption(&mut self, line: &str, name: &str) -> Completion {
        let from = line.find(name).unwrap_or(0) + name.len();
        let rest = &line[from..];
        let start = from + (rest.len() - rest.trim_start().len());
        let quote = line[start..].chars().next().filter(|c| matches!(c, '"' | '\''));
        let typed = line[start..].trim_start_matches(['"', '\'']).to_lowercase();
        if typed.is_empty() && quote.is_none() {
            return Completion::default();
        }
        if let Source::Scenes(_) = self.state.settings.data.source {
            return complete_scene(line, (start, quote));
        }
        let Ok(data) = self.data(Part::Train) else { return Completion::default() };
        let mut words: Vec<String> = Vec::new();
        for record in data.records.iter().filter(|r| r.caption.to_lowercase().starts_with(&typed)) {
            let text = match quote {
                Some(q) => format!("{q}{}{q}", record.caption),
                None => record.caption.clone(),
            };
            if !words.contains(&text) {
                words.push(text);
            }
            if words.len() == MOST {
                break;
            }
        }
        Completion { start, words, files: false }
    }
}

/// Words of the captions of scenes that begin as the last word of the caption does, which begins at `from`. None behind its
/// end.
fn complete_scene(line: &str, (from, quote): (usize, Option<char>)) -> Completion {
    let typed = &line[from..];
    if quote.is_some_and(|quote| typed[1..].contains(quote)) || typed.contains('=') {
        return Completion::default();
    }
    let start = from + typed.rfind([' ', '"', '\'', ',']).map_or(0, |before| before + 1);
    let all = vocabulary().into_iter().flatten();
    let words = all.filter(|word| word.starts_with(&line[start..].to_lowercase()));
    Completion { start, words: words.map(String::from).collect(), files: false }
}

/// Files and folders that begin with `typed`, written as commands read them: in quotes where that is needed, folders
/// with a `/`. A leading `~` is the home folder.
pub fn files(typed: &str) -> Vec<String> {
    let (path, quote) = unquoted(typed);
    let (folder, name) = path.split_at(path.rfind('/').map_or(0, |slash| slash + 1));
    let place = home(Path::new(if folder.is_empty() { "." } else { folder }));
    let fits =
        |own: &String| own.starts_with(name) && (name.starts_with('.') || !own.starts_with('.'));
    let entries = std::fs::read_dir(&place).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok()); // others cannot be typed
    let found = names.filter(|own| fits(own) && !own.contains(char::is_control));
    let end = |own: &str| if place.join(own).is_dir() { "/" } else { "" };
    let mut paths: Vec<String> = found.map(|own| format!("{folder}{own}{}", end(&own))).collect();
    paths.sort();
    // all or none in quotes: what the candidates share is then what is completed
    let all = paths.iter().any(|path| quoted(path, None) != *path).then_some('"');
    paths.iter().map(|path| quoted(path, quote.or(all))).collect()
}

/// The remaining arguments, for the grey hint after the cursor.
pub fn hint(commands: &[&Command], line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let command = commands.iter().find(|c| Some(c.name) == words.clone().next())?;
    let (typed, ends) = (words.by_ref().count() - 1, line.ends_with(' '));
    let arguments = command.synopsis.strip_prefix(command.name)?.trim_start();
    match typed {
        0 if arguments.is_empty() => None,
        0 if ends => Some(arguments.into()),
        0 => Some(format!(" {arguments}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::COMMANDS;
    use super::*;

    #[test]
    fn completed_paths_are_read_as_they_stand() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::create_dir(at("my pics")).expect("made");
        for name in ["my pics/a.png", "my pics/b.png", "plain.png", ".hidden"] {
            std::fs::write(at(name), "").expect("written");
        }
        assert_eq!(files(&at("pl")), [at("plain.png")]);
        assert_eq!(files(&at("my")), [format!("\"{}\"", at("my pics/"))]);
        assert_eq!(files(&at("")).len(), 2);
        for typed in [format!("\"{}", at("my pics/")), format!("\"{}\"", at("my pics/"))] {
            let both = ["my pics/a.png", "my pics/b.png"].map(|name| format!("\"{}\"", at(name)));
            assert_eq!(files(&typed), both);
            let line = format!("show {}", both[0]);
            let (_, args) =
                super::super::args::parse(&line).expect("a good line").expect("a command");
            assert_eq!(args.words, [at("my pics/a.png")]);
        }
        assert!(files("no such folder/x").is_empty());
    }

    #[test]
    fn hints_show_arguments() {
        let all: Vec<&Command> = COMMANDS.iter().collect();
        let hint = |line| hint(&all, line);
        assert_eq!(hint("noise").as_deref(), Some(" T"));
        assert_eq!(hint("noise ").as_deref(), Some("T"));
        assert_eq!(
            (hint("noise 0.5"), hint("encode"), hint(""), hint("bogus ")),
            (None, None, None, None)
        );
    }
}
