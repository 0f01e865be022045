//! Brace patterns of shells and WebDataset: `x-{000..127}.tar`, `{a,b}/{0..9}.tar`, also nested.

use crate::{Error, Result};

/// Maximum number of names of one pattern.
const MOST: usize = 10_000_000;

/// Expands a pattern into its names, in order. Braces without a comma or `..` inside are kept as they are.
///
/// Errors: braces that are not closed, or more than ten million names.
pub fn expand(pattern: &str) -> Result<Vec<String>> {
    let place = || pattern.to_string();
    let names = names(pattern)
        .ok_or_else(|| Error::data("a brace is not closed", place(), "such as x-{000..127}.tar"))?;
    match names.len() > MOST {
        true => Err(Error::data(format!("more than {MOST} shards"), place(), "")),
        false => Ok(names),
    }
}

/// The names of a pattern. None if a brace is not closed. Stops soon after `MOST` names.
fn names(pattern: &str) -> Option<Vec<String>> {
    let Some(open) = pattern.find('{') else { return Some(vec![pattern.into()]) };
    let (before, rest) = (&pattern[..open], &pattern[open + 1..]);
    let close = closing(rest)?;
    let (inside, after) = (&rest[..close], names(&rest[close + 1..])?);
    let mut found = Vec::new();
    for middle in choices(inside)? {
        found.extend(after.iter().map(|end| format!("{before}{middle}{end}")));
        if found.len() > MOST {
            break;
        }
    }
    Some(found)
}

/// Position of the brace that closes the one opened before `text`.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The alternatives inside a pair of braces.
fn choices(inside: &str) -> Option<Vec<String>> {
    if let Some(numbers) = range(inside) {
        return Some(numbers);
    }
    let parts = split(inside);
    let mut found = Vec::new();
    for part in &parts {
        found.extend(names(part)?);
    }
    Some(if parts.len() > 1 { found } else { found.iter().map(|x| format!("{{{x}}}")).collect() })
}

/// A numeric range: `008..010` -> 008, 009, 010. Descending ranges work too.
fn range(inside: &str) -> Option<Vec<String>> {
    let (first, last) = inside.split_once("..")?;
    let number = |text: &str| {
        text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<usize>().ok()).flatten()
    };
    let (a, b) = (number(first)?, number(last)?);
    let padded = |text: &str| text.len() > 1 && text.starts_with('0');
    let width = if padded(first) || padded(last) { first.len().max(last.len()) } else { 0 };
    let name = |n: usize| format!("{n:0width$}");
    Some(match a <= b {
        true => (a..=b).take(MOST + 1).map(name).collect(),
        false => (b..=a).rev().take(MOST + 1).map(name).collect(),
    })
}

/// Splits at the commas that are not inside inner braces.
pub fn split(inside: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0usize, 0);
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&inside[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inside[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stand_for_names() {
        let expanded = |pattern| expand(pattern).expect("closed").join(" ");
        assert_eq!(expanded("x.tar"), "x.tar");
        assert_eq!(expanded("x-{008..011}.tar"), "x-008.tar x-009.tar x-010.tar x-011.tar");
        assert_eq!(expanded("{9..11}"), "9 10 11");
        assert_eq!(expanded("{2..0}"), "2 1 0");
        assert_eq!(expanded("{a,b}-{0..1}"), "a-0 a-1 b-0 b-1");
        assert_eq!(expanded("{0{1,2},3,{8..9}x}"), "01 02 3 8x 9x");
        assert_eq!(expanded("{a,}b"), "ab b");
        assert_eq!(expanded("awk '{print}' {1,2}"), "awk '{print}' 1 awk '{print}' 2");
        assert_eq!(expanded("{} ü{é,è}}"), "{} üé} {} üè}");
        assert_eq!(expand("{00000..60207}").expect("closed").len(), 60_208);
    }

    #[test]
    fn what_is_not_closed_or_too_much_is_refused() {
        for pattern in ["{", "x-{0..9", "{a,{b}", "{0..99999999999}"] {
            assert!(expand(pattern).is_err(), "{pattern}");
        }
    }
}
