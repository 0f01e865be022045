//! Writes a lesson as a Jupyter notebook (nbformat 4.5). Outputs are kept for cells whose source did not change.

use super::command::commands;
use super::{Exercise, Lesson, LessonBlock};
use crate::error::{Error, Result};
use crate::files;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The first code cell, tagged `parameters`. A runner replaces it to run the short forms.
const COMMANDS_QUICK: &str =
    "%quick  # `%quick on` runs the short forms of long lines; so does PAELLA_QUICK=1";
const RUST_QUICK: &str = "let quick = paella::lab::quick::asked(); // `true` makes every run short; so does PAELLA_QUICK=1";

/// A cell before it becomes JSON.
struct Cell {
    /// Ends in a number if another cell has the same content.
    id: String,
    code: bool,
    source: String,
    tag: Option<&'static str>,
}

impl Cell {
    fn text(source: String) -> Self {
        Self { id: format!("text-{}", digest(&source)), code: false, source, tag: None }
    }

    fn code(source: String) -> Self {
        Self { id: format!("code-{}", digest(&source)), code: true, source, tag: None }
    }

    fn to_json(&self) -> Value {
        let metadata = self.tag.map_or_else(|| json!({}), |tag| json!({ "tags": [tag] }));
        let source: Vec<&str> = self.source.split_inclusive('\n').collect();
        if self.code {
            json!({
                "cell_type": "code", "id": self.id, "metadata": metadata, "source": source,
                "execution_count": null, "outputs": [],
            })
        } else {
            json!({ "cell_type": "markdown", "id": self.id, "metadata": metadata, "source": source })
        }
    }
}

/// FNV-1a, 64 bits, of a text. A cell keeps its ID as long as its source is the same.
fn digest(text: &str) -> String {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, mix))
}

/// The notebook of a lesson, without outputs.
pub fn notebook(lesson: &Lesson) -> Value {
    let rust = lesson.blocks.iter().any(|block| matches!(block, LessonBlock::Rust(_)));
    let mut head =
        format!("# {}\n\n{}\n\n*Machine time: {}.*", lesson.title, lesson.about, lesson.time);
    if !rust {
        head += "\n\nA command stands behind a `%` here: `%help` lists them all.";
    }
    let first = if rust { RUST_QUICK } else { COMMANDS_QUICK };
    let parameters =
        Cell { id: "parameters".into(), tag: Some("parameters"), ..Cell::code(first.into()) };
    let mut all = vec![Cell { id: "head".into(), ..Cell::text(head) }, parameters];
    all.extend(lesson.blocks.iter().flat_map(|block| cells(block, rust)));
    all.extend(lesson.next.iter().map(|next| {
        let text = format!("Next: [{}]({}.ipynb)", next.title, next.stem);
        Cell { id: "next".into(), ..Cell::text(text) }
    }));
    let mut ids = BTreeSet::new();
    for cell in &mut all {
        let (id, mut copy) = (cell.id.clone(), 1);
        while !ids.insert(cell.id.clone()) {
            copy += 1;
            cell.id = format!("{id}-{copy}");
        }
    }
    json!({
        "cells": all.iter().map(Cell::to_json).collect::<Vec<_>>(),
        "metadata": {
            "kernelspec": { "display_name": "Paella (Rust)", "language": "rust", "name": "paella" },
            // All that the kernel sends, `kernel/src/info.rs`: a front end that adds to it would change the notebook.
            "language_info": {
                "codemirror_mode": "rust", "file_extension": ".rs", "mimetype": "text/rust",
                "name": "rust", "pygments_lexer": "rust", "version": "2024",
            },
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    })
}

/// The cells of a block. In a lesson in `rust` a word in code is Rust.
fn cells(block: &LessonBlock, rust: bool) -> Vec<Cell> {
    match block {
        LessonBlock::Text(text) if rust => vec![Cell::text(text.clone())],
        LessonBlock::Text(text) => vec![Cell::text(with_magic(text))],
        LessonBlock::Rust(code) => vec![Cell::code(code.clone())],
        LessonBlock::Commands(lines) => {
            vec![Cell::code(lines.iter().map(|line| magic(line)).collect::<Vec<_>>().join("\n"))]
        }
        LessonBlock::Exercise(exercise) => exercise_cells(exercise),
    }
}

/// A command as a line of a notebook cell. Comments become Rust comments.
fn magic(line: &str) -> String {
    match line.strip_prefix('#') {
        Some(comment) => format!("//{comment}"),
        None => format!("%{line}"),
    }
}

/// A text with `%` in front of the commands that it names as code. Fenced blocks stay as they are.
fn with_magic(text: &str) -> String {
    let known = commands();
    let is_command = |code: &str| {
        let word = code.split_whitespace().next().unwrap_or_default();
        known.iter().any(|c| c.name == word || c.aliases.contains(&word))
    };
    let spans = |prose: &str| {
        let marked = |(i, part): (usize, &str)| match i % 2 == 1 && is_command(part) {
            true => format!("%{part}"),
            false => part.to_string(),
        };
        prose.split('`').enumerate().map(marked).collect::<Vec<_>>().join("`")
    };
    let prose_and_fences = text.split("```").enumerate();
    let part = |(i, part): (usize, &str)| if i % 2 == 1 { part.into() } else { spans(part) };
    prose_and_fences.map(part).collect::<Vec<String>>().join("```")
}

/// Cells of an exercise: the task with its hints folded, a cell to work in, a cell that checks.
fn exercise_cells(exercise: &Exercise) -> Vec<Cell> {
    let Exercise { id, title, task, hints, .. } = exercise;
    let fold = |(i, hint): (usize, &String)| {
        let hint = with_magic(hint);
        format!("\n\n<details><summary>Hint {}</summary>\n\n{hint}\n\n</details>", i + 1)
    };
    let hints: String = hints.iter().enumerate().map(fold).collect();
    vec![
        Cell {
            id: format!("exercise-{id}"),
            ..Cell::text(format!("### Exercise: {title}\n\n{}{hints}", with_magic(task)))
        },
        Cell {
            id: format!("work-{id}"),
            ..Cell::code("// your commands, each with % in front".into())
        },
        Cell { id: format!("check-{id}"), ..Cell::code(format!("%check {id}")) },
    ]
}

/// The path of a lesson's notebook in `folder`.
pub fn path(lesson: &Lesson, folder: &Path) -> PathBuf {
    folder.join(lesson.stem() + ".ipynb")
}

/// Writes the notebooks of all lessons. Outputs stay if ID and source of a code cell are the same.
///
/// Errors: a file cannot be written.
pub fn build(lessons: &[Lesson], folder: &Path) -> Result<()> {
    for lesson in lessons {
        let (file, mut fresh) = (path(lesson, folder), notebook(lesson));
        if let Some(old) = read(&file) {
            keep_outputs(&mut fresh, &old);
        }
        files::write(&file, to_text(&fresh).as_bytes()).map_err(|e| {
            Error::data(format!("could not write: {e}"), file.display().to_string(), "")
        })?;
    }
    Ok(())
}

/// Notebooks that are missing, differ from their lessons in more than outputs and counts, or have no lesson.
pub fn out_of_step(lessons: &[Lesson], folder: &Path) -> Vec<PathBuf> {
    let expected: Vec<PathBuf> = lessons.iter().map(|lesson| path(lesson, folder)).collect();
    let differs = |(lesson, file): (&Lesson, &PathBuf)| {
        let same = read(file).is_some_and(|there| essence(&there) == essence(&notebook(lesson)));
        (!same).then(|| file.clone())
    };
    let there = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let orphans = there
        .filter(|path| path.extension().is_some_and(|e| e == "ipynb") && !expected.contains(path));
    lessons.iter().zip(&expected).filter_map(differs).chain(orphans).collect()
}

fn read(file: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

/// Notebook JSON in Jupyter's format: keys in order, indent of one blank, a final line feed.
fn to_text(notebook: &Value) -> String {
    let mut bytes = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let written =
        notebook.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, format));
    written.expect("a value can always be written");
    String::from_utf8(bytes).expect("JSON is UTF-8") + "\n"
}

fn keep_outputs(fresh: &mut Value, old: &Value) {
    let old = old["cells"].as_array().map(Vec::as_slice).unwrap_or_default();
    for cell in fresh["cells"].as_array_mut().into_iter().flatten() {
        let same = |other: &&Value| other["id"] == cell["id"] && source(other) == source(cell);
        let Some(before) = old.iter().find(same) else { continue };
        for part in ["outputs", "execution_count"] {
            if cell.get(part).is_some() && before.get(part).is_some() {
                cell[part] = before[part].clone();
            }
        }
    }
}

/// The source of a cell, which may be one string or a list of lines.
fn source(cell: &Value) -> String {
    match &cell["source"] {
        Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect(),
        other => other.as_str().unwrap_or_default().into(),
    }
}

/// The parts of a notebook that the lesson determines: format, kernel, and each cell's kind, ID, tags and source.
fn essence(notebook: &Value) -> Value {
    let cells = notebook["cells"].as_array().map(Vec::as_slice).unwrap_or_default();
    let cell = |cell: &Value| {
        json!([cell["cell_type"], cell["id"], cell["metadata"]["tags"], source(cell)])
    };
    json!([
        notebook["nbformat"],
        notebook["metadata"]["kernelspec"]["name"],
        cells.iter().map(cell).collect::<Vec<_>>(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::course::source::parse;

    fn lesson(more: &str) -> Lesson {
        let text = format!(
            "# One\n```lesson\nabout: a\ntime: none\n```\nHello.\n```paella\n# look\nshow 0\n```\n{more}```paella\n# look\nshow 0\n```\n"
        );
        parse(&text, "01-one", "one.md", &commands()).expect("a lesson")
    }

    #[test]
    fn texts_name_commands_as_a_cell_has_them() {
        let text = "`show 364`, then `encode`; `steps=4`, `paella lesson 1`.\n```sh\nload `x`\n```\n`n\n3`";
        let wanted = "`%show 364`, then `%encode`; `steps=4`, `paella lesson 1`.\n```sh\nload `x`\n```\n`%n\n3`";
        assert_eq!(with_magic(text), wanted);
    }

    #[test]
    fn the_last_cell_names_the_next_lesson() {
        let next = crate::course::NextLesson {
            stem: "02-noise".into(),
            name: "noise".into(),
            title: "2. Noise".into(),
        };
        let made = notebook(&Lesson { next: Some(next), ..lesson("") });
        let last = made["cells"].as_array().and_then(|cells| cells.last()).expect("a cell");
        assert_eq!(source(last), "Next: [2. Noise](02-noise.ipynb)");
    }

    #[test]
    fn ids_are_unique_and_outputs_stay_with_their_source() {
        let folder = tempfile::tempdir().expect("a folder");
        build(&[lesson("")], folder.path()).expect("written");
        assert!(out_of_step(&[lesson("")], folder.path()).is_empty());
        let file = folder.path().join("01-one.ipynb");
        let mut there = read(&file).expect("a notebook");
        assert_eq!(source(&there["cells"][3]), "// look\n%show 0");
        assert_ne!(there["cells"][3]["id"], there["cells"][4]["id"]);
        there["cells"][3]["outputs"] =
            json!([{ "output_type": "stream", "name": "stdout", "text": ["x"] }]);
        there["cells"][3]["execution_count"] = json!(7);
        there["cells"][3]["metadata"] = json!({ "execution": {} });
        std::fs::write(&file, there.to_string()).expect("written");
        assert!(out_of_step(&[lesson("")], folder.path()).is_empty(), "outputs do not count");
        assert_eq!(out_of_step(&[lesson("New.\n")], folder.path()), std::slice::from_ref(&file));
        build(&[lesson("New.\n")], folder.path()).expect("written");
        let now = read(&file).expect("a notebook");
        assert_eq!(now["cells"][3]["execution_count"], 7);
        assert_eq!(now["cells"][4]["cell_type"], "markdown");
        assert_eq!(out_of_step(&[], folder.path()), [file]);
    }
}
