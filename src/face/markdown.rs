//! Renders the CommonMark of lessons for the terminal: headings, emphasis, code, lists, tables, fenced blocks.

use super::terminal::Terminal;

/// Maximum line width in characters.
const WIDTH: usize = 88;

const BOLD: &str = "1";
const HEADING: &str = "1;36";
const CODE: &str = "33";

/// Renders a text for this terminal. Without colours, the marks of headings and code are kept.
pub fn render(text: &str, terminal: &Terminal) -> String {
    let (mut lines, mut paragraph, mut fenced) = (Vec::new(), String::new(), false);
    for row in text.lines() {
        let fence = row.starts_with("```");
        let verbatim = fence || fenced || row.trim().is_empty() || row.starts_with(['#', '|', '>']);
        if verbatim || starts_item(row) {
            fill(&mut lines, &mut paragraph, terminal);
        }
        match row {
            _ if fence => fenced = !fenced,
            _ if fenced => lines.push(terminal.paint(CODE, &format!("    {row}"))),
            _ if row.starts_with('#') && terminal.color => {
                lines.push(terminal.paint(HEADING, row.trim_start_matches('#').trim()));
            }
            _ if verbatim => lines.push(spans(row, terminal)),
            _ if paragraph.is_empty() => paragraph = row.trim_end().into(),
            _ => paragraph = format!("{paragraph} {}", row.trim()),
        }
    }
    fill(&mut lines, &mut paragraph, terminal);
    lines.join("\n")
}

/// Whether a row starts a list item: `- item`, `* item` or `1. item`, indented or not.
fn starts_item(row: &str) -> bool {
    item_width(row) > 0
}

/// Width of the marker and indentation of a list item. 0 for other lines.
fn item_width(row: &str) -> usize {
    let text = row.trim_start();
    let indent = row.len() - text.len();
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    match text {
        _ if text.starts_with("- ") || text.starts_with("* ") => indent + 2,
        _ if digits > 0 && text[digits..].starts_with(". ") => indent + digits + 2,
        _ => 0,
    }
}

/// Wraps a paragraph. Further lines of a list item are indented to its text.
fn fill(lines: &mut Vec<String>, paragraph: &mut String, terminal: &Terminal) {
    let text = std::mem::take(paragraph);
    if text.is_empty() {
        return;
    }
    let under = " ".repeat(item_width(&text));
    let start = &text[..text.len() - text.trim_start().len()];
    let mut line = start.to_string();
    let mut filled = Vec::new();
    for word in text.split_whitespace() {
        let empty = line.trim().is_empty();
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            filled.push(std::mem::replace(&mut line, format!("{under}{word}")));
        } else {
            line += if empty { "" } else { " " };
            line += word;
        }
    }
    filled.push(line);
    // Emphasis may span lines, so spans are coloured in the whole paragraph.
    lines.push(spans(&filled.join("\n"), terminal));
}

/// Colours `code`, **bold** and *emphasis*.
fn spans(text: &str, terminal: &Terminal) -> String {
    if !terminal.color {
        return text.into();
    }
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(['`', '*']) {
        let (before, marked) = rest.split_at(at);
        out += before;
        let mark = if marked.starts_with("**") { "**" } else { &marked[..1] };
        let inside = &marked[mark.len()..];
        let end = inside.find(mark).filter(|&end| end > 0 && !inside.starts_with(' '));
        match end {
            Some(end) => {
                out += &terminal.paint(if mark == "`" { CODE } else { BOLD }, &inside[..end]);
                rest = &inside[end + mark.len()..];
            }
            None => {
                out += mark;
                rest = inside;
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        render(text, &Terminal::plain())
    }

    fn colored(text: &str) -> String {
        let mut terminal = Terminal::plain();
        terminal.color = true;
        render(text, &terminal)
    }

    #[test]
    fn paragraphs_are_filled_and_lists_hang() {
        let long = "word ".repeat(30);
        assert_eq!(plain(&long).lines().count(), 2);
        let list = plain(&format!("- {long}\n- two\n\nEnd\nhere."));
        let lines: Vec<&str> = list.lines().collect();
        assert!(lines[0].starts_with("- word") && lines[1].starts_with("  word"), "{list}");
        assert_eq!(lines[2..], ["- two", "", "End here."]);
    }

    #[test]
    fn fenced_lines_stay_as_they_are() {
        assert_eq!(plain("a\n```sh\ntwo   blanks\n# x\n```\nb"), "a\n    two   blanks\n    # x\nb");
    }

    #[test]
    fn marks_become_colours() {
        assert_eq!(colored("## Head"), "\x1b[1;36mHead\x1b[0m");
        assert_eq!(colored("a `b*c` **d** 2 * 3"), "a \x1b[33mb*c\x1b[0m \x1b[1md\x1b[0m 2 * 3");
    }
}
