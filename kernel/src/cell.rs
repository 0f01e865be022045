//! A cell as it is typed: Rust, commands behind `%`, or a config behind `%%ron`.

use ra_ap_rustc_lexer::{FrontmatterAllowed, TokenKind, tokenize};
use std::collections::BTreeSet;

/// One thing to do, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum CellPart {
    /// Rust; empty lines in front keep the line numbers of the cell.
    Rust(String),
    /// A command without its `%`.
    Command(String),
    /// A whole config, and the file it is to be kept in, if any.
    Config { text: String, file: String },
    /// `%who`: the variables.
    Variables,
    /// `%time` or `%%time`: the first one starts the clock, the second one tells the time.
    Clock,
    /// `%%` and something unknown.
    Unknown(String),
}

/// Take a cell apart. A command is a line that begins with `%` and a letter, outside of texts and comments.
pub fn parts(code: &str) -> Vec<CellPart> {
    let code = code.trim_start_matches('\u{feff}');
    let first = code.trim_start().lines().next().unwrap_or_default().trim();
    if let Some(magic) = first.strip_prefix("%%") {
        let (name, file) = magic.split_once(char::is_whitespace).unwrap_or((magic, ""));
        let text = code.trim_start().split_once('\n').map_or("", |(_, rest)| rest);
        match name {
            "ron" => return vec![CellPart::Config { text: text.into(), file: file.trim().into() }],
            "time" if file.trim().is_empty() => {}
            _ => return vec![CellPart::Unknown(first.into())],
        }
        let start = code.len() - text.len();
        let above = "\n".repeat(code[..start].matches('\n').count());
        let timed = parts(&(above + text)).into_iter();
        return std::iter::once(CellPart::Clock).chain(timed).chain([CellPart::Clock]).collect();
    }
    let (mut parts, mut rust) = (Vec::new(), String::new());
    let inside = inside(code);
    for (i, line) in code.lines().enumerate() {
        match command(line).filter(|_| !inside.contains(&i)) {
            Some(command) => {
                push(&mut parts, &mut rust);
                parts.extend(of_command(command, i));
                rust = "\n".repeat(i + 1);
            }
            None => rust += &format!("{line}\n"),
        }
    }
    push(&mut parts, &mut rust);
    parts
}

/// What a command in line `number`, counted from 0, comes to. The kernel itself does `who` and `time`.
fn of_command(command: &str, number: usize) -> Vec<CellPart> {
    let timed = command.strip_prefix("time").filter(|rest| rest.starts_with(char::is_whitespace));
    match timed.map(|rest| (rest, rest.trim_start())) {
        None if command == "who" => vec![CellPart::Variables],
        None => vec![CellPart::Command(command.into())],
        Some((rest, timed)) => {
            let mut parts = vec![CellPart::Clock];
            match self::command(timed) {
                Some(command) => parts.extend(of_command(command, number)),
                None => {
                    let column = "%time".len() + rest.len() - timed.len(); // errors stand at their place
                    let blank = "\n".repeat(number) + &" ".repeat(column);
                    parts.push(CellPart::Rust(format!("{blank}{timed}\n")));
                }
            }
            parts.push(CellPart::Clock);
            parts
        }
    }
}

/// The command of a line, if it is one.
pub fn command(line: &str) -> Option<&str> {
    let rest = line.strip_prefix('%')?;
    rest.starts_with(|c: char| c.is_ascii_alphabetic()).then(|| rest.trim_end())
}

/// The lines, counted from 0, that begin within a text or a comment.
pub fn inside(code: &str) -> BTreeSet<usize> {
    // A command ends with its line: an apostrophe in it opens nothing. Its line is blank to the lexer, unless it turns out
    // to begin within something.
    let (mut inside, mut line, mut at) = (BTreeSet::new(), 0, 0);
    while at < code.len() {
        let rest = &code[at..];
        let starts_line = at == 0 || code[..at].ends_with('\n');
        if starts_line && command(rest.lines().next().unwrap_or_default()).is_some() {
            at += rest.find('\n').map_or(rest.len(), |end| end + 1);
            line += 1;
            continue;
        }
        let Some(token) = tokenize(rest, FrontmatterAllowed::No).next() else { break };
        let mut text = &rest[..token.len as usize];
        let spans =
            matches!(token.kind, TokenKind::Literal { .. } | TokenKind::BlockComment { .. });
        if !spans && let Some(end) = text.find('\n') {
            text = &text[..=end]; // white space ends with its line: the next one may be a command
        }
        let breaks = text.matches('\n').count();
        if spans {
            inside.extend(line + 1..=line + breaks);
        }
        line += breaks;
        at += text.len();
    }
    inside
}

fn push(parts: &mut Vec<CellPart>, rust: &mut String) {
    if !rust.trim().is_empty() {
        parts.push(CellPart::Rust(std::mem::take(rust)));
    }
    rust.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_numbers() {
        let found = parts("%show 0\nlet a = 7\n  % 2;\n%noise 0.5\na");
        let rust = |text: &str| CellPart::Rust(text.into());
        let command = |text: &str| CellPart::Command(text.into());
        let all = [
            command("show 0"),
            rust("\nlet a = 7\n  % 2;\n"),
            command("noise 0.5"),
            rust("\n\n\n\na\n"),
        ];
        assert_eq!(found, all);
        assert_eq!(parts(" \n"), []);
    }

    #[test]
    fn a_percent_in_a_text_or_comment_is_no_command() {
        let whole =
            |code: &str| assert_eq!(parts(code), [CellPart::Rust(format!("{code}\n"))], "{code}");
        whole("let a = \"\n%train 10\n\";");
        whole("/* /* */\n%train 10\n*/ 1");
        whole("let a = r#\"\"\n%train 10\n\"#;");
        whole("let a = b\"\n%train\";");
        let mixed = parts("// it's \"\n%noise 1\nlet c = '\"';\n%show don't \"\n1\n%help");
        assert_eq!(mixed.len(), 6, "{mixed:?}");
        assert_eq!(mixed[3], CellPart::Command("show don't \"".into()));
        let lifetime = parts("fn f<'a>(x: &'a str) {}\n%help");
        assert_eq!(lifetime.len(), 2);
    }

    #[test]
    fn time_and_who_are_the_kernels_own() {
        let rust = |text: &str| CellPart::Rust(text.into());
        assert_eq!(parts("%who\n1"), [CellPart::Variables, rust("\n1\n")]);
        let timed =
            [CellPart::Clock, rust("\n        twice(2)\n"), CellPart::Clock, rust("\n\n3\n")];
        assert_eq!(parts("\n%time   twice(2)\n3"), timed);
        let command = CellPart::Command("train 3".into());
        assert_eq!(parts("%time %train 3"), [CellPart::Clock, command, CellPart::Clock]);
        assert_eq!(parts("%%time\n1\n2"), [CellPart::Clock, rust("\n1\n2\n"), CellPart::Clock]);
        assert_eq!(parts("%timer"), [CellPart::Command("timer".into())]);
        assert_eq!(parts("%time"), [CellPart::Command("time".into())]);
    }

    #[test]
    fn a_config_is_a_cell_of_its_own() {
        let config = CellPart::Config { text: "(seed: 1)".into(), file: "a.ron".into() };
        assert_eq!(parts("%%ron a.ron\n(seed: 1)"), [config]);
        assert_eq!(parts("%%bogus"), [CellPart::Unknown("%%bogus".into())]);
    }
}
