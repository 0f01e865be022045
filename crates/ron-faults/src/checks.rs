//! Faults of values that are well formed, collected under the paths of their fields.

use crate::Fault;
use std::fmt::Display;

/// Collects faults; the place of each is the path of its field.
#[derive(Debug, Default)]
pub struct Checks(Vec<Fault>);

impl Checks {
    /// A fault of `field`, unless all is `fine`.
    pub fn unless(&mut self, fine: bool, field: &str, what: impl Into<String>, hint: &str) {
        if !fine {
            self.0.push(Fault::new(what, field, hint));
        }
    }

    /// A whole number from `low` to `high`.
    pub fn within(&mut self, field: &str, value: i64, low: i64, high: i64) {
        let hint =
            if high == i64::MAX { format!("at least {low}") } else { format!("{low} to {high}") };
        self.unless((low..=high).contains(&value), field, out_of_range(value), &hint);
    }

    /// A count from `low` to `high`; too large for an `i64` counts as too large.
    pub fn count(&mut self, field: &str, value: u64, low: i64, high: i64) {
        match i64::try_from(value) {
            Ok(value) => self.within(field, value, low, high),
            Err(_) => self.unless(false, field, out_of_range(value), &format!("{low} to {high}")),
        }
    }

    /// A number from `low` to `high`; NaN is none.
    pub fn number(&mut self, field: &str, value: f64, low: f64, high: f64) {
        let hint = format!("{low} to {high}");
        self.unless((low..=high).contains(&value), field, out_of_range(value), &hint);
    }

    /// 0 to 1.
    pub fn share(&mut self, field: &str, value: f64) {
        let what = format!("{value} is not a share");
        self.unless((0.0..=1.0).contains(&value), field, what, "0 to 1");
    }

    /// Above 0, and not infinite.
    pub fn positive(&mut self, field: &str, value: f64) {
        let what = format!("{value} is not positive");
        self.unless(value > 0.0 && value.is_finite(), field, what, "a number above 0");
    }

    /// Faults of a part of the config, which know their paths within it.
    pub fn part(&mut self, field: &str, faults: Vec<Fault>) {
        let placed = faults
            .into_iter()
            .map(|fault| Fault { place: format!("{field}.{}", fault.place), ..fault });
        self.0.extend(placed);
    }

    /// All that were collected, in order.
    pub fn faults(self) -> Vec<Fault> {
        self.0
    }
}

fn out_of_range(value: impl Display) -> String {
    format!("{value} is out of range")
}
