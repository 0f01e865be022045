//! Slips in the arguments of a command: flags as a shell has them, unknown keys.

use super::args::{Args, last_word, quoted};
use super::command::{Command, Takes};
use crate::config::{self, RunConfig};
use crate::error::{Error, Result};
use crate::near::nearest;

impl Args {
    /// Checks the words and keys of a line for `command`.
    ///
    /// Errors: a flag such as `--count`; an unknown key, or one given twice; words missing, empty or too many.
    pub fn check(&self, command: &Command) -> Result<()> {
        if !command.keys.is_empty() {
            self.no_flags(command.name)?;
        }
        if !matches!(command.takes, Takes::Caption | Takes::Word) {
            self.no_comment()?;
        }
        self.known_keys(command.keys, matches!(command.takes, Takes::Caption))?;
        command.check_words(self)
    }

    /// Refuses words such as `--count`: a setting is written `count=2`, and a text would swallow them. `name` is the
    /// command as the line has it.
    ///
    /// Errors: there is such a word; the hint is the line as it is meant.
    pub fn no_flags(&self, name: &str) -> Result<()> {
        let flag = |word: &str| {
            let flag = word.strip_prefix("--")?;
            flag.starts_with(|c: char| c.is_ascii_alphabetic()).then(|| flag.to_string())
        };
        let Some(found) = self.words.iter().find(|word| flag(word).is_some()) else {
            return Ok(());
        };
        let (mut meant, mut words) = (name.to_string(), self.words.iter());
        let pair = |key: &str, value: &str| format!(" {key}={}", quoted(value, None));
        while let Some(word) = words.next() {
            meant += &match flag(word) {
                None => format!(" {}", quoted(word, None)),
                Some(flag) => match flag.split_once('=') {
                    Some((key, value)) => pair(key, value),
                    None => pair(&flag, words.next().map_or("..", String::as_str)),
                },
            };
        }
        meant.extend(self.pairs.iter().map(|(key, value)| pair(key, value)));
        let hint = format!("settings are written without dashes: `{meant}`");
        Err(self.fault(format!("`{found}` is no setting"), hint))
    }

    /// Refuses `set PATH=VALUE` and `set PATH = VALUE`, with the fields of `settings` as known paths.
    ///
    /// Errors: a `=` behind the path, and the hint is the line as it is meant; or the path is unknown and near none.
    pub(super) fn no_equals(&self, settings: &RunConfig) -> Result<()> {
        let rest = self.rest();
        let end = rest.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(rest.len());
        let (path, value) = rest.split_at(end);
        let Some(value) = value.trim_start().strip_prefix('=') else { return Ok(()) };
        let value = Some(value.trim()).filter(|value| !value.is_empty()).unwrap_or("VALUE");
        let meant = config::nearest_path(settings, path);
        if meant.is_none() {
            config::get(settings, path)?;
        }
        let path = meant.as_deref().unwrap_or(path);
        let hint = format!("a blank stands between them: `set {path} {value}`");
        Err(self.fault("`=` between a setting and its value", hint))
    }

    /// Refuses a `#` with one blank before and one behind it: it is a word, and no comment.
    ///
    /// Errors: there is one; the hint is the line with the comment that was meant.
    fn no_comment(&self) -> Result<()> {
        match self.words.iter().any(|word| word == "#") {
            true => self.comment_at(" # ").map_or(Ok(()), Err),
            false => Ok(()),
        }
    }

    /// The error for the comment that begins with `sign` behind one blank, outside of quotes.
    pub(super) fn comment_at(&self, sign: &str) -> Option<Error> {
        let whole = format!("{} ", self.line); // a `#` may be its last letter
        let begins = |(at, _): &(usize, &str)| {
            last_word(&whole[..at + 2]) == at + 1 && !whole[..*at].contains(['"', '\''])
        };
        let (at, _) = whole.match_indices(sign).find(begins)?;
        let (line, comment) = (&whole[..at], whole[at + 2..].trim());
        let hint = format!("two blanks stand before a comment: `{line}  # {comment}`");
        Some(self.fault("`#` begins no comment behind one blank", hint))
    }

    /// The remark for a `#` with a blank on either side in a text.
    pub fn mistaken_comment(&self) -> Option<String> {
        let at = self.words.iter().position(|word| word == "#")?;
        let rest = self.words[at..].join(" ");
        Some(format!("`{rest}` is part of the text: two blanks stand before a comment"))
    }

    /// The remark for words of a text that look like one of the `keys` written otherwise: `steps = 1`, `steps:1`.
    pub fn mistaken_keys(&self, keys: &[&str]) -> Option<String> {
        let known = |word: &str| keys.contains(&word);
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let found = (0..words.len()).find_map(|i| {
            let rest = words.get(i + 1..).unwrap_or_default();
            let (key, value, count) = match (words[i].split_once(':'), rest) {
                (Some((key, "")), [value, ..]) => (key, *value, 2),
                (Some((key, value)), _) => (key, value, 1),
                (None, ["=", value, ..]) => (words[i], *value, 3),
                (None, [value, ..]) => (words[i], value.strip_prefix('=')?, 2),
                (None, []) => return None,
            };
            (known(key) && !value.is_empty()).then(|| (words[i..i + count].join(" "), key, value))
        });
        let (typed, key, value) = found?;
        Some(format!("`{typed}` is part of the text; `{key}={}` sets it", quoted(value, None)))
    }

    /// Refuses unknown keys and keys given twice. `text`: the words are a text, which may hold a `=`.
    fn known_keys(&self, known: &[&str], text: bool) -> Result<()> {
        for (i, (key, value)) in self.pairs.iter().enumerate() {
            if !known.contains(&key.as_str()) {
                return Err(self.unknown_key(key, value, known, text));
            }
            if self.pairs[..i].iter().any(|p| p.0 == *key) {
                return Err(self.fault(format!("`{key}` is given twice"), "leave one out"));
            }
        }
        Ok(())
    }

    fn unknown_key(&self, key: &str, value: &str, known: &[&str], text: bool) -> Error {
        let all = match known {
            [] => "this command takes no key=value".to_string(),
            known => format!("known: {}", known.join(", ")),
        };
        let typed = format!("{key}={value}");
        let hint = match nearest(key, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}={}`? {all}", quoted(value, None)),
            // as it would be typed: quotes of its own stay as they are
            None if text && self.line.contains(&typed) => {
                let line = self.line.replacen(&typed, &quoted(&typed, Some('"')), 1);
                format!("a text with `=` goes in quotes: `{line}`; {all}")
            }
            None if text => format!("a text with `=` goes in \"quotes\"; {all}"),
            None => all,
        };
        self.fault(format!("unknown key `{key}`"), hint)
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::parse;
    use super::super::table::COMMANDS;
    use super::*;

    /// The error of a line.
    fn refused(line: &str) -> String {
        let (name, args) = parse(line).expect("a good line").expect("a command");
        let all: Vec<&Command> = COMMANDS.iter().collect();
        let command = Command::find(&all, &name).expect("a command");
        args.check(command).expect_err(line).to_string()
    }

    #[test]
    fn names_the_known_keys() {
        assert!(refused("sample fox stesp=4").contains("did you mean `steps=4`? known: steps"));
        assert!(refused("sample fox steps=1 steps=2").contains("`steps` is given twice"));
        assert!(refused("undo x=1").contains("takes no key=value"));
    }

    #[test]
    fn a_text_with_an_equals_sign_is_told_how_it_is_written() {
        let error = refused("sample e=mc2 steps=1");
        assert!(error.contains("`sample \"e=mc2\" steps=1`; known: steps"), "{error}");
        assert!(refused("show x=\"a b\"").contains("a text with `=` goes in \"quotes\""));
        assert!(!refused("data e=mc2").contains("quotes"));
    }

    #[test]
    fn a_setting_has_no_equals_sign_and_a_key_has_one() {
        let set = |line: &str| {
            let (_, args) = parse(line).expect("a good line").expect("a command");
            args.no_equals(&RunConfig::default()).expect_err(line).to_string()
        };
        for line in ["set sample.steps=5", "set sample.steps = 5", "set  sample.steps =5"] {
            assert!(set(line).contains("`set sample.steps 5`"), "{}", set(line));
        }
        assert!(set("set seed=5").contains("`set seed 5`"));
        assert!(set("set train.lr=0.1").contains("`set train.optim.lr 0.1`"));
        assert!(set("set cfg=3").contains("`set sample.cfg_scale 3`"));
        let several = set("set train.batch=3");
        assert!(several.contains("`train.global_batch` or `train.micro_batch`"), "{several}");
        assert!(
            set("set steps=3").contains("did you mean `train.steps`"),
            "{}",
            set("set steps=3")
        );
        assert!(set("set foo.bar=3").contains("unknown field `foo.bar`"));
        let said = |line: &str| {
            let (_, args) = parse(line).expect("a good line").expect("a command");
            args.mistaken_keys(&["steps", "negative"])
        };
        for (line, typed) in [
            ("sample red apple steps = 1", "steps = 1"),
            ("sample red apple steps =1", "steps =1"),
            ("sample red apple steps:1", "steps:1"),
            ("sample steps: 1 red apple", "steps: 1"),
        ] {
            let expected = format!("`{typed}` is part of the text; `steps=1` sets it");
            assert_eq!(said(line), Some(expected), "{line}");
        }
        for line in ["sample three steps", "sample steps steps=1", "sample at 12:30 = noon", "x"] {
            assert_eq!(said(line), None, "{line}");
        }
    }

    #[test]
    fn a_comment_behind_one_blank_is_told_how_it_is_written() {
        assert!(refused("noise 0.4 # why").contains("`noise 0.4  # why`"));
        assert!(refused("set sample.steps 3 # why").contains("`set sample.steps 3  # why`"));
        assert!(refused("undo 1 #why").contains("`undo 1  # why`"));
        assert!(refused("noise 0.4 #").contains("`noise 0.4  #"));
        let whole = |line: &str| {
            let (name, args) = parse(line).expect("a good line").expect("a command");
            let all: Vec<&Command> = COMMANDS.iter().collect();
            args.check(Command::find(&all, &name).expect("a command"))
        };
        for line in ["set data.groups [\"a # b\"]", "data \"my # dir\"", "set name #1", "data #1"] {
            assert_eq!(whole(line), Ok(()), "{line}");
        }
        let args = |line: &str| parse(line).expect("a good line").expect("a command").1;
        let said = args("sample mug # note").mistaken_comment().expect("a remark");
        assert!(said.starts_with("`# note` is part of the text"), "{said}");
        for line in ["sample mug #1 dad", "sample \"a # b\"", "sample mug  # a comment"] {
            assert_eq!(args(line).mistaken_comment(), None, "{line}");
        }
    }

    #[test]
    fn flags_are_told_as_settings() {
        let error = refused("sample a fox --count 2 --negative \"a dog\" --seed=3 cfg=2");
        let meant = "`sample a fox count=2 negative=\"a dog\" seed=3 cfg=2`";
        assert!(error.contains("`--count` is no setting") && error.contains(meant), "{error}");
        let (_, args) = parse("sample a -- b \"-x\"").expect("good").expect("a command");
        assert_eq!(args.no_flags("sample"), Ok(()));
    }

    #[test]
    fn words_too_many_are_a_list_of_shards_or_a_name_with_blanks() {
        assert!(refused("data a.tar b.tar").contains("`data a.tar,b.tar`"));
        assert!(refused("data my pics").contains("`data \"my pics\"`"));
        assert!(refused("data pipe:cat x.tar").contains("`data \"pipe:cat x.tar\"`"));
        let quotes = refused("data pipe:cat 'a b.tar'");
        assert!(quotes.contains("`data \"pipe:cat 'a b.tar'\"`"), "{quotes}");
        assert!(refused("data a.tar, b.tar").contains("`data a.tar,b.tar`"));
        assert!(refused("noise 0.5 0.5").contains("one word too many"));
    }
}
