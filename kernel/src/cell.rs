//! A cell as it is typed: Rust, commands behind `%`, or a config behind `%%ron`.

/// One thing to do, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// Rust; empty lines in front keep the line numbers of the cell.
    Rust(String),
    /// A command without its `%`.
    Command(String),
    /// A whole config, and the file it is to be kept in, if any.
    Config { text: String, file: String },
    /// `%%` and something unknown.
    Unknown(String),
}

/// Take a cell apart. A command is a line that begins with `%` and a letter, without anything in front.
pub fn parts(code: &str) -> Vec<Part> {
    let code = code.trim_start_matches('\u{feff}');
    let first = code.trim_start().lines().next().unwrap_or_default().trim();
    if let Some(magic) = first.strip_prefix("%%") {
        let (name, file) = magic.split_once(char::is_whitespace).unwrap_or((magic, ""));
        let text = code.trim_start().split_once('\n').map_or("", |(_, rest)| rest);
        return vec![match name {
            "ron" => Part::Config { text: text.into(), file: file.trim().into() },
            _ => Part::Unknown(first.into()),
        }];
    }
    let (mut parts, mut rust) = (Vec::new(), String::new());
    for (i, line) in code.lines().enumerate() {
        match command(line) {
            Some(command) => {
                push(&mut parts, &mut rust);
                parts.push(Part::Command(command.into()));
                rust = "\n".repeat(i + 1);
            }
            None => rust += &format!("{line}\n"),
        }
    }
    push(&mut parts, &mut rust);
    parts
}

/// The command of a line, if it is one.
pub fn command(line: &str) -> Option<&str> {
    let rest = line.strip_prefix('%')?;
    rest.starts_with(|c: char| c.is_ascii_alphabetic()).then(|| rest.trim_end())
}

fn push(parts: &mut Vec<Part>, rust: &mut String) {
    if !rust.trim().is_empty() {
        parts.push(Part::Rust(std::mem::take(rust)));
    }
    rust.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_numbers() {
        let found = parts("%show 0\nlet a = 7\n  % 2;\n%noise 0.5\na");
        let rust = |text: &str| Part::Rust(text.into());
        let command = |text: &str| Part::Command(text.into());
        let all = [
            command("show 0"),
            rust("\nlet a = 7\n  % 2;\n"),
            command("noise 0.5"),
            rust("\n\n\n\na\n"),
        ];
        assert_eq!(found, all);
        assert_eq!(parts(" \n"), []);
    }

    #[test]
    fn a_config_is_a_cell_of_its_own() {
        let config = Part::Config { text: "(seed: 1)".into(), file: "a.ron".into() };
        assert_eq!(parts("%%ron a.ron\n(seed: 1)"), [config]);
        assert_eq!(parts("%%bogus"), [Part::Unknown("%%bogus".into())]);
    }
}
