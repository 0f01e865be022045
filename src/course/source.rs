//! The source of a lesson: CommonMark with a few fenced blocks that have a meaning.
//!
//! | fence | content |
//! | --- | --- |
//! | `lesson` | `about:` and `time:`; once, before everything but the title |
//! | `paella` | commands, one per line; `# quick: COMMAND` after one gives its short form |
//! | `rust` | a Rust cell of the notebook |
//! | `exercise ID` | the title on the first line, the task below |
//! | `hint` | a hint for the exercise above; later hints reveal more |
//! | `check` | conditions that hold once the exercise above is solved, one per line: see `check` |
//!
//! Any other fence is text. A file of solutions has `solution ID` blocks of commands, with text around them.

use super::check::Condition;
use crate::error::{Error, Fault, Result};
use crate::lab::args::parse as parse_line;
use crate::lab::command::Command;
use ron_faults::utf8;
use std::collections::BTreeMap;
use std::path::Path;

/// A parsed lesson.
#[derive(Clone, Debug, PartialEq)]
pub struct Lesson {
    /// From the file name, `02-noise.md`. None if the file has no number.
    pub number: Option<u32>,
    /// The name part of the file name: `noise` of `02-noise.md`.
    pub name: String,
    pub title: String,
    /// One line for the list of lessons.
    pub about: String,
    /// How long the machine computes, and on what hardware.
    pub time: String,
    pub blocks: Vec<LessonBlock>,
    /// The lesson that follows in the course. Set by [`super::lessons`].
    pub next: Option<NextLesson>,
}

/// A reference to a lesson.
#[derive(Clone, Debug, PartialEq)]
pub struct NextLesson {
    /// File name without extension, such as `02-noise`.
    pub stem: String,
    pub name: String,
    pub title: String,
}

/// One part of a lesson, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum LessonBlock {
    /// CommonMark without the named fences. Never empty.
    Text(String),
    /// Commands as typed, including comments.
    Commands(Vec<String>),
    Rust(String),
    Exercise(Exercise),
}

/// A task for the reader, with hints and checks.
#[derive(Clone, Debug, PartialEq)]
pub struct Exercise {
    /// One word, unique in the course, for `check ID`.
    pub id: String,
    pub title: String,
    pub task: String,
    pub hints: Vec<String>,
    pub checks: Vec<Condition>,
}

impl Lesson {
    /// The file name without its extension, such as `02-noise`.
    pub fn stem(&self) -> String {
        self.number.map_or_else(|| self.name.clone(), |n| format!("{n:02}-{}", self.name))
    }

    /// All exercises of the lesson, in order.
    pub fn exercises(&self) -> impl Iterator<Item = &Exercise> {
        self.blocks.iter().filter_map(|block| match block {
            LessonBlock::Exercise(exercise) => Some(exercise),
            _ => None,
        })
    }

    /// Reads the file of a lesson, whose commands are among `known`.
    ///
    /// Errors: the file cannot be read; all its faults, each with its line.
    pub fn read(path: &Path, known: &[&'static Command]) -> Result<Self> {
        let place = path.display().to_string();
        let text = read(path)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        parse(&text, &stem, &place, known)
    }
}

fn read(path: &Path) -> Result<String> {
    let place = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|e| {
        let hint = "lessons lie in the folder `tutorials` of the source";
        Error::data(format!("could not read: {e}"), &place, hint)
    })?;
    Ok(utf8(bytes, &place).map_err(|fault| vec![fault])?)
}

/// Reads the solutions of one lesson: exercise -> commands.
///
/// Errors: as `Lesson::read`.
pub fn read_solutions(
    path: &Path,
    known: &[&'static Command],
) -> Result<BTreeMap<String, Vec<String>>> {
    let place = path.display().to_string();
    let text = read(path)?;
    let mut reader = Reader::new(&place, known);
    let mut solutions = BTreeMap::new();
    for piece in reader.pieces(&text) {
        let Piece::Fence { kind, id, body, line } = piece else { continue };
        match kind.as_str() {
            "solution" => {
                reader.commands(&body, line);
                if solutions.insert(id.clone(), lines(&body)).is_some() {
                    reader.fault(line, format!("`{id}` is solved twice"), "leave one out");
                }
            }
            _ => reader.fault(line, format!("`{kind}` in a file of solutions"), "solution ID"),
        }
    }
    reader.done(solutions)
}

/// Parses the text of a lesson. `stem` is its file name without extension; `place` is the name used in messages.
///
/// Errors: all faults at once, each with its line.
pub fn parse(text: &str, stem: &str, place: &str, known: &[&'static Command]) -> Result<Lesson> {
    let mut reader = Reader::new(place, known);
    let (number, name) = match stem.split_once('-') {
        Some((digits, name)) if digits.parse::<u32>().is_ok() => (digits.parse().ok(), name),
        _ => (None, stem),
    };
    let empty = String::new();
    let (name, title) = (name.to_string(), empty.clone());
    let mut lesson = Lesson {
        number,
        name,
        title,
        about: empty.clone(),
        time: empty,
        blocks: vec![],
        next: None,
    };
    for piece in reader.pieces(text) {
        reader.piece(&mut lesson, piece);
    }
    for (missing, what, hint) in [
        (lesson.title.is_empty(), "there is no title", "the first line is `# TITLE`"),
        (lesson.about.is_empty(), "`about` is missing", "a ```lesson block with `about: ..`"),
        (lesson.time.is_empty(), "`time` is missing", "a ```lesson block with `time: ..`"),
    ] {
        if missing {
            reader.fault(1, what, hint);
        }
    }
    for exercise in lesson.exercises().filter(|e| e.checks.is_empty()) {
        reader.fault(1, format!("exercise `{}` has no check", exercise.id), "a ```check block");
    }
    reader.done(lesson)
}

/// A stretch of text, or one fenced block that has a meaning. `line` is its first line, from 1.
enum Piece {
    Text { text: String, line: usize },
    Fence { kind: String, id: String, body: String, line: usize },
}

/// The fences with a meaning, and whether each takes an ID.
const KINDS: [(&str, bool); 7] = [
    ("lesson", false),
    ("paella", false),
    ("rust", false),
    ("exercise", true),
    ("hint", false),
    ("check", false),
    ("solution", true),
];

/// Parses pieces and collects faults.
struct Reader<'a> {
    place: &'a str,
    known: &'a [&'static Command],
    faults: Vec<Fault>,
    /// IDs of the exercises read so far, to detect duplicates.
    ids: Vec<String>,
}

impl<'a> Reader<'a> {
    fn new(place: &'a str, known: &'a [&'static Command]) -> Self {
        Self { place, known, faults: Vec::new(), ids: Vec::new() }
    }

    fn fault(&mut self, line: usize, what: impl Into<String>, hint: impl Into<String>) {
        self.faults.push(Fault::new(what, format!("{}:{line}", self.place), hint));
    }

    fn done<T>(self, value: T) -> Result<T> {
        if self.faults.is_empty() { Ok(value) } else { Err(Error::Config(self.faults)) }
    }

    /// Splits the text at the fences that have a meaning.
    fn pieces(&mut self, text: &str) -> Vec<Piece> {
        let (mut pieces, mut prose, mut start) = (Vec::new(), String::new(), 1);
        let mut rows = text.lines().enumerate().map(|(i, row)| (i + 1, row));
        while let Some((line, row)) = rows.next() {
            let ticks = row.chars().take_while(|&c| c == '`').count();
            let info = row[ticks..].trim();
            if ticks < 3 || info.contains('`') {
                prose += row;
                prose.push('\n');
                continue;
            }
            let closes = |row: &str| {
                row.trim_end().len() >= ticks && row.trim_end().chars().all(|c| c == '`')
            };
            let (mut body, mut closed) = (String::new(), false);
            for (_, row) in rows.by_ref() {
                closed = closes(row);
                if closed {
                    break;
                }
                body += row;
                body.push('\n');
            }
            if !closed {
                self.fault(line, format!("the block `{info}` is never closed"), "end it with ```");
            }
            match self.kind(info, line) {
                Some((kind, id)) => {
                    let text = std::mem::take(&mut prose);
                    pieces.push(Piece::Text { text, line: start });
                    start = line + body.lines().count() + 2;
                    pieces.push(Piece::Fence { kind, id, body, line });
                }
                None => prose += &format!("{row}\n{body}{}\n", "`".repeat(ticks)),
            }
        }
        pieces.push(Piece::Text { text: prose, line: start });
        pieces
    }

    /// The kind and ID of a fence. None if the fence is plain text.
    fn kind(&mut self, info: &str, line: usize) -> Option<(String, String)> {
        let mut words = info.split_whitespace();
        let word = words.next()?;
        let &(kind, named) = KINDS.iter().find(|(kind, _)| *kind == word)?;
        let id: Vec<&str> = words.collect();
        let fine =
            |id: &str| id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        match (named, id.as_slice()) {
            (true, [id]) if fine(id) => {}
            (false, []) => {}
            (true, _) => self.fault(
                line,
                format!("`{info}` does not name an exercise"),
                format!("{kind} ID, in small letters"),
            ),
            (false, _) => {
                self.fault(line, format!("`{info}` has a word too many"), format!("```{kind}"))
            }
        }
        Some((kind.into(), id.first().copied().unwrap_or_default().into()))
    }

    fn piece(&mut self, lesson: &mut Lesson, piece: Piece) {
        let (kind, id, body, line) = match piece {
            Piece::Text { text, line } => return self.text(lesson, text.trim(), line),
            Piece::Fence { kind, id, body, line } => (kind, id, body, line),
        };
        match kind.as_str() {
            "lesson" => self.about(lesson, &body, line),
            "paella" => {
                self.commands(&body, line);
                lesson.blocks.push(LessonBlock::Commands(lines(&body)));
            }
            "rust" => lesson.blocks.push(LessonBlock::Rust(body.trim_end().into())),
            "exercise" => self.exercise(lesson, id, &body, line),
            "hint" | "check" => self.part(lesson, &kind, &body, line),
            _ => self.fault(
                line,
                format!("`{kind}` in a lesson"),
                "solutions stand in tutorials/solutions",
            ),
        }
    }

    /// Adds a text block. The first heading becomes the title and is removed from the text.
    fn text(&mut self, lesson: &mut Lesson, text: &str, line: usize) {
        let mut text = text;
        if lesson.title.is_empty() && !text.is_empty() {
            let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
            match first.strip_prefix("# ") {
                Some(title) => (lesson.title, text) = (title.trim().into(), rest.trim()),
                None => {
                    return self.fault(
                        line,
                        "text before the title",
                        "the first line is `# TITLE`",
                    );
                }
            }
        }
        if !text.is_empty() {
            lesson.blocks.push(LessonBlock::Text(text.into()));
        }
    }

    fn about(&mut self, lesson: &mut Lesson, body: &str, line: usize) {
        for (i, row) in body.lines().enumerate().filter(|(_, row)| !row.trim().is_empty()) {
            let value = |text: &str| text.trim().to_string();
            match row.split_once(':') {
                Some(("about", text)) => lesson.about = value(text),
                Some(("time", text)) => lesson.time = value(text),
                _ => self.fault(
                    line + i + 1,
                    format!("`{row}` is not known"),
                    "`about: ..` or `time: ..`",
                ),
            }
        }
    }

    /// Checks that every line and its short form are commands.
    fn commands(&mut self, body: &str, line: usize) {
        for (i, row) in body.lines().enumerate() {
            for text in [row, crate::lab::quick::short(row)] {
                let known = parse_line(text).and_then(|parsed| match parsed {
                    Some((name, _)) => Command::find(self.known, &name).map(|_| ()),
                    None => Ok(()),
                });
                if let Err(error) = known {
                    let first = &error.faults()[0];
                    self.fault(line + i + 1, &first.what, &first.hint);
                    break;
                }
            }
        }
    }

    fn exercise(&mut self, lesson: &mut Lesson, id: String, body: &str, line: usize) {
        let (title, task) = body.trim().split_once('\n').unwrap_or((body.trim(), ""));
        let (title, task) = (title.trim().to_string(), task.trim().to_string());
        if task.is_empty() {
            self.fault(
                line,
                format!("exercise `{id}` has no task"),
                "the title, then the task below",
            );
        }
        if self.ids.contains(&id) {
            self.fault(line, format!("there are two exercises `{id}`"), "another ID");
        }
        self.ids.push(id.clone());
        let (hints, checks) = (Vec::new(), Vec::new());
        lesson.blocks.push(LessonBlock::Exercise(Exercise { id, title, task, hints, checks }));
    }

    /// Adds a hint or a check to the exercise before it.
    fn part(&mut self, lesson: &mut Lesson, kind: &str, body: &str, line: usize) {
        let Some(LessonBlock::Exercise(exercise)) = lesson.blocks.last_mut() else {
            return self.fault(
                line,
                format!("a {kind} without an exercise before it"),
                "put it right behind its exercise",
            );
        };
        if kind == "hint" {
            return exercise.hints.push(body.trim().into());
        }
        for (i, row) in body.lines().enumerate().filter(|(_, row)| !row.trim().is_empty()) {
            match Condition::parse(row) {
                Ok(condition) => exercise.checks.push(condition),
                Err(fault) => self.fault(line + i + 1, fault.what, fault.hint),
            }
        }
    }
}

fn lines(body: &str) -> Vec<String> {
    body.lines().map(str::trim_end).filter(|row| !row.is_empty()).map(String::from).collect()
}
