//! Conditions that decide whether an exercise is solved. Each is one line of a `check` block.
//!
//! ```text
//! noised_share in 0.45..0.55
//! caption strawberry
//! loss in ..3.0      # quick: loss in ..9
//! ```
//!
//! The first word names a measure (see `measures`). Its argument follows, then the range. Without a range the answer
//! has to be yes. The condition for quick sessions follows `# quick:`.

use super::measures::{MEASURES, Measure, Unit};
use crate::error::{Error, Fault};
use crate::lab::view::View;
use crate::lab::{Lab, quick};

/// One line of a check, for normal and for quick sessions.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    long: Wanted,
    short: Wanted,
}

#[derive(Clone, Debug, PartialEq)]
struct Wanted {
    measure: &'static Measure,
    argument: String,
    /// Bounds, both inclusive.
    low: f64,
    high: f64,
}

/// The result of one condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub holds: bool,
    /// `49.6 % of the tokens are noise (wanted: 45 % to 55 %)`.
    pub text: String,
}

impl Condition {
    /// Parses one line of a check.
    pub fn parse(line: &str) -> std::result::Result<Self, Fault> {
        let wanted = |text: &str| Wanted::parse(text.trim());
        Ok(Self { long: wanted(quick::long(line))?, short: wanted(quick::short(line))? })
    }

    /// Evaluates the condition without changing the session. A missing value counts as not solved.
    pub fn judge(&self, lab: &mut Lab) -> Finding {
        let wanted = if lab.is_quick() { &self.short } else { &self.long };
        match (wanted.measure.take)(lab, &wanted.argument) {
            Ok(value) => wanted.judge(value),
            Err(error) => Finding { holds: false, text: first_fault(&error) },
        }
    }
}

fn first_fault(error: &Error) -> String {
    let Some(fault) = error.faults().first() else { return String::new() };
    if fault.hint.is_empty() {
        fault.what.clone()
    } else {
        format!("{}: {}", fault.what, fault.hint)
    }
}

impl Wanted {
    fn parse(text: &str) -> std::result::Result<Self, Fault> {
        let (asked, range) = match text.rsplit_once(" in ") {
            Some((asked, range)) => (asked.trim(), Some(range.trim())),
            None => (text, None),
        };
        let (name, argument) = asked.split_once(' ').unwrap_or((asked, ""));
        let known = || MEASURES.iter().map(|m| m.name).collect::<Vec<_>>().join(", ");
        let measure = MEASURES.iter().find(|m| m.name == name).ok_or_else(|| {
            Fault::new(format!("unknown measure `{name}`"), "", format!("known: {}", known()))
        })?;
        let argument = argument.trim().to_string();
        if argument.is_empty() != measure.argument.is_empty() {
            let hint = format!("{} {} in LOW..HIGH", measure.name, measure.argument);
            return Err(Fault::new(format!("`{asked}` does not fit its measure"), "", hint));
        }
        let (low, high) = match (range, measure.unit) {
            (None, Unit::Yes) => (1.0, 1.0),
            (Some(range), unit) if unit != Unit::Yes => ends(range)?,
            _ => {
                let what =
                    format!("`{name}` with a range it does not have, or without one that it needs");
                return Err(Fault::new(
                    what,
                    "",
                    "a yes has no range; a number has `in LOW..HIGH`",
                ));
            }
        };
        Ok(Self { measure, argument, low, high })
    }

    fn judge(&self, value: f64) -> Finding {
        let holds = (self.low..=self.high).contains(&value);
        let says = self.measure.says.replace("{}", &self.argument);
        let text = match self.measure.unit {
            Unit::Yes if holds => says,
            Unit::Yes => format!("not so: {says}"),
            unit => format!("{}: {} (wanted: {})", says, unit.show(value), self.range()),
        };
        Finding { holds, text }
    }

    fn range(&self) -> String {
        let show = |y: f64| self.measure.unit.show(y);
        match (self.low.is_finite(), self.high.is_finite()) {
            (true, true) if self.low == self.high => show(self.low),
            (true, true) => format!("{} to {}", show(self.low), show(self.high)),
            (true, false) => format!("{} or more", show(self.low)),
            (false, true) => format!("{} or less", show(self.high)),
            (false, false) => "any".into(),
        }
    }
}

/// Parses a range: `0.45..0.55`, `50..`, `..3` or `7`.
fn ends(range: &str) -> std::result::Result<(f64, f64), Fault> {
    let (low, high) = range.split_once("..").unwrap_or((range, range));
    let number = |text: &str, open: f64| match text.trim() {
        "" => Some(open),
        text => text.parse::<f64>().ok().filter(|y| y.is_finite()),
    };
    let both = number(low, f64::NEG_INFINITY).zip(number(high, f64::INFINITY));
    both.filter(|(low, high)| low <= high && (low.is_finite() || high.is_finite())).ok_or_else(
        || Fault::new(format!("`{range}` is no range"), "", "0.45..0.55, 50.., ..3 or 7"),
    )
}

/// Evaluates all conditions of an exercise. Returns whether it is solved, and a view of the results.
pub fn look(conditions: &[Condition], lab: &mut Lab) -> (bool, View) {
    let findings: Vec<Finding> = conditions.iter().map(|c| c.judge(lab)).collect();
    let solved = findings.iter().all(|f| f.holds);
    let line = |f: &Finding| format!("{} {}", if f.holds { "✓" } else { "✗" }, f.text);
    let lines = findings.iter().map(line).collect::<Vec<_>>().join("\n");
    (solved, View::new().text(lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood_or_refused_with_a_hint() {
        let wanted = Condition::parse("noised_share in 0.45..0.55").expect("a condition").long;
        assert_eq!((wanted.low, wanted.high), (0.45, 0.55));
        assert!(
            wanted.judge(0.5).holds && !wanted.judge(0.6).holds && !wanted.judge(f64::NAN).holds
        );
        assert!(wanted.judge(0.6).text.ends_with("60.0 % (wanted: 45.0 % to 55.0 %)"));
        let quick = Condition::parse("loss in ..3   # quick: loss in ..9").expect("a condition");
        assert_eq!((quick.long.high, quick.short.high), (3.0, 9.0));
        for bad in [
            "",
            "bogus",
            "noised_share",
            "noised_share in x",
            "noised_share in 2..1",
            "noised_share in ..",
            "noised_share now in 1..2",
            "caption",
            "caption apple in 1..2",
        ] {
            let fault = Condition::parse(bad).expect_err(bad);
            assert!(!fault.what.is_empty() && !fault.hint.is_empty(), "{bad}");
        }
    }
}
