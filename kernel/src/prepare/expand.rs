//! Trick `expand`: the standard library's macros, expanded where they stand for items. rust-analyzer would expand them
//! again in every kernel.
//!
//! Only a macro of `macro_rules!` with a unique name is expanded, and only if the expansion has no errors; rust-analyzer
//! expands the rest. Macros among the methods of an `impl` stay: it reads them when it needs them.

use crate::files::write;
use crate::prepare::trim::trimmed;
use crate::trouble::{Result, Trouble};
use ra_ap_mbe::{DeclarativeMacro, MacroCallStyle};
use ra_ap_parser::TopEntryPoint;
use ra_ap_span::{
    EditionedFileId, FileId, ROOT_ERASED_FILE_AST_ID, Span, SpanAnchor, SyntaxContext,
};
use ra_ap_syntax::ast::{self, HasAttrs, HasName};
use ra_ap_syntax::{AstNode, Edition, SourceFile, SyntaxKind, SyntaxNode, TextRange, TextSize};
use ra_ap_syntax_bridge::{parse_to_token_tree_static_span, token_tree_to_syntax_node};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

const EDITION: Edition = Edition::Edition2024;

/// Macros expand to macros. Most rounds of expanding.
const ROUNDS: usize = 8;

/// Expand the macros of one crate, whose files lie below `folder`. What comes out is trimmed as the rest is, if that is wanted.
///
/// Errors: a file cannot be read or written.
pub fn folder(folder: &Path, trim: bool) -> Result<()> {
    let mut files = Vec::new();
    read(folder, &mut files)?;
    let mut changed = BTreeSet::new();
    for _ in 0..ROUNDS {
        let new = Macros::of(files.iter().map(|(_, text)| text.as_str())).expanded();
        if new.is_empty() {
            break;
        }
        for (number, text) in new {
            files[number].1 = text;
            changed.insert(number);
        }
    }
    changed.into_iter().try_for_each(|number| {
        let (path, text) = &files[number];
        if trim { write(path, &trimmed(text)) } else { write(path, text) }
    })
}

fn read(folder: &Path, files: &mut Vec<(PathBuf, String)>) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(|e| Trouble::file(&e, folder))?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            read(&path, files)?;
        } else {
            let text = std::fs::read_to_string(&path).map_err(|e| Trouble::file(&e, &path))?;
            files.push((path, text));
        }
    }
    Ok(())
}

/// A file with its macros, each with a unique name in that file.
struct File {
    tree: SyntaxNode,
    own: HashMap<String, DeclarativeMacro>,
}

/// The files of a crate. `home` is the file of each macro whose name is unique in the crate.
struct Macros {
    files: Vec<File>,
    home: HashMap<String, usize>,
    salsa: salsa::DatabaseImpl,
}

impl Macros {
    fn of<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let (mut files, mut home) = (Vec::new(), HashMap::new());
        let mut given = HashMap::<String, usize>::new();
        for text in texts {
            let mut here = HashMap::<String, usize>::new();
            names(text).for_each(|name| *here.entry(name).or_default() += 1);
            let tree = SourceFile::parse(text, EDITION).syntax_node();
            let mut own: HashMap<_, _> = definitions(&tree).collect();
            own.retain(|name, _| here.get(name) == Some(&1));
            home.extend(own.keys().map(|name| (name.clone(), files.len())));
            here.into_iter().for_each(|(name, times)| *given.entry(name).or_default() += times);
            files.push(File { tree, own });
        }
        home.retain(|name, _| given.get(name) == Some(&1));
        Self { files, home, salsa: salsa::DatabaseImpl::default() }
    }

    /// New texts of the files with macros to expand. Each macro is expanded once.
    fn expanded(&self) -> Vec<(usize, String)> {
        let texts = self.files.iter().map(|file| self.text(file)).enumerate();
        texts.filter_map(|(number, text)| Some((number, text?))).collect()
    }

    fn text(&self, file: &File) -> Option<String> {
        let calls = file.tree.descendants().filter_map(ast::MacroCall::cast).filter(is_item);
        let text = file.tree.text().to_string();
        let (mut new, mut at) = (String::new(), 0);
        for call in calls {
            if let Some(items) = self.items(&call, file) {
                let range = call.syntax().text_range();
                new += &text[at..range.start().into()];
                new += &items;
                at = range.end().into();
            }
        }
        (at > 0).then(|| new + &text[at..])
    }

    /// The items that a call expands to.
    fn items(&self, call: &ast::MacroCall, file: &File) -> Option<String> {
        let name = call.path()?.as_single_name_ref()?;
        let name = name.text();
        let home = || self.files.get(*self.home.get(name)?)?.own.get(name);
        let rules = file.own.get(name).or_else(home)?;
        let conditions = conditions(call)?;
        let argument = tokens(&inside(&call.token_tree()?)?)?;
        let style = MacroCallStyle::FnLike;
        let expansion = rules.expand(&self.salsa, &argument, |_| (), style, span());
        if expansion.err.is_some() {
            return None;
        }
        let (parsed, _) =
            token_tree_to_syntax_node(&expansion.value.0, TopEntryPoint::MacroItems, &mut |_| {
                EDITION
            });
        if !parsed.errors().is_empty() {
            return None;
        }
        let items = parsed.syntax_node();
        Some(items.children().map(|item| conditions.clone() + &spaced(&item) + "\n").collect())
    }
}

/// Names of all macros defined in a text, also inside macros.
fn names(text: &str) -> impl Iterator<Item = String> {
    let behind = text.split("macro_rules!").skip(1).map(str::trim_start);
    behind.map(|text| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
}

/// The macros defined in a file, without the compiler's own.
fn definitions(file: &SyntaxNode) -> impl Iterator<Item = (String, DeclarativeMacro)> {
    let all = file.descendants().filter_map(ast::MacroRules::cast);
    let plain = all.filter(|rules| {
        let mut names = rules.attrs().filter_map(|attr| attr.simple_name());
        !names.any(|name| name == "rustc_builtin_macro")
    });
    plain.filter_map(|rules| {
        let text = tokens(&inside(&rules.token_tree()?)?)?;
        let parsed = DeclarativeMacro::parse_macro_rules(&text, |_| EDITION);
        parsed.err().is_none().then(|| Some((rules.name()?.text().into(), parsed)))?
    })
}

/// Whether a call stands among the items of a module.
fn is_item(call: &ast::MacroCall) -> bool {
    call.syntax().parent().is_some_and(|parent| {
        matches!(parent.kind(), SyntaxKind::SOURCE_FILE | SyntaxKind::ITEM_LIST)
    })
}

/// The `cfg`s of a call, for each of its items; `None` if other attributes change the items.
fn conditions(call: &ast::MacroCall) -> Option<String> {
    let mut text = String::new();
    for attr in call.attrs() {
        match attr.simple_name()?.as_str() {
            "cfg" => text += &format!("{}\n", attr.syntax().text()),
            "cfg_attr" | "macro_use" => return None,
            _ => {} // for documentation or lints
        }
    }
    Some(text)
}

/// The text between the brackets.
fn inside(tree: &ast::TokenTree) -> Option<String> {
    let text = tree.syntax().text().to_string();
    Some(text.get(1..text.len().checked_sub(1)?)?.to_owned())
}

fn tokens(text: &str) -> Option<ra_ap_tt::TopSubtree> {
    parse_to_token_tree_static_span(EDITION, span(), text)
}

/// The text of an item. The tree of an expansion has spaces only between signs that would otherwise join. `$crate` becomes
/// `crate`.
fn spaced(item: &SyntaxNode) -> String {
    let (mut text, mut after_sign) = (String::new(), true);
    for token in item.descendants_with_tokens().filter_map(|part| part.into_token()) {
        let is_sign = token.kind().is_punct() || token.kind().is_trivia();
        if !(is_sign && after_sign) {
            text.push(' ');
        }
        text += if token.text() == "$crate" { "crate" } else { token.text() };
        after_sign = is_sign;
    }
    text
}

/// A single source position for all tokens.
fn span() -> Span {
    let file_id = EditionedFileId::new(FileId::from_raw(0), EDITION);
    Span {
        range: TextRange::empty(TextSize::new(0)),
        anchor: SpanAnchor { file_id, ast_id: ROOT_ERASED_FILE_AST_ID },
        ctx: SyntaxContext::root(EDITION),
    }
}

#[cfg(test)]
mod tests {
    use super::Macros;

    fn expanded(text: &str) -> Option<String> {
        Macros::of(std::iter::once(text)).expanded().into_iter().map(|(_, text)| text).next()
    }

    #[test]
    fn a_call_becomes_its_items() {
        let rules = "macro_rules! m { ($($t:ty => $f:ident),*) => { $(impl $crate::A for $t { const B: u8 = 1; fn $f(&self) -> Option<Vec<u8>>; })* } }\n";
        let text = format!("{rules}#[cfg(unix)]\nm!(u8 => f, &'a [i8] => g);\n");
        let items = " #[cfg(unix)] impl crate::A for u8 ".split_whitespace().collect::<String>();
        let after = expanded(&text).unwrap_or_default();
        let bare = after.replace(rules, "").split_whitespace().collect::<String>();
        assert!(bare.starts_with(&items), "{after}");
        assert_eq!(after.matches("#[cfg(unix)]").count(), 2);
        assert_eq!(after.matches("Vec").count(), 3); // in the rules too
        assert!(expanded(&after).is_none());
    }

    #[test]
    fn signs_stay_together() {
        let text = "macro_rules! outer { ($t:ty) => { inner!($t => u8); } }\nouter!(i8);\n";
        let after = expanded(text).unwrap_or_default();
        assert!(after.contains("=> u8") || after.contains("=>u8"), "{after}");
    }

    #[test]
    fn what_is_not_sure_stays() {
        let twice = "mod a { macro_rules! m { () => { struct A; } } }\nmod b { macro_rules! m { () => {} } }\nm!();\n";
        assert!(expanded(twice).is_none());
        let method = "macro_rules! m { () => { fn f() {} } }\nimpl A { m!(); }\n";
        assert!(expanded(method).is_none());
        let wrong = "macro_rules! m { (a) => { struct A; } }\nm!(b);\n";
        assert!(expanded(wrong).is_none());
    }
}
