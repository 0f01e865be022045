//! Short forms of long-running lines: `train 1000  # quick: train 20`.
//!
//! With them, lessons and notebooks run from top to bottom in seconds, for tests and for a quick look.

use super::Lab;
use super::view::View;

/// Separates a line from its short form.
const MARK: &str = "# quick:";

/// Whether `PAELLA_QUICK` is set to something other than 0.
pub fn asked() -> bool {
    std::env::var("PAELLA_QUICK").is_ok_and(|value| !value.is_empty() && value != "0")
}

/// The short form of a line, or the line itself if it has none.
pub fn short(line: &str) -> &str {
    line.split_once(MARK).map_or(line, |(_, short)| short.trim())
}

/// The line without its short form.
pub fn long(line: &str) -> &str {
    line.split_once(MARK).map_or(line, |(long, _)| long.trim_end())
}

impl Lab {
    /// Turns short forms on or off, and reports the setting.
    pub fn quick(&mut self, quick: Option<bool>) -> View {
        self.quick = quick.unwrap_or(self.quick);
        View::new().text(match self.quick {
            true => "quick: lines with a short form behind `# quick:` run that one",
            false => "not quick: every line runs in full",
        })
    }

    /// Whether short forms are on.
    pub fn is_quick(&self) -> bool {
        self.quick
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_a_long_and_a_short_form() {
        let line = "train 1000   # quick: train 20";
        assert_eq!((long(line), short(line)), ("train 1000", "train 20"));
        assert_eq!((long("noise 0.5"), short("noise 0.5")), ("noise 0.5", "noise 0.5"));
    }
}
