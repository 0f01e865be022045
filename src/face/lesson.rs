//! `paella lesson`: lists the lessons, or walks through one at the prompt.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use super::common::{Common, lab};
use super::kept::KeptTraining;
use super::markdown::render;
use super::repl::{self, LineEditor};
use super::terminal::{Terminal, printable};
use crate::course::progress::CourseProgress;
use crate::course::walk::{Walk, Word};
use crate::course::{self, Lesson, LessonBlock, notebook};
use crate::error::{Error, Result, counted};
use crate::lab::view::View;
use crate::lab::{Lab, quick};
use clap::{Args, Subcommand};
use ron_faults::clean;
use rustyline::error::ReadlineError;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;
use std::rc::Rc;

#[derive(Args)]
pub struct Choice {
    /// Number or name; without it, the list
    #[arg(value_name = "N|NAME")]
    which: Option<String>,
    /// From the first line, whatever was read before
    #[arg(long, requires = "which")]
    again: bool,
}

#[derive(Subcommand)]
pub enum Lessons {
    /// Write the lessons as notebooks; outputs stay where a cell did not change
    Build {
        /// Write nothing; fail where a notebook is out of step with its lesson
        #[arg(long)]
        check: bool,
        /// The folder of lessons [default: `tutorials` of the source]
        #[arg(long, value_name = "DIR")]
        from: Option<PathBuf>,
        /// The folder of notebooks [default: `notebooks` beside it]
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
}

/// `paella lessons build`: writes the notebooks, or checks them with `--check`.
///
/// Errors: a lesson cannot be read; a notebook cannot be written; with `--check`, a notebook is out of date.
pub fn build(what: &Lessons) -> Result<()> {
    let Lessons::Build { check, from, to } = what;
    let from = from.clone().map_or_else(course::folder, Ok)?;
    let to = to.clone().unwrap_or_else(|| from.with_file_name("notebooks"));
    let lessons = course::lessons(&from)?;
    if lessons.is_empty() {
        let hint = "a lesson is a file such as 01-tokens.md";
        return Err(Error::data("no lesson is here", from.display().to_string(), hint));
    }
    if !check {
        notebook::build(&lessons, &to)?;
        println!("{}: {}", to.display(), counted(lessons.len(), "notebook"));
        return Ok(());
    }
    let differ: Vec<String> = notebook::out_of_step(&lessons, &to)
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    if differ.is_empty() {
        println!("{}: in step with {}", to.display(), from.display());
        return Ok(());
    }
    let hint = "`paella lessons build` writes them; outputs of unchanged cells stay";
    Err(Error::data("notebooks are out of step with their lessons", differ.join(", "), hint))
}

/// `paella lesson`: prints the list, or runs one lesson.
///
/// Errors: no such lesson; the terminal cannot be read.
pub fn run(choice: &Choice, common: &Common) -> Result<()> {
    let (lessons, terminal) = (course::lessons(&course::folder()?)?, Terminal::detect());
    let file = CourseProgress::file();
    let (progress, damaged) = file.as_deref().map(CourseProgress::read).unwrap_or_default();
    damaged.iter().for_each(|said| eprintln!("{}", printable(said)));
    let Some(which) = &choice.which else {
        let view = list(&lessons, &progress);
        match common.json {
            true => println!("{}", view.to_json()),
            false => terminal.show(&view),
        }
        return Ok(());
    };
    let lesson = course::find(lessons, which)?;
    let mut mark = progress.mark(&lesson.stem());
    if choice.again {
        mark.at = 0;
    }
    let training = file.as_ref().map(|file| file.with_extension("").join(lesson.stem()));
    let lab = Rc::new(RefCell::new(lab(common)?));
    let walk = Walk::new(lesson, mark);
    let lines = Lines::open(&lab, &terminal)?;
    let kept = KeptTraining::new(training);
    Guide { walk, lab, terminal, progress, file, kept }.go(lines)
}

fn list(lessons: &[Lesson], progress: &CourseProgress) -> View {
    let row = |lesson: &Lesson| {
        let (mark, all) = (progress.mark(&lesson.stem()), lesson.exercises().count());
        let solved = lesson.exercises().filter(|e| mark.solved.contains(&e.id)).count();
        let state = if mark.done { "read" } else { "" };
        let number = lesson.number.map_or_else(|| lesson.name.clone(), |n| n.to_string());
        let solved = if all == 0 { String::new() } else { format!("{solved} of {all}") };
        vec![number, lesson.title.clone(), solved, state.into(), lesson.time.clone()]
    };
    let rows = lessons.iter().map(row).collect();
    View::new()
        .table(&["lesson", "title", "solved", "", "machine time"], rows)
        .note("`paella lesson 1` begins the first")
}

/// Source of input lines: the terminal or a pipe.
enum Lines {
    /// The editor, and lines that were pasted in one go.
    Editor(Box<LineEditor>, VecDeque<String>),
    Pipe(std::io::Lines<std::io::StdinLock<'static>>),
}

impl Lines {
    fn open(lab: &Rc<RefCell<Lab>>, terminal: &Terminal) -> Result<Self> {
        if std::io::stdin().is_terminal() {
            let editor = repl::editor(lab.clone(), terminal, None)?;
            return Ok(Self::Editor(Box::new(editor), VecDeque::new()));
        }
        Ok(Self::Pipe(std::io::stdin().lock().lines()))
    }

    /// The next line. None at the end. Lines of a pipe are echoed after the prompt.
    fn next(&mut self, prompt: &str, painted: &str) -> Result<Option<String>> {
        let unreadable = |e: String| Error::command(format!("no line can be read: {e}"), "", "");
        match self {
            Self::Editor(editor, pasted) => loop {
                if let Some(line) = pasted.pop_front() {
                    let _ = editor.add_history_entry(&line);
                    return Ok(Some(line));
                }
                match editor.readline(&(prompt, painted)) {
                    Ok(lines) => {
                        pasted.extend(repl::parts(&lines, false).into_iter().map(String::from));
                    }
                    Err(ReadlineError::Interrupted) => {}
                    Err(ReadlineError::Eof) => return Ok(None),
                    Err(error) => return Err(unreadable(error.to_string())),
                }
            },
            Self::Pipe(lines) => {
                let line = lines.next().transpose().map_err(|e| unreadable(e.to_string()))?;
                let line = line.map(|line| clean(&line));
                if let Some(line) = &line {
                    println!("{prompt}{}", printable(line));
                }
                Ok(line)
            }
        }
    }
}

/// A walk through a lesson, with its session and terminal.
struct Guide {
    walk: Walk,
    lab: Rc<RefCell<Lab>>,
    terminal: Terminal,
    progress: CourseProgress,
    file: Option<PathBuf>,
    kept: KeptTraining,
}

impl Guide {
    fn go(mut self, mut lines: Lines) -> Result<()> {
        self.begin();
        loop {
            let name = self.walk.lesson.name.clone();
            let painted = format!("{}> ", self.terminal.paint("1;35", &name));
            let Some(line) = lines.next(&format!("{name}> "), &painted)? else { break };
            match Word::of(&line) {
                None => {
                    self.turn(&line);
                }
                Some(Word::Quit) => break,
                Some(Word::Next) if self.walk.stop().is_none() => break,
                Some(word) => self.word(word),
            }
            self.keep();
            if self.lab.borrow().is_over() {
                break;
            }
        }
        self.keep();
        if let Some(text) = self.kept.said(&self.walk.lesson.name) {
            self.note(&text);
        }
        Ok(())
    }

    /// Prints the title and the usage, then brings the session to the reader's position.
    fn begin(&mut self) {
        let lesson = &self.walk.lesson;
        println!("{}", self.terminal.paint("1", &lesson.title));
        println!("{}", self.terminal.paint("2", &format!("machine time: {}", lesson.time)));
        self.note("Enter or `next` goes on; `check`, `hint`, `skip`, `quit`; any other line is a command of the session");
        let replay = self.walk.replay();
        let again = format!("`paella lesson {} --again` starts over", self.walk.lesson.name);
        if let Some(steps) = self.take_up() {
            let pictures = self.walk.replay_pictures();
            self.note(&format!(
                "you were here before: your model of {} is back; run for their pictures: {} ({again})",
                counted(steps, "training step"),
                counted(pictures.len(), "command")
            ));
            self.run(&pictures);
        } else if !replay.is_empty() {
            let commands = counted(replay.len(), "command");
            self.note(&format!("you were here before: first {commands} again ({again})"));
            self.run(&replay);
        }
        self.read();
    }

    /// Takes up the training that was kept at the reader's position. Returns its number of steps. At the beginning of the
    /// lesson an earlier training is put aside.
    fn take_up(&mut self) -> Option<u64> {
        if self.walk.mark.at == 0 {
            self.kept.put_aside().into_iter().for_each(|text| self.note(&text));
            return None;
        }
        let taken = self.kept.take_up(&mut self.lab.borrow_mut());
        taken.unwrap_or_else(|error| {
            self.terminal.error(&error);
            // what this program cannot read is not replaced by what the reader trains next
            self.kept.put_aside().into_iter().for_each(|text| self.note(&text));
            None
        })
    }

    fn note(&self, text: &str) {
        println!("{}", self.terminal.paint("2", text));
    }

    /// Prints the text up to and including the next commands or exercise.
    fn read(&mut self) {
        for block in self.walk.read() {
            println!();
            match block {
                LessonBlock::Text(text) => println!("{}", render(&text, &self.terminal)),
                LessonBlock::Rust(code) => {
                    println!("{}", render(&format!("```\n{code}\n```"), &self.terminal))
                }
                LessonBlock::Commands(lines) => lines.iter().for_each(|line| self.command(line)),
                LessonBlock::Exercise(e) => {
                    println!("{}", self.terminal.paint("1;35", &format!("Exercise: {}", e.title)));
                    println!("{}", render(&e.task, &self.terminal));
                }
            }
        }
        match self.walk.stop() {
            Some(LessonBlock::Commands(_)) => self.note("\n(Enter runs this)"),
            Some(_) => self.note("\n(do it, then `check`)"),
            None => {
                let next = self.walk.lesson.next.as_ref();
                let next = next.map_or(String::new(), |next| {
                    format!("; next: `paella lesson {}`, {}", next.name, next.title)
                });
                self.note(&format!(
                    "\n(the end of this lesson{next}; Enter leaves, the prompt stays yours until then)"
                ));
            }
        }
    }

    fn command(&self, line: &str) {
        let line =
            if self.lab.borrow().is_quick() { quick::short(line) } else { quick::long(line) };
        println!("{}", self.terminal.paint("33", &format!("    {line}")));
    }

    fn word(&mut self, word: Word) {
        match (word, self.walk.stop().cloned()) {
            (Word::Next, Some(LessonBlock::Commands(lines))) => {
                if self.run(&lines) {
                    self.go_on();
                }
            }
            (Word::Skip, Some(_)) => self.go_on(),
            (Word::Next, Some(LessonBlock::Exercise(e)))
                if self.walk.mark.solved.contains(&e.id) =>
            {
                self.go_on()
            }
            (Word::Next, Some(_)) => {
                self.note("this exercise is not solved yet: `check`, `hint`, or `skip`")
            }
            (Word::Check, Some(LessonBlock::Exercise(_))) => self.check(),
            (Word::Hint, Some(LessonBlock::Exercise(_))) => match self.walk.hint() {
                Some(hint) => println!("{}", render(hint, &self.terminal)),
                None => self.note("there is no hint for this one"),
            },
            _ => self.note("there is no exercise here: Enter goes on"),
        }
    }

    fn go_on(&mut self) {
        self.walk.pass();
        self.read();
    }

    fn check(&mut self) {
        let Some(exercise) = self.walk.exercise().cloned() else { return };
        let answer = course::answer(&mut self.lab.borrow_mut(), &exercise);
        match answer {
            Ok((solved, reply)) => {
                self.terminal.show(&reply.view);
                if solved {
                    self.walk.solve();
                    self.go_on();
                }
            }
            Err(error) => self.terminal.error(&error),
        }
    }

    /// Runs lines as if they were typed, up to the first that fails.
    fn run(&self, lines: &[String]) -> bool {
        lines.iter().all(|line| {
            self.note(&format!("> {line}"));
            self.turn(line)
        })
    }

    fn turn(&self, line: &str) -> bool {
        repl::turn(&self.lab, line, &self.terminal)
    }

    /// Saves the reader's progress and training. If that fails, the error is printed once and the lesson continues.
    fn keep(&mut self) {
        let kept = self.kept.keep(&self.lab.borrow());
        match kept {
            Ok(aside) => aside.into_iter().for_each(|text| self.note(&text)),
            Err(error) => {
                self.terminal.error(&error);
                self.kept = KeptTraining::default();
            }
        }
        self.progress.put(&self.walk.lesson.stem(), self.walk.mark.clone());
        if let Some(Err(error)) = self.file.as_deref().map(|file| self.progress.write(file)) {
            self.terminal.error(&error);
            self.file = None;
        }
    }
}
