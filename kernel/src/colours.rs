//! Colours of errors: the eight that front ends choose themselves, so that they can be read on light and dark pages.

/// Colours of the places in an error, in turn. Yellow, cyan, black and white are hard to read on one page or the other.
const PLACES: [u8; 4] = [31, 34, 35, 32];

/// Numbers of ariadne's greys, which fade on one page or the other: they become the page's own colour.
const GREYS: std::ops::RangeInclusive<u8> = 232..=255;

/// The same text with each of its 256 colours replaced, and each colour named once for all letters that have it.
pub fn themed(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut out = String::from(parts.next().unwrap_or_default());
    let (mut known, mut now, mut wanted) = (Vec::new(), None, None);
    for part in parts {
        let Some((code, letters)) = part.split_once('m') else { continue };
        wanted = match code.strip_prefix("38;5;").map(str::parse::<u8>) {
            Some(Ok(number)) if GREYS.contains(&number) => None,
            Some(Ok(number)) => Some(place(&mut known, number)),
            _ => code.parse().ok().filter(|code| (31..38).contains(code)),
        };
        // blanks have no colour to be seen
        if wanted != now && !letters.trim_matches(' ').is_empty() {
            out += &wanted.map_or("\x1b[0m".to_string(), |code: u8| format!("\x1b[0;{code}m"));
            now = wanted;
        }
        out += letters;
    }
    if now.is_some() && wanted.is_none() {
        out += "\x1b[0m";
    }
    out
}

/// The colour of a place, which ariadne gave this number.
fn place(known: &mut Vec<u8>, number: u8) -> u8 {
    let at = known.iter().position(|old| *old == number).unwrap_or_else(|| {
        known.push(number);
        known.len() - 1
    });
    PLACES[at % PLACES.len()]
}

#[cfg(test)]
mod tests {
    use super::themed;

    #[test]
    fn only_colours_of_the_page_are_left() {
        let grey = |text: &str| format!("\x1b[38;5;249m{text}\x1b[0m");
        let text = format!(
            "\x1b[31mError:\x1b[0m no\n{}{}\x1b[38;5;54ma\x1b[0m\x1b[38;5;54mb\x1b[0m {}\x1b[38;5;100mc\x1b[0m\nend",
            grey("l"),
            grey("e"),
            grey("=")
        );
        let expected = "\x1b[0;31mError:\x1b[0m no\nle\x1b[0;31mab \x1b[0m=\x1b[0;34mc\x1b[0m\nend";
        assert_eq!(themed(&text), expected);
        assert_eq!(themed("plain"), "plain");
    }
}
