//! What the kernel, its guard and the evaluator say to each other: one JSON object on each line, with its name in `kind`.
//!
//! The kernel sends [`Request`]s over a socket. The guard sends [`Event`]s over the same socket. The evaluator prints its
//! events between the lines of the cell, each behind [`MARK`], so that both keep their order; the guard passes them on.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Contents of one value: MIME type to content, binary content in base64.
pub type Media = serde_json::Map<String, serde_json::Value>;

/// Begins a printed line that holds an event. Control characters keep it apart from what people print.
pub const MARK: &str = "\u{1}paella\u{2}";

/// Environment variable with the descriptors of the terminal for `paella --rust`: input, output, errors.
pub const TERMINAL: &str = "PAELLA_TERMINAL";

/// Letters of a refused line that its error repeats.
const SHOWN: usize = 200;

/// From the kernel to the evaluator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// A cell begins. Interrupts from now on are meant for it.
    Begin,
    /// Run a command, written without its `%`. Answer: [`Event::Done`].
    Command { line: String },
    /// Load a config. `file` keeps its text; empty for a temporary file. Answer: [`Event::Done`].
    Config { text: String, file: String },
    /// Complete the command line up to its end. Answer: [`Event::Completions`].
    Complete { line: String },
    /// Help of one command. Answer: [`Event::Help`].
    Help { name: String },
    /// Answer [`Event::Synced`] once everything before is sent.
    Sync,
    /// What the person typed after [`Event::Input`].
    Answer { text: String },
    /// There is no answer to [`Event::Input`]: the person has pressed stop, or nobody can be asked.
    NoAnswer { stopped: bool },
    /// Become the prompt of `paella --rust`.
    Prompt,
    /// Answer to [`Event::RunRust`]. `error` is ready to be printed.
    RustRan { error: Option<String> },
    /// Answer to [`Event::AskWhole`]: false if Enter begins another line.
    Whole { whole: bool },
    /// Answer to [`Event::CompleteRust`]. `start` is the byte where the word begins.
    Words { start: usize, words: Vec<String> },
}

/// From the guard and the evaluator to the kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// The guard has started an evaluator.
    Hello { pid: i32 },
    /// The evaluator has ended; `text` says how.
    Exit { text: String },
    /// The evaluator takes requests.
    Ready,
    /// Printed by a cell.
    Stdout { text: String },
    /// Printed by a cell on its error output, or a remark.
    Stderr { text: String },
    /// A compiled cell is about to run. It is sent neither for the prelude nor for a cell that was stopped before.
    Running,
    /// A cell panicked at this place.
    Panic { text: String, file: String, line: u32 },
    /// A `?` in a cell returned an error, which is printed.
    Failed,
    /// The value of a cell.
    Result { data: Media },
    /// Something to show below the cell. With an `id` it can be replaced.
    Display { id: Option<String>, data: Media },
    /// New content for what was shown under `id`.
    Update { id: String, data: Media },
    /// Remove what the cell has shown; with `wait` only when something new comes.
    Clear { wait: bool },
    /// Ask the person for a line. Answer: [`Request::Answer`].
    Input { prompt: String },
    /// A command or config has ended.
    Done { error: Option<String> },
    /// `start` is the byte of the line where the words begin; `files` asks for file names too.
    Completions { start: usize, words: Vec<String>, files: bool },
    /// Help of a command. None if the name is unknown.
    Help { text: Option<String> },
    /// Everything before [`Request::Sync`] is sent.
    Synced,
    /// The prompt wants this compiled and run. Answer: [`Request::RustRan`].
    RunRust { code: String },
    /// The prompt asks whether the code is finished. Answer: [`Request::Whole`].
    AskWhole { code: String },
    /// The prompt completes Rust at byte `at`. Answer: [`Request::Words`].
    CompleteRust { code: String, at: usize },
    /// The person has left the prompt.
    Left,
    /// A message was not understood by whoever received it.
    Refused { text: String },
}

/// One message as a line, with its end.
pub fn encode(message: &impl Serialize) -> String {
    // Strings, numbers and maps with string keys always have a JSON form.
    serde_json::to_string(message).unwrap_or_default() + "\n"
}

/// The message on a line.
///
/// Errors: the line holds no message of this type; the text names the line and what is wrong with it.
pub fn decode<T: DeserializeOwned>(line: &str) -> Result<T, String> {
    serde_json::from_str(line.trim_end()).map_err(|error| {
        let shown: String = line.trim_end().chars().take(SHOWN).collect();
        let why = error.to_string();
        let why = why.split(", expected").next().unwrap_or_default();
        let hint = "`paella kernel install` builds the kernel's parts from the same sources";
        format!("a message of the kernel's processes is not understood: {why}\n  in: {shown}\n  hint: {hint}")
    })
}

/// Begins what libtorch adds to the sentence of an error: the place in its sources, and the frames of the stack.
const FRAMES: &str = "Exception raised from ";

/// The text with nothing left of libtorch's errors but their sentences. They may stand in it as they are, or as `{:?}` prints
/// them.
pub fn without_frames(text: &str) -> Cow<'_, str> {
    if !text.contains(FRAMES) {
        return text.into();
    }
    let (mut short, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(FRAMES) {
        let before = &rest[..at];
        let behind = &rest[at..];
        rest = match before.strip_suffix("\\n") {
            Some(sentence) => {
                short += sentence;
                quote(behind).map_or("", |end| &behind[end..])
            }
            None => {
                short += before.strip_suffix('\n').unwrap_or(before);
                let mut lines = behind.split_inclusive('\n');
                let first = lines.next().map_or(0, str::len);
                let frames = lines.take_while(|line| line.starts_with("frame #"));
                let end = first + frames.map(str::len).sum::<usize>();
                if end < behind.len() {
                    short.push('\n');
                }
                &behind[end..]
            }
        };
    }
    (short + rest).into()
}

/// Where a text that `{:?}` has printed ends: at the first quote that is not escaped.
fn quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_libtorch_lose_their_frames() {
        let whole = "sizes (2 and 3)\nException raised from f at a.cpp:3 (most recent call first):\nframe #0: g + 1\nframe #1: h\n";
        assert_eq!(without_frames(whole), "sizes (2 and 3)");
        assert_eq!(without_frames(&format!("{whole}then\n")), "sizes (2 and 3)\nthen\n");
        let debug = format!("Err(Torch({whole:?}))\nmore {whole:?}");
        assert_eq!(
            without_frames(&debug),
            "Err(Torch(\"sizes (2 and 3)\"))\nmore \"sizes (2 and 3)\""
        );
        let quoted = format!("{:?}!", whole.replace("g", "g(\"x\")"));
        assert_eq!(without_frames(&quoted), "\"sizes (2 and 3)\"!");
        assert_eq!(without_frames("frame #1\n"), "frame #1\n");
    }

    #[test]
    fn messages_come_back_as_they_went() {
        let data = Media::from_iter([("text/plain".to_string(), "a\nb".into())]);
        let display = Event::Display { id: None, data };
        assert_eq!(decode::<Event>(&encode(&display)), Ok(display));
        let words = Request::Words { start: 3, words: vec!["é \"x\"".into()] };
        assert_eq!(decode::<Request>(&encode(&words)), Ok(words));
        assert_eq!(encode(&Request::Sync), "{\"kind\":\"sync\"}\n");
        assert_eq!(encode(&Request::Begin).lines().count(), 1);
    }

    #[test]
    fn unknown_kinds_fields_and_lines_are_errors() {
        let fault = |line: &str| decode::<Event>(line).err().unwrap_or_default();
        assert!(fault("{\"kind\":\"bogus\"}").contains("unknown variant `bogus`\n"));
        assert!(
            fault("{\"kind\":\"exit\",\"text\":\"\",\"more\":1}").contains("unknown field `more`")
        );
        assert!(fault("{\"kind\":\"exit\"}").contains("missing field `text`"));
        assert!(!fault("no JSON").is_empty() && !fault("").is_empty());
        assert!(decode::<Request>("{\"kind\":\"bogus\"}").is_err());
    }
}
