//! Sources for analysis only: signatures stay; bodies, plain comments and attributes that say nothing of types go.
//! rust-analyzer reads a fifth of the text.
//!
//! Macros count most, since what they hold is read again for each use of them: the integers' macro is used twelve times.

use crate::trouble::{Result, Trouble};
use ra_ap_syntax::{
    AstNode, AstToken, Edition, NodeOrToken, SourceFile, SyntaxKind, SyntaxNode, SyntaxToken,
    TextRange, ast,
    ast::{HasModuleItem, HasName},
};
use std::path::Path;

/// Folders and files that no signature comes from: tests, the standard library's inner workings and its face on other
/// systems, tables.
const SKIPPED: [&str; 48] = [
    "tests",
    "benches",
    "examples",
    "target",
    "sys",
    "bignum.rs",
    "dec2flt",
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

/// Files whose types stay, without what their macros implement for each of the twelve integers.
const BARE: [&str; 2] = ["saturating.rs", "wrapping.rs"];

/// Attributes that neither types nor completion depend on. Each item of the standard library has several.
const IDLE: [&str; 24] = [
    "allow",
    "cfg_attr",
    "cold",
    "deny",
    "diagnostic::on_unimplemented",
    "expect",
    "inline",
    "must_use",
    "optimize",
    "rustc_allow_const_fn_unstable",
    "rustc_as_ptr",
    "rustc_confusables",
    "rustc_const_stable",
    "rustc_const_unstable",
    "rustc_conversion_suggestion",
    "rustc_diagnostic_item",
    "rustc_inherit_overflow_checks",
    "rustc_never_returns_null_ptr",
    "rustc_no_implicit_autorefs",
    "rustc_nounwind",
    "rustc_on_unimplemented",
    "stable",
    "track_caller",
    "warn",
];

/// How much of the documentation stays, outside of macros.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Docs {
    All,
    FirstParagraph,
}

/// Copy all Rust files below `from`, trimmed; other files stay behind.
///
/// Errors: a file cannot be read or written.
pub fn folder(from: &Path, to: &Path, docs: Docs) -> Result<()> {
    std::fs::create_dir_all(to).map_err(|e| Trouble::file(&e, to))?;
    for entry in std::fs::read_dir(from).map_err(|e| Trouble::file(&e, from))?.flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let name = entry.file_name().to_string_lossy().into_owned();
        if SKIPPED.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            folder(&path, &target, docs)?;
        } else if name.ends_with(".rs") {
            let mut text = std::fs::read_to_string(&path).map_err(|e| Trouble::file(&e, &path))?;
            if BARE.contains(&name.as_str()) {
                text = without_calls(&text);
            }
            std::fs::write(&target, trimmed(&text, docs))
                .map_err(|e| Trouble::file(&e, &target))?;
        }
    }
    Ok(())
}

/// Rust text without function bodies, test modules, plain comments, and documentation beyond `docs`.
pub fn trimmed(text: &str, docs: Docs) -> String {
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

/// Rust text without the macros that are called beside its items.
fn without_calls(text: &str) -> String {
    let tree = SourceFile::parse(text, Edition::Edition2024).tree();
    let items = tree.items().filter(|item| !matches!(item, ast::Item::MacroCall(_)));
    items.map(|item| format!("{}\n", item.syntax().text())).collect()
}

type Part = NodeOrToken<SyntaxNode, SyntaxToken>;

/// What to leave out, and what stands in its place.
fn cut(part: Part, docs: Docs) -> Option<(TextRange, &'static str)> {
    match part {
        NodeOrToken::Token(token) => {
            let range = token.text_range();
            let in_macro = token.parent().is_some_and(|node| is_tree(&node));
            if in_macro && token.kind() == SyntaxKind::POUND {
                return attribute_in_macro(&token);
            }
            let comment = ast::Comment::cast(token.clone())?;
            let stays = comment.is_doc() && !in_macro && (docs == Docs::All || is_first(&token));
            (!stays).then_some((range, " "))
        }
        NodeOrToken::Node(node) => {
            if is_tree(&node) {
                return is_body(&node).then_some((node.text_range(), "{loop{}}"));
            }
            if node.kind() == SyntaxKind::ATTR {
                return is_idle(&node.text().to_string()).then_some((node.text_range(), ""));
            }
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

/// Whether no empty line of documentation is above this one.
fn is_first(line: &SyntaxToken) -> bool {
    let above = std::iter::successors(line.prev_token(), SyntaxToken::prev_token);
    let mut lines = above
        .take_while(|token| token.kind().is_trivia())
        .filter(|token| token.kind() == SyntaxKind::COMMENT);
    let own = line.text().chars().take(3).collect::<String>();
    !lines.any(|token| token.text().trim_end() == own)
}

/// Whether an attribute, from its `#` on, may go.
fn is_idle(attribute: &str) -> bool {
    let inner = attribute.trim_start_matches(['#', '!', '[', ' ']);
    let end = inner.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
    IDLE.contains(&&inner[..end.unwrap_or(inner.len())])
}

/// In the definition of a macro, `#` and the brackets behind it: documentation goes too, and `unstable` says no more than
/// that. Attributes that are given to a macro stay, since it counts on them.
fn attribute_in_macro(pound: &SyntaxToken) -> Option<(TextRange, &'static str)> {
    let defines =
        |node: &SyntaxNode| matches!(node.kind(), SyntaxKind::MACRO_RULES | SyntaxKind::MACRO_DEF);
    let outer = pound.parent_ancestors().find(|node| !is_tree(node))?;
    if !defines(&outer) {
        return None;
    }
    let mut behind =
        std::iter::successors(pound.next_sibling_or_token(), Part::next_sibling_or_token);
    let brackets =
        behind.find(|part| !part.kind().is_trivia() && part.kind() != SyntaxKind::BANG)?;
    let brackets = brackets.as_node().filter(|node| is_tree(node))?;
    let rest = behind.find(|part| !part.kind().is_trivia())?;
    if matches!(
        rest.kind(),
        SyntaxKind::COMMA | SyntaxKind::SEMICOLON | SyntaxKind::R_PAREN | SyntaxKind::R_CURLY
    ) {
        return None;
    }
    let text = brackets.text().to_string();
    let range = TextRange::new(pound.text_range().start(), brackets.text_range().end());
    let docs = text.trim_start_matches('[').trim_start().strip_prefix("doc");
    let docs = docs.is_some_and(|rest| rest.trim_start().starts_with('='));
    match text.starts_with("[unstable") {
        true => Some((range, "#[unstable]")),
        false => (is_idle(&text) || docs).then_some((range, "")),
    }
}

/// Brackets with what is between them, in a macro.
fn is_tree(node: &SyntaxNode) -> bool {
    node.kind() == SyntaxKind::TOKEN_TREE
}

/// In a macro: braces that are the first ones behind an `fn` beside them.
fn is_body(tree: &SyntaxNode) -> bool {
    let is = |part: &Part, kind: SyntaxKind| part.kind() == kind;
    let braces = |part: &Part| {
        let tree = part.as_node().filter(|node| is_tree(node));
        tree.and_then(|node| node.first_token()).is_some_and(|t| t.kind() == SyntaxKind::L_CURLY)
    };
    let own = NodeOrToken::Node(tree.clone());
    if !braces(&own) {
        return false;
    }
    let mut before =
        std::iter::successors(own.prev_sibling_or_token(), Part::prev_sibling_or_token);
    let stop = |part: &Part| {
        is(part, SyntaxKind::FN_KW) || is(part, SyntaxKind::SEMICOLON) || braces(part)
    };
    before.find(stop).is_some_and(|part| is(&part, SyntaxKind::FN_KW))
}

#[cfg(test)]
mod tests {
    use super::Docs;

    #[test]
    fn signatures_stay() {
        let text = "//! head\n/// doc\npub fn f(x: i32) -> i32 { // why\n    x + 1\n}\n#[cfg(test)]\nmod tests { fn g() {} }\nstruct A; // plain\n";
        let short = super::trimmed(text, Docs::All);
        assert_eq!(short, "//! head\n/// doc\npub fn f(x: i32) -> i32 {loop{}}\nstruct A;\n");
    }

    #[test]
    fn documentation_stops_after_its_first_paragraph() {
        let text = "//! A\n//! file.\n//!\n//! More.\n\n/// One\n/// two.\n///\n/// # Examples\nstruct A;\n/// Three.\nstruct B;\n";
        let short = super::trimmed(text, Docs::FirstParagraph);
        let lines: Vec<&str> = short.lines().map(str::trim).filter(|line| *line != "//!").collect();
        let kept = [
            "//! A",
            "//! file.",
            "/// One",
            "/// two.",
            "///",
            "struct A;",
            "/// Three.",
            "struct B;",
        ];
        assert_eq!(lines, kept);
    }

    #[test]
    fn attributes_stay_where_types_depend_on_them() {
        let text = "#[stable(feature = \"a\", since = \"1\")]\n#[lang = \"b\"]\n#[inline]\n#[unstable(feature = \"c\")]\nstruct A;\nmacro_rules! m { () => { #[doc = concat!(\"d\")] #[must_use = \"e\"] #[unstable(feature = \"f\")] #[cfg(g)] struct B; } }\n";
        let short = super::trimmed(text, Docs::All);
        let kept: String = short.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(
            kept,
            "#[lang = \"b\"] #[unstable(feature = \"c\")] struct A; macro_rules! m { () => { #[unstable] #[cfg(g)] struct B; } }"
        );
    }

    #[test]
    fn a_bare_file_has_no_calls() {
        let bare =
            super::without_calls("m! { u8 i8 }\npub struct W<T>(pub T);\nimpl W<u8> { m!(); }\n");
        assert_eq!(bare, "pub struct W<T>(pub T);\nimpl W<u8> { m!(); }\n");
    }

    #[test]
    fn macros_keep_signatures_only() {
        let text = "macro_rules! m { ($t:ty) => { /// doc\npub fn f(x: $t) -> $t { if x > 1 { x } else { 1 } } const A: $t = { 1 }; fn g(); struct S { a: $t } } }";
        let short = super::trimmed(text, Docs::All);
        assert_eq!(
            short,
            "macro_rules! m { ($t:ty) => {\npub fn f(x: $t) -> $t {loop{}} const A: $t = { 1 }; fn g(); struct S { a: $t } } }\n"
        );
    }
}
