//! Messages for the faults of a config: what was expected, what was found, what to write instead.

use ron::error::Error as RonError;

use super::scan::Scan;

/// What is known about the field at fault.
pub(super) struct Site<'a> {
    /// The text of its value.
    pub value: &'a str,
    /// The text of its default.
    pub default: Option<String>,
    /// The config with all fields at their defaults.
    pub known: &'a Scan,
    /// Line and column of the field's first occurrence.
    pub first: Option<(usize, usize)>,
}

/// Whether the fault is in the name of a field, not in its value.
pub(super) fn concerns_key(code: &RonError) -> bool {
    matches!(code, RonError::NoSuchStructField { .. } | RonError::DuplicateStructField { .. })
}

/// Whether the fault is in the number of values or fields, not in the last one.
pub(super) fn concerns_whole(code: &RonError) -> bool {
    use RonError as E;
    matches!(
        code,
        E::ExpectedStructLikeEnd | E::ExpectedDifferentLength { .. } | E::MissingStructField { .. }
    )
}

/// What is wrong, and a hint.
pub(super) fn explain(code: &RonError, at: &Site) -> (String, String) {
    match code {
        RonError::NoSuchStructField { expected, found, .. } => {
            (format!("unknown field `{found}`"), field_hint(found, expected, at.known))
        }
        RonError::DuplicateStructField { field, .. } => {
            let first = at.first.map_or(String::new(), |(line, column)| {
                format!("; the first is at {line}:{column}")
            });
            (format!("`{field}` is given twice"), format!("keep one{first}"))
        }
        RonError::MissingStructField { field, .. } => {
            (format!("field `{field}` is missing"), format!("add `{field}: ..`"))
        }
        RonError::NoSuchEnumVariant { expected, found, .. } => {
            (format!("unknown value `{found}`"), choice_hint(found, expected))
        }
        RonError::IntegerOutOfBounds => {
            let hint =
                if at.value.starts_with('-') { "give 0 or more" } else { "give a smaller number" };
            (format!("`{}` is out of range for this field", short(at.value)), hint.into())
        }
        RonError::Message(message) => (message.clone(), default_hint(at)),
        RonError::InvalidEscape(_) => (lower(&plain(code)), r"write `\\` for one backslash".into()),
        _ => wrong_type(code, at),
    }
}

fn wrong_type(code: &RonError, at: &Site) -> (String, String) {
    let default = at.default.as_deref().unwrap_or_default();
    match expected(code).or_else(|| kind(default)) {
        Some(expected) => {
            (format!("expected {expected}, got `{}`", short(at.value)), type_hint(&expected, at))
        }
        None => (
            format!("cannot read `{}`: {}", short(at.value), lower(&plain(code))),
            default_hint(at),
        ),
    }
}

/// What `ron` expected, in this crate's words. None if the error carries no detail.
fn expected(code: &RonError) -> Option<String> {
    let words = match code {
        RonError::ExpectedInteger => "an integer",
        RonError::ExpectedFloat => "a number",
        RonError::ExpectedBoolean => "`true` or `false`",
        RonError::ExpectedString => "text in double quotes",
        RonError::ExpectedChar => "one character in single quotes",
        RonError::ExpectedArray => "a list `[..]`",
        RonError::ExpectedMap => "a map `{..}`",
        RonError::ExpectedIdentifier => "a name without quotes",
        RonError::ExpectedStructLike => "values in round brackets `(..)`",
        RonError::ExpectedStructLikeEnd => "fewer values",
        RonError::ExpectedDifferentLength { expected, .. } => expected,
        RonError::InvalidValueForType { expected, .. } => expected,
        RonError::ExpectedNamedStructLike(_) | RonError::ExpectedDifferentStructName { .. } => {
            "fields in round brackets `(field: value, ..)`"
        }
        _ => return None,
    };
    Some(words.into())
}

/// The kind of a value, derived from the text of its default.
fn kind(default: &str) -> Option<String> {
    let number = default.parse::<f64>().is_ok();
    let words = match default.chars().next()? {
        '"' => "text in double quotes",
        '[' => "a list `[..]`",
        '{' => "a map `{..}`",
        '(' => "values in round brackets `(..)`",
        _ if matches!(default, "true" | "false") => "`true` or `false`",
        _ if number && default.contains(|c: char| !c.is_ascii_digit() && c != '-') => "a number",
        _ if number => "an integer",
        _ => return None,
    };
    Some(words.into())
}

fn type_hint(expected: &str, at: &Site) -> String {
    let bare = at.value.chars().all(|c| c.is_alphanumeric() || "_-./".contains(c));
    let inside = at.value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let number = inside.filter(|text| text.parse::<f64>().is_ok());
    match at.value.parse::<f64>() {
        Ok(n) if expected == "an integer" && n.fract() == 0.0 && n.abs() < 1e15 => {
            format!("write `{n}`")
        }
        _ if ["an integer", "a number"].contains(&expected) && number.is_some() => {
            format!("write `{}`", number.unwrap_or_default())
        }
        _ if expected.starts_with("a list") && (inside.is_some() || is_word(at.value)) => {
            format!("write `[{}]`", at.value)
        }
        _ if expected.starts_with("text") && bare => format!("write `\"{}\"`", at.value),
        _ if expected.starts_with("a name") => format!("write `{}`", at.value.trim_matches('"')),
        _ => default_hint(at),
    }
}

fn is_word(value: &str) -> bool {
    value.starts_with(char::is_alphabetic) && value.chars().all(|c| c.is_alphanumeric() || c == '_')
}

fn default_hint(at: &Site) -> String {
    match at.default.as_deref() {
        Some(text) if text.len() <= 60 && !text.contains('\n') => {
            format!("the default is `{text}`")
        }
        _ => String::new(),
    }
}

fn field_hint(found: &str, expected: &[&str], known: &Scan) -> String {
    let here = nearest(found, expected.iter().copied());
    let elsewhere = || known.entries.iter().find(|e| e.path.rsplit('.').next() == Some(found));
    match here {
        Some((name, 0 | 1)) => format!("did you mean `{name}`?"),
        _ => match (elsewhere(), here) {
            (Some(entry), _) => format!("did you mean `{}`?", entry.path),
            (None, Some((name, _))) => format!("did you mean `{name}`?"),
            (None, None) => format!("the fields here: {}", expected.join(", ")),
        },
    }
}

fn choice_hint(found: &str, expected: &[&str]) -> String {
    let all = format!("one of: {}", expected.join(", "));
    match nearest(found, expected.iter().copied()) {
        Some((name, _)) => format!("did you mean `{name}`? {all}"),
        None => all,
    }
}

/// The hint for an unknown path.
pub(super) fn path_hint(path: &str, known: &Scan) -> String {
    let (near, here) = near_paths(path, known);
    let named =
        |all: &[&str]| all.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match near.as_slice() {
        [] => format!("the fields here: {}", here.join(", ")),
        [name] => format!("did you mean `{name}`?"),
        [some @ .., last] => format!("did you mean {} or `{last}`?", named(some)),
    }
}

/// The most paths that are offered for an unknown one.
const MOST_OFFERED: usize = 4;

/// The known paths that an unknown one may stand for, and all paths of its section.
pub(super) fn near_paths<'a>(path: &str, known: &'a Scan) -> (Vec<&'a str>, Vec<&'a str>) {
    fn split(path: &str) -> (&str, &str) {
        path.rsplit_once('.').unwrap_or(("", path))
    }
    let paths = || known.entries.iter().map(|e| e.path.as_str());
    let (parent, last) = split(path);
    let parent = known.get(parent).filter(|e| e.branch).map_or("", |e| e.path.as_str());
    let here: Vec<&str> = paths().filter(|p| split(p).0 == parent).collect();
    let close = nearest(last, here.iter().map(|p| split(p).1)).map(|(name, _)| name);
    let near = here.iter().find(|p| close == Some(split(p).1)).copied();
    if let Some(near) = near {
        return (vec![near], here);
    }
    // fields of that name further down, else those that have it as a part of their name, else those of other sections
    let below = |p: &&str| parent.is_empty() || p.starts_with(&format!("{parent}."));
    let same = |p: &&str| split(p).1 == last;
    let part = |p: &&str| split(p).1.split('_').any(|word| word == last);
    let mut found: Vec<&str> = paths().filter(below).filter(same).collect();
    if found.is_empty() {
        found = paths().filter(below).filter(part).collect();
    }
    if found.is_empty() {
        found = paths().filter(same).collect();
    }
    found.sort_by_key(|p| p.matches('.').count());
    found.truncate(MOST_OFFERED);
    (found, here)
}

/// The candidate with the fewest edits, within a limit that grows with the length of `word`.
pub fn nearest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<(&'a str, usize)> {
    let limit = (word.chars().count() / 3).max(1);
    let scored = candidates.map(|c| (c, edits(&word.to_lowercase(), &c.to_lowercase())));
    scored.filter(|(_, n)| *n <= limit).min_by_key(|(_, n)| *n)
}

/// Edit distance: letters to insert, drop, replace or swap with their neighbour to turn `a` into `b`.
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// `ron`'s own message.
pub(super) fn plain(code: &RonError) -> String {
    match code {
        RonError::ExpectedNamedStructLike(_) => "expected `(`".into(),
        other => lower(&other.to_string()),
    }
}

fn lower(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |c| c.to_lowercase().chain(chars).collect())
}

pub(super) fn short(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(40) {
        Some((cut, _)) => format!("{}..", line.get(..cut).unwrap_or_default()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        assert_eq!(edits("wramup", "warmup"), 1);
        assert_eq!(edits("", "lr"), 2);
        assert_eq!(nearest("Fashon", ["Emoji", "Fashion"].into_iter()), Some(("Fashion", 1)));
        assert_eq!(nearest("xyz", ["lr", "steps"].into_iter()), None);
    }
}
