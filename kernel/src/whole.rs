//! Is a cell finished, or does Enter begin another line?

use crate::cell::{command, inside};
use jupyter_protocol::IsCompleteReply;
use ra_ap_rustc_lexer::{FrontmatterAllowed, TokenKind, tokenize};
use ra_ap_syntax::{Edition, SourceFile, SyntaxKind, SyntaxNode};

/// Beginnings of what wants a block behind it.
const BLOCKS: [&str; 14] = [
    "fn ", "pub ", "if ", "for ", "while ", "loop", "impl", "struct ", "enum ", "trait ", "unsafe",
    "mod ", "match ", "else",
];
/// Ends that want something behind them.
const OPEN_ENDS: [char; 11] = ['.', ',', '=', '+', '-', '*', '/', '&', '|', ':', '<'];

/// The answer for a cell. Commands, evcxr's own `:commands` and configs are finished.
pub fn reply(code: &str) -> IsCompleteReply {
    if code.trim_start().starts_with("%%") {
        return match code.contains("\n\n") || code.ends_with('\n') {
            true => IsCompleteReply::complete(),
            false => IsCompleteReply::incomplete(String::new()),
        };
    }
    let inside = inside(code);
    let rust = |number: usize, line: &str| {
        inside.contains(&number) || command(line).is_none() && !line.trim_start().starts_with(':')
    };
    let lines = code.lines().enumerate();
    let code: String = lines
        .map(|(number, line)| if rust(number, line) { format!("{line}\n") } else { "\n".into() })
        .collect();
    let depth = match nesting(&code) {
        Nesting::Closed => 0,
        Nesting::Open(depth) => return IsCompleteReply::incomplete("    ".repeat(depth)),
        Nesting::Wrong => return IsCompleteReply::invalid(),
    };
    let end = without_comments(&code);
    let sound = |body: &str| parses(&format!("async fn f() {{ {body}\n }}"));
    let last = end.lines().last().unwrap_or_default().trim_start();
    if end.ends_with(OPEN_ENDS) && !end.ends_with("::*") {
        IsCompleteReply::incomplete("    ".repeat(depth + 1))
    } else if sound(&code) || parses(&code) {
        match last.starts_with("#[") && last.ends_with(']') {
            true => IsCompleteReply::incomplete(String::new()),
            false => IsCompleteReply::complete(),
        }
    } else if last.starts_with("#[")
        || sound(&format!("{code} {{}}")) && BLOCKS.iter().any(|b| last.starts_with(b))
    {
        IsCompleteReply::incomplete(String::new())
    } else {
        IsCompleteReply::invalid()
    }
}

/// The text up to its last token that is no comment.
fn without_comments(code: &str) -> &str {
    let (mut at, mut end) = (0, 0);
    for token in tokenize(code, FrontmatterAllowed::No) {
        at += token.len as usize;
        let idle = matches!(
            token.kind,
            TokenKind::Whitespace | TokenKind::LineComment { .. } | TokenKind::BlockComment { .. }
        );
        if !idle {
            end = at;
        }
    }
    &code[..end]
}

fn parses(code: &str) -> bool {
    SourceFile::parse(code, Edition::Edition2024).errors().is_empty()
}

enum Nesting {
    Closed,
    Open(usize),
    Wrong,
}

/// Brackets that stand open, by the lexer's tokens; an unfinished text or comment is open too.
fn nesting(code: &str) -> Nesting {
    let parse = SourceFile::parse(&format!("f! {{ {code}\n"), Edition::Edition2024);
    let mut open: Vec<char> = Vec::new();
    let root: SyntaxNode = parse.syntax_node();
    let tokens = root.descendants_with_tokens().filter_map(|part| part.into_token());
    for token in tokens {
        let text = token.text();
        match token.kind() {
            SyntaxKind::STRING | SyntaxKind::BYTE_STRING | SyntaxKind::C_STRING
                if !closed_text(text) =>
            {
                return Nesting::Open(0);
            }
            SyntaxKind::COMMENT if text.starts_with("/*") && !text.ends_with("*/") => {
                return Nesting::Open(0);
            }
            SyntaxKind::L_PAREN => open.push(')'),
            SyntaxKind::L_BRACK => open.push(']'),
            SyntaxKind::L_CURLY => open.push('}'),
            SyntaxKind::R_PAREN | SyntaxKind::R_BRACK | SyntaxKind::R_CURLY
                if open.len() < 2 || open.pop().map(String::from).as_deref() != Some(text) =>
            {
                return Nesting::Wrong;
            }
            _ => {}
        }
    }
    match open.len() {
        0 | 1 => Nesting::Closed, // the one of the wrapper
        more => Nesting::Open(more - 1),
    }
}

/// Whether a literal has its closing quote.
fn closed_text(text: &str) -> bool {
    let body = text.trim_start_matches(['b', 'c', 'r']);
    let hashes = body.chars().take_while(|c| *c == '#').count();
    let end = format!("\"{}", "#".repeat(hashes));
    let inside = &body[hashes..];
    let escaped =
        inside.trim_end_matches('"').chars().rev().take_while(|c| *c == '\\').count() % 2 == 1;
    inside.len() > end.len() && inside.ends_with(&end) && (text.contains('r') || !escaped)
}

#[cfg(test)]
mod tests {
    use super::reply;
    use jupyter_protocol::IsCompleteReplyStatus as Status;

    #[test]
    fn knows_when_a_cell_is_finished() {
        let status = |code: &str| reply(code).status;
        for code in [
            "1 + 1",
            "let a = \"{\";",
            "%train 10",
            "fn f() { }",
            ":dep rand",
            "'{'",
            "use std::fs::*;",
            "",
            "f(r#\"\"\"#)",
            "let a = \"\n%train\n\";",
            "/* c */",
            "1 /* and so on, */",
            "let a = 1; // a, b,",
        ] {
            assert!(matches!(status(code), Status::Complete), "{code}");
        }
        for code in [
            "fn f() {",
            "fn f()",
            "let a = \"x",
            "/* a",
            "foo(1,",
            "let a =",
            "#[derive(Debug)]",
            "if a == 1",
            "1 + // and",
        ] {
            assert!(matches!(status(code), Status::Incomplete), "{code}");
        }
        for code in ["fn f() )", "let let", "}"] {
            assert!(matches!(status(code), Status::Invalid), "{code}");
        }
    }
}
