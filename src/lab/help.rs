//! The help, generated from the command table.

use super::Lab;
use super::command::Command;
use super::view::View;
use crate::error::Result;

/// How lines are read: see `args::parse`.
const LINES: &str = "a text needs no quotes; a path with blanks and a text with `=` go in \"quotes\"; several lines pasted run \
                     one after the other;\na line that begins with # is a comment, and so is what follows two blanks and a \
                     # with a blank behind it";

/// Width of a paragraph in characters.
const WIDTH: usize = 90;

impl Lab {
    /// Help on all commands, or on one in full.
    ///
    /// Errors: no such command.
    pub fn help(&self, name: Option<&str>) -> Result<View> {
        let Some(name) = name else {
            let row = |c: &Command| vec![c.name.to_string(), c.summary.to_string()];
            return Ok(View::new()
                .table(
                    &["command", "what it does"],
                    self.commands().iter().copied().map(row).collect(),
                )
                .note("`help COMMAND` tells more, `explain COMMAND` shows the code; Tab completes")
                .note(LINES));
        };
        let c = Command::find(self.commands(), name)?;
        let mut text =
            format!("{}\n\n{}\n\nexample: {}", c.synopsis, wrapped(c.help, WIDTH), c.example);
        if !c.aliases.is_empty() {
            text += &format!("\nalso:    {}", c.aliases.join(", "));
        }
        Ok(View::new().text(text).note(format!("`explain {}` shows the code behind it", c.name)))
    }
}

/// Wraps a text at blanks to lines of at most `width` characters.
pub fn wrapped(text: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("never empty");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.into());
        } else {
            *line += if line.is_empty() { "" } else { " " };
            *line += word;
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn wraps_at_blanks() {
        assert_eq!(super::wrapped("aa bb  cc\ndd", 5), "aa bb\ncc dd");
        assert_eq!(super::wrapped("", 5), "");
    }
}
