//! The error type of all stages: what happened, where, and what to do.

use std::fmt;
use std::path::Path;

pub use ron_faults::Fault;

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error: the stage that failed, and its fault. Display never prints the word `error:`; the face does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// All faults of a config, or of the source of a lesson.
    Config(Vec<Fault>),
    Data(Fault),
    Tokens(Fault),
    Model(Fault),
    Checkpoint(Fault),
    Device(Fault),
    /// Communication between the processes of a run.
    Dist(Fault),
    Command(Fault),
    /// A libtorch error. `detail` keeps the lines after the first.
    Torch {
        fault: Fault,
        detail: String,
    },
}

impl From<Vec<Fault>> for Error {
    fn from(faults: Vec<Fault>) -> Self {
        Self::Config(faults)
    }
}

macro_rules! constructors {
    ($($name:ident $variant:ident),*) => { $(
        pub fn $name(what: impl Into<String>, place: impl Into<String>, hint: impl Into<String>) -> Self {
            Self::$variant(Fault::new(what, place, hint))
        }
    )* };
}

impl Error {
    constructors!(data Data, tokens Tokens, model Model, checkpoint Checkpoint, device Device, dist Dist, command Command);

    /// The faults in order. Only a config error has more than one.
    pub fn faults(&self) -> &[Fault] {
        match self {
            Self::Config(faults) => faults,
            Self::Data(f) | Self::Tokens(f) | Self::Model(f) | Self::Checkpoint(f) => {
                std::slice::from_ref(f)
            }
            Self::Device(f) | Self::Dist(f) | Self::Command(f) | Self::Torch { fault: f, .. } => {
                std::slice::from_ref(f)
            }
        }
    }

    /// The same error with each fault changed by `change`.
    pub fn map(self, change: impl Fn(Fault) -> Fault) -> Self {
        match self {
            Self::Config(faults) => Self::Config(faults.into_iter().map(change).collect()),
            Self::Data(fault) => Self::Data(change(fault)),
            Self::Tokens(fault) => Self::Tokens(change(fault)),
            Self::Model(fault) => Self::Model(change(fault)),
            Self::Checkpoint(fault) => Self::Checkpoint(change(fault)),
            Self::Device(fault) => Self::Device(change(fault)),
            Self::Dist(fault) => Self::Dist(change(fault)),
            Self::Command(fault) => Self::Command(change(fault)),
            Self::Torch { fault, detail } => Self::Torch { fault: change(fault), detail },
        }
    }

    /// The rest of a libtorch message, which Display leaves out.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Torch { detail, .. } if !detail.is_empty() => Some(detail),
            _ => None,
        }
    }

    /// The error for memory that is not there, if that is what libtorch, the system or a panic says. None for other texts.
    pub fn of_full_memory(text: &str, place: &str) -> Option<Self> {
        let words = ["out of memory", "can't allocate memory", "not enough memory"];
        let lower = text.to_lowercase();
        let full = words.iter().any(|words| lower.contains(words));
        full.then(|| Self::out_of_memory(text, place))
    }

    fn out_of_memory(text: &str, place: &str) -> Self {
        let asked = text.split_once("tried to allocate ").or(text.split_once("Tried to allocate "));
        let asked = asked.map(|(_, rest)| {
            let mut words = rest.split_whitespace();
            let (number, unit) =
                (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            match (number.parse::<f64>(), unit.starts_with("byte")) {
                (Ok(bytes), true) => format!(": {} were asked for", size(bytes)),
                _ => format!(": {number} {} were asked for", unit.trim_end_matches('.')),
            }
        });
        let hint = "smaller batches, pictures or networks: `micro_batch`, `data.size`, `model`; `paella plan` counts memory";
        Self::device(format!("out of memory{}", asked.unwrap_or_default()), place, hint)
    }

    /// Wraps a libtorch error. Its first line is the message, and the rest is kept for `last_error`.
    pub fn torch(error: &tch::TchError, place: impl Into<String>) -> Self {
        let text = match error {
            tch::TchError::Torch(text) => text.clone(),
            other => other.to_string(),
        };
        let place = place.into();
        if let Some(error) = Self::of_full_memory(&text, &place) {
            return error;
        }
        let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
        let hint = "the whole message of libtorch: `last_error`";
        Self::Torch {
            fault: Fault::new(first, place, if rest.is_empty() { "" } else { hint }),
            detail: rest.into(),
        }
    }
}

/// A number of things: `1 step`, `2 steps`, `0 passes`.
pub fn counted(n: impl fmt::Display, thing: &str) -> String {
    let n = n.to_string();
    let more = match thing {
        _ if n == "1" => "",
        _ if thing.ends_with('s') => "es",
        _ => "s",
    };
    format!("{n} {thing}{more}")
}

/// A number of bytes in the largest unit that leaves at least one.
pub fn size(bytes: f64) -> String {
    let (unit, each) = match bytes {
        1e9.. => ("GB", 1e9),
        1e6.. => ("MB", 1e6),
        _ => ("kB", 1e3),
    };
    format!("{:.1} {unit}", bytes / each)
}

/// A word as a shell reads it back.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    let whole = !word.is_empty() && word.chars().all(plain);
    if whole { word.into() } else { shell_quoted(word) }
}

/// A path as an argument that is no option.
pub fn no_option(path: impl AsRef<Path>) -> String {
    let path = path.as_ref().display().to_string();
    if path.starts_with('-') { format!("./{path}") } else { path }
}

/// A path as a word of a shell's line that is no option.
pub fn shell_path(path: impl AsRef<Path>) -> String {
    shell_word(&no_option(path))
}

/// A word in quotes, as a shell reads it back.
pub fn shell_quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults().iter().enumerate() {
            write!(f, "{}{fault}", if i > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<tch::TchError> for Error {
    fn from(error: tch::TchError) -> Self {
        Self::torch(&error, "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_where_and_hint() {
        let error = Error::data("no pictures", "folder/", "put .png files there");
        assert_eq!(error.to_string(), "no pictures\n  in: folder/\n  hint: put .png files there");
    }

    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        let words = ["a.ron", "train.steps=3", "my run", "it's", "", "a;b", "a$b"].map(shell_word);
        let quoted = ["a.ron", "train.steps=3", "'my run'", r"'it'\''s'", "''", "'a;b'", "'a$b'"];
        assert_eq!(words, quoted);
        assert_eq!(["-x", "a-x", "-x y"].map(shell_path), ["./-x", "a-x", "'./-x y'"]);
    }

    #[test]
    fn full_memory_is_reported_as_such() {
        let said =
            "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79 GiB";
        let error = Error::torch(&tch::TchError::Torch(said.into()), "a step").to_string();
        assert!(
            error.starts_with("out of memory: 20.00 GiB were asked for\n  in: a step"),
            "{error}"
        );
        assert!(error.contains("micro_batch"), "{error}");
    }

    #[test]
    fn one_thing_is_no_plural() {
        let all = [
            counted(0, "step"),
            counted(1, "step"),
            counted(2u64, "pass"),
            counted("1,300", "step"),
        ];
        assert_eq!(all, ["0 steps", "1 step", "2 passes", "1,300 steps"]);
    }

    #[test]
    fn keeps_the_first_line_of_a_libtorch_message() {
        let error =
            Error::torch(&tch::TchError::Torch("shape mismatch\nframe #0".into()), "encode");
        assert_eq!(error.faults()[0].what, "shape mismatch");
        assert_eq!(error.detail(), Some("frame #0"));
    }
}
