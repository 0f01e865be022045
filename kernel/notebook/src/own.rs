//! Commands of the kernel itself, which needs no session for them: their help. The kernel runs them, see `cell.rs` there.

use paella::lab::args::parse;
use paella::lab::view::View;

/// Name, what it does, and its help.
const OWN: [(&str, &str, &str); 2] = [
    (
        "time",
        "how long a line or a cell takes",
        "time CODE | time %COMMAND | %%time\n\nRuns the rest of the line, Rust or a command, and says how long it took, \
         and how much of that went into compiling. `%%time` in the first line of a cell does so for the whole cell.\n\nexample: %time lab.encode()",
    ),
    (
        "who",
        "the variables of the cells, with their types",
        "who\n\nLists the variables that cells have left, with their types.\n\nexample: %who",
    ),
];

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    OWN.iter().map(|(name, ..)| *name)
}

/// Whether the name of a command follows this beginning of a line.
pub(crate) fn names_follow(before: &str) -> bool {
    matches!(before.trim(), "" | "help")
}

pub(crate) fn help(name: &str) -> Option<&'static str> {
    OWN.iter().find(|(known, ..)| *known == name).map(|(_, _, help)| *help)
}

/// One line for the list of all commands.
pub(crate) fn listed() -> String {
    let each = OWN.iter().map(|(name, what, _)| format!("`{name}`: {what}"));
    format!("of the kernel itself: {}", each.collect::<Vec<_>>().join("; "))
}

/// Refuses words such as `--count`: a setting is written `count=2`, and a text would swallow them.
///
/// Errors: there is such a word; the hint is the line as it is meant.
pub(crate) fn no_flags(line: &str) -> paella::Result<()> {
    let Some((name, args)) = parse(line)? else { return Ok(()) };
    args.no_flags(&format!("%{name}"))
}

/// The answer to a line that asks about one of these; `None` if it does not.
///
/// Errors: the line is one of these without what it needs.
pub(crate) fn answer(line: &str) -> paella::Result<Option<View>> {
    let mut words = line.split_whitespace();
    let asked = match (words.next(), words.next()) {
        (Some("help"), Some(name)) => help(name).map(String::from),
        (Some("explain"), Some(name)) => help(name).map(|_| {
            format!(
                "`{name}` is a command of the kernel: no line of the method is behind it; \
                 `%help {name}` tells more"
            )
        }),
        (Some(name), _) if help(name).is_some() => {
            let hint =
                "`%time lab.encode()`, `%time %train 3`, or `%%time` in the first line of a cell";
            return Err(paella::Error::command(
                "nothing to do with it",
                format!("`%{line}`"),
                hint,
            ));
        }
        _ => None,
    };
    Ok(asked.map(|text| View::new().text(text)))
}
