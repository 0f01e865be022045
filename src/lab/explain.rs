//! `explain`: shows the source of a function, embedded at build time.

use super::Lab;
use super::command::Command;
use super::view::View;
use crate::error::Result;
use crate::near::did_you_mean;

macro_rules! sources {
    ($($file:literal),* $(,)?) => {
        &[$(($file, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $file)))),*]
    };
}

/// Source files in search order: the method first, the tools last.
const SOURCES: &[(&str, &str)] = sources![
    "src/noise.rs",
    "src/loss.rs",
    "src/sample/mod.rs",
    "src/sample/chance.rs",
    "src/sample/steps.rs",
    "src/sample/seeds.rs",
    "src/networks.rs",
    "src/train/denoiser.rs",
    "src/model/mod.rs",
    "src/model/cond.rs",
    "src/image.rs",
    "src/tokens/codebook.rs",
    "src/tokens/vqgan.rs",
    "src/tokens/text.rs",
    "src/tokens/clip.rs",
    "src/optim.rs",
    "src/data/mod.rs",
    "crates/ron-faults/src/edit.rs",
    "crates/ron-faults/src/print.rs",
    "src/course/check.rs",
    "src/lab/mod.rs",
    "src/lab/settings.rs",
    "src/lab/turn.rs",
    "src/lab/undo.rs",
    "src/lab/help.rs",
    "src/lab/quick.rs",
    "src/lab/plot.rs",
    "src/lab/explain.rs",
    "src/model/attention.rs",
    "src/lab/sampling.rs",
    "src/eval/nearest.rs",
    "src/eval/scenes.rs",
];

/// A function found in the sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundFunction {
    pub file: &'static str,
    /// Line of its first comment, from 1.
    pub line: usize,
    /// Comment, signature and body.
    pub text: &'static str,
}

impl Lab {
    /// The code behind a command, or a function by name, with the current shapes.
    ///
    /// Errors: neither a command nor a function has this name.
    pub fn explain(&self, name: &str) -> Result<View> {
        let functions: Vec<&str> = match Command::find(self.commands(), name) {
            Ok(command) => command.functions.to_vec(),
            Err(_) if find_function(name).is_some() => vec![name],
            Err(_) => {
                let of = |c: &&'static Command| [&[c.name], c.functions].concat();
                let known: Vec<&str> = self.commands().iter().flat_map(of).collect();
                let hint = did_you_mean(name, known, "`help` lists all commands");
                let what = format!("neither a command nor a function is called `{name}`");
                return Err(Self::fault(what, hint));
            }
        };
        let mut view = View::new();
        for found in functions.iter().filter_map(|name| find_function(name)) {
            view = view
                .note(format!("{}:{}", found.file, found.line))
                .text(outdented(found.text) + "\n");
        }
        let rows =
            self.workspace().shapes().into_iter().map(|(name, shape)| vec![name.into(), shape]);
        let rows: Vec<Vec<String>> = rows.collect();
        Ok(if rows.is_empty() { view } else { view.table(&["in hand", "shape"], rows) })
    }
}

/// The first function with this name, from its doc comment to its closing brace.
pub fn find_function(name: &str) -> Option<FoundFunction> {
    SOURCES.iter().find_map(|(file, source)| find_in(file, source, name))
}

fn find_in(file: &'static str, source: &'static str, name: &str) -> Option<FoundFunction> {
    let lines: Vec<&str> = source.split_inclusive('\n').collect();
    let is_it = |line: &&str| {
        let line = line.trim();
        let rest = line.strip_prefix("pub ").unwrap_or(line).strip_prefix("fn ");
        let rest = rest.and_then(|rest| rest.strip_prefix(name));
        // a trait's line without a body ends in `;`
        rest.is_some_and(|rest| rest.starts_with(['(', '<']) && !rest.ends_with(';'))
    };
    let signature = lines.iter().position(is_it)?;
    let indent = lines[signature].len() - lines[signature].trim_start().len();
    let above =
        |line: &&&str| line.trim_start().starts_with("///") || line.trim_start().starts_with("#[");
    let start = signature - lines[..signature].iter().rev().take_while(above).count();
    // rustfmt aligns the closing brace with the first letter of the signature.
    let closes = |line: &&str| line.trim_end() == format!("{}}}", " ".repeat(indent));
    let end = signature + lines[signature..].iter().position(closes)?;
    let offset = |n: usize| lines[..n].iter().map(|l| l.len()).sum::<usize>();
    Some(FoundFunction { file, line: start + 1, text: &source[offset(start)..offset(end + 1)] })
}

/// The text without the indentation that all its lines share.
fn outdented(text: &str) -> String {
    let indent = text.len() - text.trim_start().len();
    let line = |l: &str| l.get(indent..).unwrap_or("").trim_end().to_string();
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_comment_and_body() {
        let found = find_function("draw_mask").expect("it is there");
        assert_eq!(found.file, "src/noise.rs");
        assert!(found.text.starts_with("/// Where noise will stand"));
        assert!(found.text.ends_with("}\n") && found.text.contains("le_tensor"));
        assert!(find_function("no_such_function").is_none() && find_function("").is_none());
    }

    #[test]
    fn methods_lose_their_indentation() {
        let text = outdented("    /// a\n    pub fn f() {\n        1\n    }\n");
        assert_eq!(text, "/// a\npub fn f() {\n    1\n}");
    }
}
