//! The prompt: rustyline with completion, hints and history for the command table.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use super::progress::ProgressLine;
use super::rust::{self, Rust};
use super::terminal::{Terminal, printable};
use crate::error::{Error, Result, counted};
use crate::lab::Lab;
use crate::lab::complete;
use crate::lab::watch::{clear_stop, stop_asked};
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::{Hinter, HistoryHinter};
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Editor, Helper};
use std::borrow::Cow;
use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

/// Reads, runs and shows lines until Ctrl-D or `quit`. Quitting with unsaved training needs confirmation by a second
/// try. With `rust`, lines that are not commands are Rust.
///
/// Errors: the terminal cannot be read.
pub fn run(lab: Rc<RefCell<Lab>>, terminal: &Terminal, rust: Option<Rc<dyn Rust>>) -> Result<()> {
    let mut editor = editor(lab.clone(), terminal, rust.clone())?;
    let history = history_file();
    if let Some(file) = &history {
        let _ = editor.load_history(file); // the file does not exist in the first session
    }
    println!("{}", terminal.paint("1", "paella: pictures out of noise, one token at a time"));
    println!(
        "`help` lists the commands, Tab completes, Ctrl-D leaves. Begin with: data, show 0, sample \"red apple\";\nor leave and take a course: `paella lesson`"
    );
    if rust.is_some() {
        println!(
            "What is no command is Rust, on the same `lab`: `let xs = Tensor::arange(4, (Kind::Int64, Device::Cpu));`"
        );
    }
    let (mut open, mut warned) = (true, false);
    while open {
        let (plain, painted) = prompt(&lab.borrow(), terminal);
        match editor.readline(&(plain.as_str(), painted.as_str())) {
            Ok(line) => {
                let mut rest = parts(&line, rust.is_some()).into_iter();
                while let Some(part) = rest.next() {
                    if !part.trim().is_empty() {
                        let _ = editor.add_history_entry(part);
                    }
                    match &rust {
                        Some(rust) if !part.trim().is_empty() => {
                            either(&lab, rust.as_ref(), part, terminal)
                        }
                        _ => _ = turn(&lab, part, terminal),
                    }
                    open = !leaves(&lab, &mut warned);
                    if !open || stop_asked() {
                        if rest.len() > 0 {
                            println!("not run: {}", counted(rest.len(), "further line"));
                        }
                        break;
                    }
                }
            }
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => {
                lab.borrow_mut().quit();
                open = !leaves(&lab, &mut warned);
            }
            Err(error) => {
                return Err(Error::command(
                    format!("the terminal cannot be read: {error}"),
                    "",
                    "`paella --script FILE` needs none",
                ));
            }
        }
        if let Some(file) = &history {
            let _ = editor.save_history(file);
        }
    }
    Ok(())
}

/// Whether the session ends here. What was trained and not saved keeps it open, unless the line before wanted to leave
/// too.
fn leaves(lab: &RefCell<Lab>, warned: &mut bool) -> bool {
    let (over, unsaved) = (lab.borrow().is_over(), lab.borrow().unsaved_steps());
    let warned_before = std::mem::replace(warned, over);
    if over && !warned_before && unsaved > 0 {
        lab.borrow_mut().stay();
        println!(
            "not saved: {}; `save DIR` keeps what was learned, leaving once more drops it",
            counted(unsaved, "training step")
        );
        return false;
    }
    over
}

/// What was pasted in one go, line by line: one command after the other. Lines among which there is Rust are one piece.
pub(super) fn parts(pasted: &str, rust: bool) -> Vec<&str> {
    let lines: Vec<&str> = pasted.lines().filter(|line| !line.trim().is_empty()).collect();
    let commands = lines.iter().all(|line| !rust || rust::command(line).is_some());
    if lines.len() > 1 && commands { lines } else { vec![pasted] }
}

/// Runs a line as a command if it is one, else as Rust.
fn either(lab: &Rc<RefCell<Lab>>, rust: &dyn Rust, line: &str, terminal: &Terminal) {
    match rust::command(line) {
        Some(command) => _ = turn(lab, command, terminal),
        None => {
            clear_stop();
            if !rust.run(line)
                && let Some(hint) = rust::misspelt(line)
            {
                eprintln!("{}", printable(&hint));
            }
        }
    }
}

/// Runs a line and shows its result. Returns false for an error.
pub(super) fn turn(lab: &Rc<RefCell<Lab>>, line: &str, terminal: &Terminal) -> bool {
    clear_stop();
    let result = lab.borrow_mut().turn(line, &mut ProgressLine::asking());
    match &result {
        Ok(Some(reply)) => terminal.show(&reply.view),
        Ok(None) => {}
        Err(error) => terminal.error(error),
    }
    result.is_ok()
}

/// The prompt, plain and coloured: `emoji-64> `, or `emoji-64@120> ` after 120 training steps.
fn prompt(lab: &Lab, terminal: &Terminal) -> (String, String) {
    let (name, step) = lab.status();
    let name: String = printable(&name).chars().take(40).collect();
    let name = if step > 0 { format!("{name}@{step}") } else { name };
    (format!("{name}> "), format!("{}> ", terminal.paint("1;36", &name)))
}

pub(super) type LineEditor = Editor<Assistant, DefaultHistory>;

pub(super) fn editor(
    lab: Rc<RefCell<Lab>>,
    terminal: &Terminal,
    rust: Option<Rc<dyn Rust>>,
) -> Result<LineEditor> {
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .completion_prompt_limit(60)
        .auto_add_history(false)
        .build();
    let unusable = |e: ReadlineError| {
        Error::command(format!("no prompt is possible: {e}"), "", "`paella --script FILE`")
    };
    let mut editor = Editor::with_config(config).map_err(unusable)?;
    let history = HistoryHinter::new();
    editor.set_helper(Some(Assistant { lab, rust, history, color: terminal.color }));
    Ok(editor)
}

/// The history file of all sessions, in the user's data folder.
fn history_file() -> Option<PathBuf> {
    let folder = dirs::data_dir()?.join("paella");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history.txt"))
}

/// Completion and hints for the line editor.
pub(super) struct Assistant {
    lab: Rc<RefCell<Lab>>,
    rust: Option<Rc<dyn Rust>>,
    history: HistoryHinter,
    color: bool,
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let pair = |w: String| Pair { display: printable(w.trim_end()).into(), replacement: w };
        let first_word = !line[..pos].contains(char::is_whitespace);
        if let Some(rust) =
            self.rust.as_ref().filter(|_| !first_word && rust::command(line).is_none())
        {
            let (start, words) = rust.complete(line, pos);
            return Ok((start, words.into_iter().map(pair).collect()));
        }
        let Ok(mut lab) = self.lab.try_borrow_mut() else { return Ok((pos, Vec::new())) };
        let found = lab.complete(&line[..pos]);
        drop(lab);
        let mut pairs: Vec<Pair> = found.words.into_iter().map(pair).collect();
        if found.files {
            pairs.extend(complete::files(&line[found.start..pos]).into_iter().map(pair));
        }
        if let Some(rust) = self.rust.as_ref().filter(|_| first_word && pairs.is_empty()) {
            let (start, words) = rust.complete(line, pos);
            return Ok((start, words.into_iter().map(pair).collect()));
        }
        Ok((found.start, pairs))
    }
}

impl Hinter for Assistant {
    type Hint = String;

    fn hint(&self, line: &str, pos: usize, context: &Context<'_>) -> Option<String> {
        if pos < line.len() || line.is_empty() {
            return None;
        }
        self.history
            .hint(line, pos, context)
            .or_else(|| complete::hint(self.lab.try_borrow().ok()?.commands(), line))
    }
}

impl Highlighter for Assistant {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(
        &'s self,
        prompt: &'p str,
        _default: bool,
    ) -> Cow<'b, str> {
        Cow::Borrowed(prompt)
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        if self.color { Cow::Owned(format!("\x1b[90m{hint}\x1b[0m")) } else { Cow::Borrowed(hint) }
    }

    fn highlight_char(&self, _line: &str, _pos: usize, _kind: CmdKind) -> bool {
        false
    }
}

impl Validator for Assistant {
    /// Enter ends a command. Rust continues until its brackets are closed, or until an empty line.
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let text = context.input();
        let ends = match &self.rust {
            Some(rust) => {
                text.trim().is_empty()
                    || text.ends_with('\n')
                    || rust::command(text).is_some()
                    || rust.is_whole(text)
            }
            None => true,
        };
        Ok(if ends { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Helper for Assistant {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pasted_commands_run_one_by_one_and_rust_as_one_piece() {
        assert_eq!(
            parts("show 0\n\nnoise 0.5\r\npredict", false),
            ["show 0", "noise 0.5", "predict"]
        );
        assert_eq!(parts("show 0\nnoise 0.5", true), ["show 0", "noise 0.5"]);
        let code = "let a = 1;\nlet b = a + 1;";
        assert_eq!(parts(code, true), [code]);
        assert_eq!(parts("show 0", false), ["show 0"]);
    }
}
