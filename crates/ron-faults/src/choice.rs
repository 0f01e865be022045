//! How the values of an enum are written. `ron` does not say it, so it is asked to read values that do not exist.

use std::ops::Range;

use ron::error::Error as RonError;
use serde::de::DeserializeOwned;

use super::print::options;

/// A name that no config has.
const NONE_SUCH: &str = "NoSuchName";

/// Whether the fault may come from a value that is written unlike its enum's.
pub(super) fn concerns_form(code: &RonError) -> bool {
    use RonError as E;
    matches!(
        code,
        E::ExpectedIdentifier
            | E::ExpectedStructLike
            | E::ExpectedStructLikeEnd
            | E::ExpectedDifferentLength { .. }
            | E::ExpectedComma
            | E::ExpectedMapColon
            | E::InvalidIdentifier(_)
            | E::SuggestRawIdentifier(_)
    )
}

/// What is wrong with the value at `place` of the text, and how it is written. None if it is no enum's, or in quotes.
pub(super) fn explain<T: DeserializeOwned>(
    text: &str,
    place: &Range<usize>,
    value: &str,
) -> Option<(String, String)> {
    let ask = |value: &str| {
        let text = [text.get(..place.start)?, value, text.get(place.end..)?].concat();
        options().from_str::<T>(&text).err().map(|error| error.code)
    };
    let Some(RonError::NoSuchEnumVariant { expected: names, found, .. }) = ask(NONE_SUCH) else {
        return None;
    };
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let name: String = word(value);
    if found != NONE_SUCH
        || value.starts_with('"') && names.contains(&&*word(value.trim_matches('"')))
    {
        return None;
    }
    let form = |name: &str| match ask(&format!("{name}({NONE_SUCH}: 0)")) {
        Some(RonError::NoSuchStructField { expected, found, .. }) if found == NONE_SUCH => {
            format!("{name}({}: ..)", expected.join(": .., "))
        }
        _ if matches!(ask(name), Some(RonError::ExpectedStructLike)) => format!("{name}(..)"),
        _ => name.to_string(),
    };
    let shown = super::explain::short(value);
    if !names.contains(&name.as_str()) {
        let all: Vec<String> = names.iter().map(|name| form(name)).collect();
        return Some((
            format!("`{shown}` is none of its values"),
            format!("one of: {}", all.join(", ")),
        ));
    }
    let right = form(&name);
    let what = match right == name {
        true => format!("`{name}` takes no values, got `{shown}`"),
        false if value == name => format!("`{name}` needs its values"),
        false => format!("the values of `{name}` are written otherwise, got `{shown}`"),
    };
    Some((what, format!("write `{right}`")))
}
