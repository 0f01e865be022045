//! The walk through a lesson: the reader's position and what comes next. Uses no terminal and no session.

use super::command::commands;
use super::progress::Mark;
use super::{Exercise, Lesson, LessonBlock};
use crate::lab::args::parse;
use crate::lab::command::Command;

/// Words that a lesson understands besides the session's commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    Next,
    Hint,
    Check,
    Skip,
    Quit,
}

impl Word {
    /// Parses a line. An empty line means `next`. `n` and `:next` are not taken, because they belong to the sampler.
    pub fn of(line: &str) -> Option<Self> {
        Some(match line.trim() {
            "" | "next" => Self::Next,
            "hint" => Self::Hint,
            "check" => Self::Check,
            "skip" => Self::Skip,
            "quit" | "exit" => Self::Quit,
            _ => return None,
        })
    }
}

/// Commands whose effect is kept with a training.
const KEPT: [&str; 6] = ["load", "data", "set", "seed", "step", "train"];

/// The reader's position in a lesson: always at commands, at an exercise, or at the end.
pub struct Walk {
    pub lesson: Lesson,
    pub mark: Mark,
    /// Hints given so far for the current exercise.
    hints: usize,
}

impl Walk {
    /// Resumes at `mark`. A mark beyond the end starts from the beginning.
    pub fn new(lesson: Lesson, mark: Mark) -> Self {
        let at = if mark.at < lesson.blocks.len() { mark.at } else { 0 };
        Self { lesson, mark: Mark { at, ..mark }, hints: 0 }
    }

    /// The blocks to read now, up to and including the next commands or exercise.
    pub fn read(&mut self) -> Vec<LessonBlock> {
        let stops = |block: &LessonBlock| {
            matches!(block, LessonBlock::Commands(_) | LessonBlock::Exercise(_))
        };
        let from = self.mark.at;
        let rest = &self.lesson.blocks[from..];
        let stop = rest.iter().position(stops);
        self.mark.at = from + stop.unwrap_or(rest.len());
        self.mark.done |= stop.is_none();
        rest[..stop.map_or(rest.len(), |i| i + 1)].to_vec()
    }

    /// The commands or the exercise at the current position. None at the end.
    pub fn stop(&self) -> Option<&LessonBlock> {
        self.lesson.blocks.get(self.mark.at)
    }

    /// The exercise at the current position, if there is one.
    pub fn exercise(&self) -> Option<&Exercise> {
        match self.stop() {
            Some(LessonBlock::Exercise(exercise)) => Some(exercise),
            _ => None,
        }
    }

    /// Moves past the current block.
    pub fn pass(&mut self) {
        self.mark.at = (self.mark.at + 1).min(self.lesson.blocks.len());
        self.hints = 0;
    }

    /// Marks the current exercise as solved.
    pub fn solve(&mut self) {
        if let Some(exercise) = self.exercise() {
            let id = exercise.id.clone();
            self.mark.solved.insert(id);
        }
    }

    /// The next hint. After the last one, the last hint again.
    pub fn hint(&mut self) -> Option<&str> {
        let at = self.hints;
        self.hints += 1;
        let hints = &self.exercise()?.hints;
        hints.get(at.min(hints.len().checked_sub(1)?)).map(String::as_str)
    }

    /// Of the commands of `replay`, those that put pictures on the workspace: enough where the model, its settings and its
    /// training are kept.
    pub fn replay_pictures(&self) -> Vec<String> {
        let pictures = |line: &String| {
            let name = parse(line).ok().flatten().map(|(name, _)| name).unwrap_or_default();
            let known = Command::find(&commands(), &name).is_ok_and(|command| command.changes);
            known && !KEPT.contains(&name.as_str())
        };
        self.replay().into_iter().filter(pictures).collect()
    }

    /// The commands that bring a fresh session to the reader's position, starting from the last `load` before it.
    pub fn replay(&self) -> Vec<String> {
        let commands = |block: &LessonBlock| match block {
            LessonBlock::Commands(lines) => lines.clone(),
            _ => Vec::new(),
        };
        let lines: Vec<String> =
            self.lesson.blocks[..self.mark.at].iter().flat_map(commands).collect();
        let load = lines.iter().rposition(|line| line.starts_with("load ")).unwrap_or(0);
        lines[load..].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::course::source;

    fn walk() -> Walk {
        let text = "# One\n```lesson\nabout: a\ntime: none\n```\nHello.\n```paella\nload emoji-32\nshow 0\n```\nMore.\n\
                    ```exercise it\nIt\n\nDo it.\n```\n```hint\nfirst\n```\n```hint\nsecond\n```\n```check\nmodel x\n```\nEnd.\n";
        let lesson = source::parse(text, "01-one", "one.md", &commands()).expect("a lesson");
        Walk::new(lesson, Mark::default())
    }

    #[test]
    fn stops_at_commands_exercises_and_the_end() {
        let mut walk = walk();
        assert!(matches!(walk.read().as_slice(), [LessonBlock::Text(_), LessonBlock::Commands(_)]));
        assert!(walk.exercise().is_none() && walk.hint().is_none() && walk.replay().is_empty());
        walk.pass();
        assert!(matches!(walk.read().as_slice(), [LessonBlock::Text(_), LessonBlock::Exercise(_)]));
        assert_eq!(walk.replay(), ["load emoji-32", "show 0"]);
        assert_eq!(walk.replay_pictures(), ["show 0"]);
        let hints: Vec<String> = (0..3).map(|_| walk.hint().expect("a hint").to_string()).collect();
        assert_eq!(hints, ["first", "second", "second"]);
        walk.solve();
        walk.pass();
        assert_eq!(walk.read(), [LessonBlock::Text("End.".into())]);
        assert!(walk.stop().is_none() && walk.mark.done && walk.mark.solved.contains("it"));
        assert_eq!(Walk::new(walk.lesson, walk.mark).mark.at, 0);
    }

    #[test]
    fn words_of_the_lesson_leave_the_sampler_its_own() {
        assert_eq!((Word::of(" next "), Word::of("")), (Some(Word::Next), Some(Word::Next)));
        assert_eq!((Word::of("n"), Word::of(":next"), Word::of("next 3")), (None, None, None));
    }
}
