//! Sources for analysis only: signatures stay, bodies and plain comments go. rust-analyzer reads a fifth of the text.

use crate::trouble::{Result, Trouble};
use ra_ap_syntax::{
    AstNode, AstToken, Edition, NodeOrToken, SourceFile, TextRange, ast, ast::HasName,
};
use std::path::Path;

/// Folders that no signature comes from.
const SKIPPED: [&str; 4] = ["tests", "benches", "examples", "target"];

/// Copy all Rust files below `from`, trimmed; other files stay behind.
///
/// Errors: a file cannot be read or written.
pub fn folder(from: &Path, to: &Path, docs: bool) -> Result<()> {
    std::fs::create_dir_all(to).map_err(|e| Trouble::file(&e, to))?;
    for entry in std::fs::read_dir(from).map_err(|e| Trouble::file(&e, from))?.flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                folder(&path, &target, docs)?;
            }
        } else if name.ends_with(".rs") {
            let text = std::fs::read_to_string(&path).map_err(|e| Trouble::file(&e, &path))?;
            std::fs::write(&target, trimmed(&text, docs))
                .map_err(|e| Trouble::file(&e, &target))?;
        }
    }
    Ok(())
}

/// Rust text without function bodies, test modules, plain comments and, unless `docs`, doc comments.
pub fn trimmed(text: &str, docs: bool) -> String {
    let tree = SourceFile::parse(text, Edition::Edition2024).tree();
    let mut cuts: Vec<(TextRange, &str)> =
        tree.syntax().descendants_with_tokens().filter_map(|part| cut(part, docs)).collect();
    cuts.sort_by_key(|(range, _)| (range.start(), std::cmp::Reverse(range.end())));
    let (mut short, mut at) = (String::new(), 0);
    for (range, instead) in cuts {
        let (start, end) = (usize::from(range.start()), usize::from(range.end()));
        if start >= at {
            short += &text[at..start];
            short += instead;
            at = end;
        }
    }
    short += &text[at..];
    let lines = short.lines().map(str::trim_end).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

type Part = NodeOrToken<ra_ap_syntax::SyntaxNode, ra_ap_syntax::SyntaxToken>;

/// What to leave out, and what stands in its place.
fn cut(part: Part, docs: bool) -> Option<(TextRange, &'static str)> {
    match part {
        NodeOrToken::Token(token) => {
            let range = token.text_range();
            let comment = ast::Comment::cast(token)?;
            (!docs || !comment.is_doc()).then_some((range, " "))
        }
        NodeOrToken::Node(node) => {
            if let Some(function) = ast::Fn::cast(node.clone()) {
                return function.body().map(|body| (body.syntax().text_range(), "{loop{}}"));
            }
            let module = ast::Module::cast(node)?;
            let is_test =
                module.name().is_some_and(|name| name.text() == "tests" || name.text() == "test");
            (is_test && module.item_list().is_some()).then_some((module.syntax().text_range(), ""))
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn signatures_stay() {
        let text = "//! head\n/// doc\npub fn f(x: i32) -> i32 { // why\n    x + 1\n}\n#[cfg(test)]\nmod tests { fn g() {} }\nstruct A; // plain\n";
        let short = super::trimmed(text, true);
        assert_eq!(short, "//! head\n/// doc\npub fn f(x: i32) -> i32 {loop{}}\nstruct A;\n");
        assert!(!super::trimmed(text, false).contains("doc"));
    }
}
