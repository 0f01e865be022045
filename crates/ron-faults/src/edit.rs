//! Operations on the fields of a config: compare two configs, look up one field, set one field, print only what
//! differs.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::explain::{near_paths, path_hint};
use super::print::to_ron;
use super::read::{Attempt, PlacedFault, parse};
use super::scan::{Entry, Scan};
use crate::{Fault, Result};

/// A config's text and its fields.
struct Printed {
    text: String,
    scan: Scan,
}

impl Printed {
    fn new<T: Serialize>(config: &T) -> Self {
        let text = to_ron(config);
        Self { scan: Scan::new(&text), text }
    }

    fn value(&self, entry: &Entry) -> &str {
        self.text.get(entry.value.clone()).unwrap_or_default()
    }

    fn get(&self, path: &str) -> Option<&str> {
        self.scan.get(path).map(|entry| self.value(entry))
    }

    /// The text with another value of a field.
    fn with(&self, entry: &Entry, value: &str) -> String {
        let (before, after) =
            (self.text.get(..entry.value.start), self.text.get(entry.value.end..));
        // ends a trailing `//` comment in the value
        let end = if value.contains("//") { "\n" } else { "" };
        format!("{}{value}{end}{}", before.unwrap_or_default(), after.unwrap_or_default())
    }

    fn is_branch(&self, path: &str) -> bool {
        self.scan.get(path).is_some_and(|e| e.branch)
    }
}

/// Dotted paths of all fields, each struct before its fields: `train`, `train.lr`. Used for completion.
pub fn paths<T: Serialize>(config: &T) -> Vec<String> {
    let printed = Printed::new(config);
    printed.scan.entries.into_iter().filter(|e| e.plain).map(|e| e.path).collect()
}

/// The only path of a config that an unknown one may stand for.
pub fn nearest_path<T: Serialize>(config: &T, path: &str) -> Option<String> {
    let printed = Printed::new(config);
    match printed.get(path) {
        Some(_) => None,
        None => match near_paths(path, &printed.scan).0.as_slice() {
            [one] => Some(one.to_string()),
            _ => None,
        },
    }
}

/// One field as RON.
///
/// Errors: an unknown path, with the nearest known path as the hint.
pub fn get<T: Serialize>(config: &T, path: &str) -> Result<String> {
    let printed = Printed::new(config);
    printed.get(path).map(str::to_string).ok_or_else(|| unknown(path, &printed))
}

/// A field that differs between two configs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    pub path: String,
    pub from: String,
    pub to: String,
}

/// The fields that differ, in the order of the config. Lists, tuples and enums are compared as a whole.
pub fn diff<T: Serialize>(a: &T, b: &T) -> Vec<Change> {
    let (a, b) = (Printed::new(a), Printed::new(b));
    let mut rows = Vec::<Change>::new();
    for entry in a.scan.entries.iter().filter(|e| e.plain) {
        let below = |change: &Change| entry.path.starts_with(&format!("{}.", change.path));
        if (entry.branch && b.is_branch(&entry.path)) || rows.last().is_some_and(below) {
            continue;
        }
        let (old, new) = (a.value(entry), b.get(&entry.path).unwrap_or_default());
        if old != new {
            rows.push(Change { path: entry.path.clone(), from: old.into(), to: new.into() });
        }
    }
    rows
}

/// A copy of the config with one field set from RON text: `set(&config, "train.lr", "1e-3")`. Text needs no quotes. A
/// struct that is set as a whole takes its own defaults for the fields left out.
///
/// Errors: the field's path and a hint, as for a file.
pub fn set<T: DeserializeOwned + Serialize + Default>(
    config: &T,
    path: &str,
    value: &str,
) -> Result<T> {
    let printed = Printed::new(config);
    let entry = printed.scan.get(path).ok_or_else(|| unknown(path, &printed))?;
    let quoted = ron::to_string(value).unwrap_or_default();
    let first = spliced(&printed, entry, value);
    if value.trim_start().starts_with('"') {
        return first;
    }
    first.or_else(|error| spliced(&printed, entry, &quoted).map_err(|_| error))
}

fn spliced<T: DeserializeOwned + Serialize + Default>(
    printed: &Printed,
    entry: &Entry,
    value: &str,
) -> Result<T> {
    let here = format!("`{}`", entry.path);
    if let Some(slip) = Scan::new(value).fatal {
        return Err(vec![Fault::new(slip.what, here, slip.hint)]);
    }
    let text = printed.with(entry, value);
    let attempt = Attempt::<T>::new(&text);
    match attempt.value {
        Some(value) if attempt.found.is_empty() => Ok(value),
        _ => {
            let place =
                |path: &str| if path.is_empty() { here.clone() } else { format!("`{path}`") };
            let fault = |f: PlacedFault| Fault::new(f.what, place(&f.path), f.hint);
            Err(attempt.found.into_iter().map(fault).collect())
        }
    }
}

/// The config as RON in which `value` stands in the field at `path`, whether or not it can be read there.
///
/// Errors: no such field.
pub fn text_with<T: Serialize>(config: &T, path: &str, value: &str) -> Result<String> {
    let printed = Printed::new(config);
    let entry = printed.scan.get(path).ok_or_else(|| unknown(path, &printed))?;
    Ok(printed.with(entry, value))
}

fn unknown(path: &str, printed: &Printed) -> Vec<Fault> {
    let mut around = path.match_indices('.').filter_map(|(at, _)| path.get(..at));
    let none = around.rfind(|p| printed.get(p) == Some("None"));
    let hint = match none {
        Some(parent) => format!("`{parent}` is `None`: set it as a whole, `(field: value, ..)`"),
        None => path_hint(path, &printed.scan),
    };
    vec![Fault::new(format!("unknown field `{path}`"), "", hint)]
}

/// The config as RON with only the fields that differ from the defaults. Reading it back gives exactly the same config.
pub fn minimal_ron<T: DeserializeOwned + Serialize + Default>(config: &T) -> String {
    let printed = Printed::new(config);
    let text = branch::<T>(&printed, "").unwrap_or_else(|| printed.text.clone());
    match parse::<T>(&text, "") {
        Ok((value, _)) if to_ron(&value) == printed.text => text,
        _ => printed.text,
    }
}

/// `(field: value, ..)` of the struct at `path`, without the fields that equal the struct's own defaults. Those may
/// differ from the defaults that the enclosing struct gives it. None if the struct cannot be read from `()`.
fn branch<T: DeserializeOwned + Serialize + Default>(
    printed: &Printed,
    path: &str,
) -> Option<String> {
    let names: Vec<&str> = path.split('.').filter(|n| !n.is_empty()).collect();
    let empty =
        names.iter().rev().fold("()".to_string(), |inner, name| format!("({name}: {inner})"));
    let defaults = Printed::new(&parse::<T>(&empty, "").ok()?.0);
    let indent = "    ".repeat(names.len());
    let mut lines = String::new();
    for entry in printed.scan.entries.iter().filter(|e| e.plain) {
        let (parent, name) = entry.path.rsplit_once('.').unwrap_or(("", &entry.path));
        let value = printed.value(entry);
        if parent != path || defaults.get(&entry.path) == Some(value) {
            continue;
        }
        let inner = if entry.branch { branch::<T>(printed, &entry.path) } else { None };
        let value = inner.as_deref().unwrap_or(value);
        lines += &format!("{indent}    {name}: {value},\n");
    }
    Some(if lines.is_empty() { "()".into() } else { format!("(\n{lines}{indent})") })
}
