//! Trick `trim`: sources for analysis only. Signatures stay, bodies and plain comments go; a fifth of the text is left.
//!
//! Macros count most: rust-analyzer reads their content again at each use, and the integers' macro is used twelve times.

use crate::files::write;
use crate::trouble::{Result, Trouble};
use ra_ap_syntax::{
    AstNode, AstToken, Edition, NodeOrToken, SourceFile, SyntaxKind, SyntaxNode, TextRange, ast,
    ast::HasName,
};
use std::path::Path;

/// Folders and files without needed signatures: tests, inner workings, other systems, tables.
const SKIPPED: [&str; 47] = [
    "tests",
    "benches",
    "examples",
    "target",
    "sys",
    "bignum.rs",
    "diy_float.rs",
    "flt2dec",
    "printable.rs",
    "unicode_data.rs",
    "f16.rs",
    "f128.rs",
    "aix",
    "android",
    "cygwin",
    "darwin",
    "dragonfly",
    "emscripten",
    "espidf",
    "fortanix_sgx",
    "freebsd",
    "fuchsia",
    "haiku",
    "hermit",
    "horizon",
    "hurd",
    "illumos",
    "ios",
    "l4re",
    "macos",
    "motor",
    "netbsd",
    "nto",
    "nuttx",
    "openbsd",
    "redox",
    "rtems",
    "solaris",
    "solid",
    "trusty",
    "uefi",
    "vita",
    "vxworks",
    "wasi",
    "wasip2",
    "windows",
    "xous",
];

/// Attributes without meaning for types.
const IDLE: [&str; 9] = [
    "inline",
    "must_use",
    "rustc_const_stable",
    "rustc_const_unstable",
    "rustc_diagnostic_item",
    "rustc_inherit_overflow_checks",
    "rustc_on_unimplemented",
    "stable",
    "track_caller",
];

/// Copy all Rust files below `from`, trimmed or as they are; other files stay behind.
///
/// Errors: a file cannot be read or written.
pub fn folder(from: &Path, to: &Path, trim: bool) -> Result<()> {
    std::fs::create_dir_all(to).map_err(|e| Trouble::file(&e, to))?;
    for entry in std::fs::read_dir(from).map_err(|e| Trouble::file(&e, from))?.flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let name = entry.file_name().to_string_lossy().into_owned();
        if trim && SKIPPED.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            folder(&path, &target, trim)?;
        } else if name.ends_with(".rs") {
            let text = std::fs::read_to_string(&path).map_err(|e| Trouble::file(&e, &path))?;
            write(&target, &if trim { trimmed(&text) } else { text })?;
        }
    }
    Ok(())
}

/// Rust text without function bodies, test modules, plain comments, and doc comments inside of macros.
pub fn trimmed(text: &str) -> String {
    let tree = SourceFile::parse(text, Edition::Edition2024).tree();
    let mut cuts: Vec<(TextRange, &str)> =
        tree.syntax().descendants_with_tokens().filter_map(cut).collect();
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

type Element = NodeOrToken<SyntaxNode, ra_ap_syntax::SyntaxToken>;

/// A range to leave out, with its replacement.
fn cut(part: Element) -> Option<(TextRange, &'static str)> {
    match part {
        NodeOrToken::Token(token) => {
            let range = token.text_range();
            let in_macro = token.parent().is_some_and(|node| is_tree(&node));
            let comment = ast::Comment::cast(token)?;
            (!comment.is_doc() || in_macro).then_some((range, " "))
        }
        NodeOrToken::Node(node) => {
            if is_tree(&node) {
                return is_body(&node).then_some((node.text_range(), "{loop{}}"));
            }
            if let Some(function) = ast::Fn::cast(node.clone()) {
                return function.body().map(|body| (body.syntax().text_range(), "{loop{}}"));
            }
            if let Some(attr) = ast::Attr::cast(node.clone()) {
                let name = attr.simple_name().unwrap_or_default();
                return IDLE.contains(&name.as_str()).then(|| (attr.syntax().text_range(), ""));
            }
            let module = ast::Module::cast(node)?;
            let is_test =
                module.name().is_some_and(|name| name.text() == "tests" || name.text() == "test");
            (is_test && module.item_list().is_some()).then_some((module.syntax().text_range(), ""))
        }
    }
}

/// Brackets and their content, in a macro.
fn is_tree(node: &SyntaxNode) -> bool {
    node.kind() == SyntaxKind::TOKEN_TREE
}

/// In a macro: the first braces after an `fn` on the same level. Braces of `${concat(..)}` do not count.
fn is_body(tree: &SyntaxNode) -> bool {
    let is = |part: &Element, kind: SyntaxKind| part.kind() == kind;
    let braces = |part: &Element| {
        let tree = part.as_node().filter(|node| is_tree(node));
        let own = tree.and_then(|node| node.first_token());
        let behind = part.prev_sibling_or_token();
        own.is_some_and(|token| token.kind() == SyntaxKind::L_CURLY)
            && !behind.is_some_and(|sign| is(&sign, SyntaxKind::DOLLAR))
    };
    let own = NodeOrToken::Node(tree.clone());
    if !braces(&own) {
        return false;
    }
    let mut before =
        std::iter::successors(own.prev_sibling_or_token(), Element::prev_sibling_or_token);
    let stop = |part: &Element| {
        is(part, SyntaxKind::FN_KW) || is(part, SyntaxKind::SEMICOLON) || braces(part)
    };
    before.find(stop).is_some_and(|part| is(&part, SyntaxKind::FN_KW))
}

#[cfg(test)]
mod tests {
    #[test]
    fn signatures_stay() {
        let text = "//! head\n/// doc\npub fn f(x: i32) -> i32 { // why\n    x + 1\n}\n#[cfg(test)]\nmod tests { fn g() {} }\nstruct A; // plain\n";
        let short = super::trimmed(text);
        assert_eq!(short, "//! head\n/// doc\npub fn f(x: i32) -> i32 {loop{}}\nstruct A;\n");
    }

    #[test]
    fn macros_keep_signatures_only() {
        let text = "macro_rules! m { ($t:ty) => { /// doc\npub fn f(x: $t) -> $t { if x > 1 { x } else { 1 } } const A: $t = { 1 }; fn g(); struct S { a: $t } } }";
        let short = super::trimmed(text);
        assert_eq!(
            short,
            "macro_rules! m { ($t:ty) => {\npub fn f(x: $t) -> $t {loop{}} const A: $t = { 1 }; fn g(); struct S { a: $t } } }\n"
        );
    }

    #[test]
    fn names_put_together_in_macros_stay() {
        let text = "macro_rules! m { ($f:ident) => { fn ${concat($f, _small)}(n: u8) -> u8 { if n > 1 { n } else { 1 } } } }";
        let short = super::trimmed(text);
        assert_eq!(
            short,
            "macro_rules! m { ($f:ident) => { fn ${concat($f, _small)}(n: u8) -> u8 {loop{}} } }\n"
        );
    }
}
