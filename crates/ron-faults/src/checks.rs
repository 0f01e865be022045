//! Faults of well-formed values, collected under the paths of their fields.

use crate::Fault;
use std::fmt::Display;

/// Collects faults. Each fault's place is the path of its field.
#[derive(Debug, Default)]
pub struct Checks(Vec<Fault>);

impl Checks {
    /// Adds a fault of `field` if `fine` is false.
    pub fn unless(&mut self, fine: bool, field: &str, what: impl Into<String>, hint: &str) {
        if !fine {
            self.0.push(Fault::new(what, field, hint));
        }
    }

    /// Checks that a whole number is from `low` to `high`.
    pub fn within(&mut self, field: &str, value: i64, low: i64, high: i64) {
        let hint =
            if high == i64::MAX { format!("at least {low}") } else { format!("{low} to {high}") };
        self.unless((low..=high).contains(&value), field, out_of_range(value), &hint);
    }

    /// Checks that a count is from `low` to `high`. A count too large for an `i64` is out of range.
    pub fn count(&mut self, field: &str, value: u64, low: i64, high: i64) {
        match i64::try_from(value) {
            Ok(value) => self.within(field, value, low, high),
            Err(_) => self.unless(false, field, out_of_range(value), &format!("{low} to {high}")),
        }
    }

    /// Checks that a number is from `low` to `high`. NaN is out of range.
    pub fn number(&mut self, field: &str, value: f64, low: f64, high: f64) {
        let hint = format!("{} to {}", plain(low), plain(high));
        self.unless((low..=high).contains(&value), field, out_of_range(plain(value)), &hint);
    }

    /// Checks that a number is from 0 to 1.
    pub fn share(&mut self, field: &str, value: f64) {
        let what = format!("{value} is not a share");
        self.unless((0.0..=1.0).contains(&value), field, what, "0 to 1");
    }

    /// Checks that a number is above 0 and finite.
    pub fn positive(&mut self, field: &str, value: f64) {
        let what = format!("{value} is not positive");
        self.unless(value > 0.0 && value.is_finite(), field, what, "a number above 0");
    }

    /// Adds the faults of one part of the config, whose paths are relative to `field`.
    pub fn part(&mut self, field: &str, faults: Vec<Fault>) {
        let placed = faults
            .into_iter()
            .map(|fault| Fault { place: format!("{field}.{}", fault.place), ..fault });
        self.0.extend(placed);
    }

    /// All collected faults, in order.
    pub fn faults(self) -> Vec<Fault> {
        self.0
    }
}

/// A number with few digits: very large and very small ones with their power of ten.
fn plain(value: f64) -> String {
    match value.abs() {
        size if size != 0.0 && !(1e-4..1e6).contains(&size) => format!("{value:e}"),
        _ => value.to_string(),
    }
}

fn out_of_range(value: impl Display) -> String {
    format!("{value} is out of range")
}
