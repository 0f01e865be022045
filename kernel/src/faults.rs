//! Errors of a cell as the front end shows them: coloured, with the place and a hint.

use crate::colours::themed;
use evcxr::{CompilationError, Theme};
use jupyter_protocol::ReplyError;
use ra_ap_syntax::ast::HasName;
use ra_ap_syntax::{AstNode, Edition, SourceFile, ast};

const RED: &str = "\x1b[1;31m";
const BLUE: &str = "\x1b[34m";
const PLAIN: &str = "\x1b[0m";

/// evcxr writes down the type of each variable. Only the compiler's advice is left of such an error.
const UNNAMED: &str =
    "the type of a variable has a trait in it, as `Box<dyn Debug>` has, that is not imported";
const IMPORT: &str = "import it in a cell before, as with `use std::fmt::Debug;`; or put the code into braces, which keep no variable";

pub fn error(name: &str, value: &str, traceback: Vec<String>) -> ReplyError {
    ReplyError { ename: name.into(), evalue: value.into(), traceback }
}

/// A message with `in:` and `hint:` in its further lines.
pub fn plain(name: &str, text: &str) -> ReplyError {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let head = format!("{RED}error{PLAIN}: {first}");
    error(name, first, std::iter::once(head).chain(lines.map(String::from)).collect())
}

/// The name of the errors below.
pub const INTERRUPTED: &str = "Interrupted";

pub fn interrupted() -> ReplyError {
    plain(INTERRUPTED, "stopped; all variables and the model are kept")
}

/// The cell was stopped while it was compiled. Variables are gone that it would have made again.
pub fn not_run(gone: &[String]) -> ReplyError {
    let lost = match gone {
        [] => String::new(),
        gone => format!("\n  lost: {}, which it was to make again", gone.join(", ")),
    };
    plain(INTERRUPTED, &format!("stopped before the cell was run; the model is kept{lost}"))
}

/// The remark about a cell that took the session away from `lab`; `holder` is the variable that has it now.
pub fn taken(holder: Option<String>) -> String {
    match holder {
        Some(name) => format!(
            "remark: the session is in `{name}` now, and `lab` is gone\n  \
             hint: `let mut lab = {name};` brings it back; `let {name} = &mut lab;` within a cell borrows it\n"
        ),
        None => format!("remark: `lab` is gone, since this cell used it up\n  hint: {AGAIN}\n"),
    }
}

/// How a lost `lab` comes back.
const AGAIN: &str = "`let mut lab = paella::session()?;` is the session again";

/// A `?` that returned an error. evcxr has printed that error.
pub fn failed() -> ReplyError {
    plain("Error", "a `?` returned the error above\n  lost: the variables that this cell made")
}

/// The name of the error below.
pub const DIED: &str = "EvaluatorDied";

/// The evaluator is gone.
pub fn died(how: &str, killed: bool) -> ReplyError {
    let cause = match killed {
        true => "the second interrupt ended the evaluation process".to_string(),
        false => format!("the evaluation process ended: {how}"),
    };
    let lost = "lost: all variables, and what `lab` held (model, training, settings, picture)";
    let kept = "kept: functions, types and imports of earlier cells; a new `lab` is ready";
    plain(DIED, &format!("{cause}\n  {lost}\n  {kept}"))
}

/// An error of evcxr itself.
pub fn other(text: &str) -> ReplyError {
    match text.starts_with("Couldn't automatically determine type") {
        true => plain("Error", &format!("{text}\n  hint: {UNTYPED}")),
        false => plain("Error", text),
    }
}

/// A type that is unknown although it has a name.
const UNTYPED: &str = "`let name: Type = ..;` says it; if this comes with every variable, restart the \
                       kernel: it prepares itself again if the sources of the standard library are gone";

/// All errors of the compiler, each at its place in cell `number`. `sign`: commands want a `%` in front.
pub fn compilation(
    errors: &[CompilationError],
    code: &str,
    number: usize,
    sign: bool,
) -> ReplyError {
    // Warnings about earlier cells come along with the errors of this one.
    let errors: Vec<_> = errors.iter().filter(|error| error.level() != "warning").collect();
    if !errors.is_empty() && errors.iter().all(|error| is_unnamed_trait(error)) {
        return plain(
            "E0405",
            &format!("{UNNAMED}\n  in: cell {number}\n{BLUE}  hint: {PLAIN}{IMPORT}"),
        );
    }
    if !errors.iter().any(|error| error.is_from_user_code())
        && let Some(name) = closure(code)
    {
        let text = format!(
            "the variable `{name}` is a closure: its type has no name, so no later cell could have it"
        );
        let hint = format!(
            "box it, `let {name}: Box<dyn Fn(i32) -> i32> = Box::new(..);` with its own types; \
             or make it an `fn`; or put the cell into braces, which keep no variable"
        );
        return plain(
            "Error",
            &format!("{text}\n  in: cell {number}\n{BLUE}  hint: {PLAIN}{hint}"),
        );
    }
    let mut lines: Vec<String> = Vec::new();
    for error in &errors {
        lines.extend(report(error, code, number));
        let more = error.evcxr_extra_hint().map(String::from);
        let hints = error.help().into_iter().chain(more).chain(own_hint(error, code, sign));
        lines.extend(hints.flat_map(|hint| labelled(&hint)));
    }
    let Some(first) = errors.first() else { return other("the cell does not compile") };
    error(first.code().unwrap_or("CompileError"), &first.message(), lines)
}

/// The variable of the cell that is to hold a closure, if one is.
fn closure(code: &str) -> Option<String> {
    let tree = SourceFile::parse(&format!("fn f() {{ {code}\n }}"), Edition::Edition2024);
    let lets = tree.syntax_node().descendants().filter_map(ast::LetStmt::cast);
    let mut closures = lets.filter(|stmt| {
        let top = stmt.syntax().ancestors().filter_map(ast::BlockExpr::cast).count() == 1;
        top && stmt.ty().is_none() && matches!(stmt.initializer(), Some(ast::Expr::ClosureExpr(_)))
    });
    match closures.next()?.pat()? {
        ast::Pat::IdentPat(pat) => Some(pat.name()?.text().to_string()),
        _ => None,
    }
}

/// Whether an error holds only the advice to import a trait.
fn is_unnamed_trait(error: &CompilationError) -> bool {
    let advice = ["consider importing this trait", "consider importing one of these traits"];
    advice.iter().any(|text| error.message().starts_with(text))
}

/// `hint:` before the first line, the others below it.
fn labelled(hint: &str) -> Vec<String> {
    let lines = hint.lines().filter(|line| !line.trim().is_empty()).enumerate();
    lines
        .map(|(i, line)| {
            format!("{BLUE}{}{PLAIN}{line}", if i == 0 { "  hint: " } else { "        " })
        })
        .collect()
}

/// The error with the lines of the cell; for an error outside the cell, rustc's own text.
fn report(error: &CompilationError, code: &str, number: usize) -> Vec<String> {
    if !error.is_from_user_code() {
        return error.rendered().lines().map(String::from).collect();
    }
    let name = format!("cell {number}");
    if let Some(report) = error.build_report(name.clone(), code.into(), Theme::Light) {
        let mut text = Vec::new();
        if report.write(ariadne::sources([(name, code.to_string())]), &mut text).is_ok() {
            return themed(&String::from_utf8_lossy(&text)).lines().map(String::from).collect();
        }
    }
    by_hand(error, code, number)
}

/// For cells that are not ASCII: the report cannot find their columns.
fn by_hand(error: &CompilationError, code: &str, number: usize) -> Vec<String> {
    let mut lines = vec![format!("{RED}error{PLAIN}: {}", error.message())];
    for message in error.spanned_messages() {
        let Some(span) = &message.span else { continue };
        let line = code.lines().nth(span.start_line.saturating_sub(1)).unwrap_or_default();
        let width = if span.end_line == span.start_line {
            span.end_column.saturating_sub(span.start_column)
        } else {
            1
        };
        lines.push(format!(
            "  in: cell {number}, line {}, column {}",
            span.start_line, span.start_column
        ));
        lines.push(format!("    {line}"));
        let (indent, mark) = (" ".repeat(span.start_column + 3), "^".repeat(width.max(1)));
        lines.push(format!("{indent}{RED}{mark}{PLAIN} {}", message.label));
    }
    lines
}

/// Hints that the compiler does not give.
fn own_hint(error: &CompilationError, code: &str, sign: bool) -> Option<String> {
    let line = error.primary_spanned_message().and_then(|message| message.span.as_ref());
    let line = line.and_then(|span| code.lines().nth(span.start_line.saturating_sub(1)))?.trim();
    match error.code() {
        Some("E0425") if error.message().contains("`lab`") => Some(format!(
            "an earlier cell took `lab`: `let mut lab = NAME;` with its variable brings it back; \
             if there is none, {AGAIN}"
        )),
        Some("E0382") => Some("a cell that moves a variable uses it up: borrow with `&`, or `.shallow_clone()` a tensor".into()),
        None | Some("E0425") if sign && looks_like_a_command(line) => Some(format!("a command begins with `%`: `%{line}`; `%help` lists them")),
        _ => None,
    }
}

/// Words without any of Rust's punctuation.
fn looks_like_a_command(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let name =
        words.next().is_some_and(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
    name && !line.contains([';', '(', '{', ':', '=', '&', '+', '*', '/'])
}

/// A panic, with file and line of the compiled source.
pub struct Panic {
    pub text: String,
    pub file: String,
    pub line: u32,
}

/// The error of a panic, with the line of the cell.
pub fn panic(panic: &Panic, code: &str, source: &str, number: usize) -> ReplyError {
    let Panic { text, file, line } = panic;
    let place = match file.ends_with("src/lib.rs") && !file.starts_with('/') {
        true => cell_line(code, source, *line as usize, number)
            .or_else(|| earlier_line(source, *line as usize, number)),
        false => None,
    };
    let place = place.unwrap_or_else(|| format!("{file}:{line}"));
    let text = of_torch(text);
    let first = text.lines().next().unwrap_or_default();
    let head = format!("{RED}panic{PLAIN}: {text}");
    let kept = "variables of earlier cells are kept, unless this cell moved them; `lab` is kept";
    error(
        "Panic",
        first,
        vec![head, format!("  in: {place}"), format!("{BLUE}  note: {PLAIN}{kept}")],
    )
}

/// An error of libtorch that a method of a tensor has unwrapped: its sentence alone. Other texts stay as they are.
fn of_torch(text: &str) -> String {
    let text = paella_wire::without_frames(text);
    let inside =
        text.split_once("` value: Torch(\"").and_then(|(_, rest)| rest.strip_suffix("\")"));
    match inside {
        Some(sentence) => {
            format!("libtorch: {}", sentence.replace("\\\"", "\"").replace("\\n", "\n"))
        }
        None => text.into_owned(),
    }
}

/// The line of the cell that stands in this line of the compiled source.
fn cell_line(code: &str, source: &str, line: usize, number: usize) -> Option<String> {
    let compiled = source.lines().nth(line.checked_sub(1)?)?.trim();
    let same = |own: &str| {
        !own.is_empty()
            && (compiled.contains(own) || own.contains(compiled) && !compiled.is_empty())
    };
    let at = code.lines().position(|own| same(own.trim()))?;
    Some(format!("cell {number}, line {}: {}", at + 1, code.lines().nth(at)?.trim()))
}

/// A line of the compiled source that stands in no line of the cell: a function of an earlier cell.
fn earlier_line(source: &str, line: usize, number: usize) -> Option<String> {
    let compiled = source.lines().nth(line.checked_sub(1)?)?.trim();
    (!compiled.is_empty()).then(|| format!("a cell before cell {number}: {compiled}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_line_of_a_panic() {
        let (code, source) =
            ("let a = 1;\npanic!(\"x\");", "fn f() {\nlet a = 1;\npanic!(\"x\");\n}");
        assert_eq!(
            cell_line(code, source, 3, 7).as_deref(),
            Some("cell 7, line 2: panic!(\"x\");")
        );
        assert_eq!(cell_line(code, source, 9, 7), None);
        let source = "fn wrong() {\n    a.matmul(&a)\n}";
        assert_eq!(
            earlier_line(source, 2, 7).as_deref(),
            Some("a cell before cell 7: a.matmul(&a)")
        );
    }

    #[test]
    fn an_error_of_libtorch_is_its_sentence() {
        let text = "called `Result::unwrap()` on an `Err` value: Torch(\"sizes (2x3 and \\\"4\\\")\\nException raised from f at a.cpp:1 (most recent call first):\\nframe #0: g(\\\"x\\\")\\n\")";
        assert_eq!(of_torch(text), "libtorch: sizes (2x3 and \"4\")");
        assert_eq!(of_torch("index out of bounds"), "index out of bounds");
    }

    #[test]
    fn closures_are_found() {
        let found = |code: &str| closure(code);
        assert_eq!(found("let v = \"a\";\nlet f = |x: i32| x + 1;").as_deref(), Some("f"));
        assert_eq!(found("let g = move || 1;").as_deref(), Some("g"));
        assert_eq!(found("{ let f = || 1; f() }"), None);
        assert_eq!(found("let f: Box<dyn Fn() -> i32> = Box::new(|| 1);"), None);
    }

    #[test]
    fn commands_without_their_sign_are_seen() {
        assert!(looks_like_a_command("train 10") && looks_like_a_command("show red apple"));
        assert!(!looks_like_a_command("let a = 1;") && !looks_like_a_command("Foo bar"));
    }
}
