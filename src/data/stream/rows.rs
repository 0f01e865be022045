//! Which lane yields which row of a global batch, for any number of ranks.
//!
//! A batch of B rows takes `per` = B / lanes (at least 1) rows from one lane. Row i of the batch that begins at row
//! number n of the run comes from lane (n / per + i / per) mod lanes. Either B is a multiple of `lanes` (then every
//! lane yields `per` rows of every batch), or `lanes` is a multiple of B (then batches take turns). Ranks hold rows in
//! blocks, so a lane belongs to one rank if no block boundary cuts through its rows.

use std::collections::BTreeSet;

use crate::error::{Error, Result, counted};

/// The rows of a global batch that one rank processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    pub first: usize,
    pub count: usize,
    /// Rows of all ranks together, B.
    pub of: usize,
}

/// The lane of each row of one rank.
#[derive(Clone, Copy, Debug)]
pub struct RowSchedule {
    rows: Rows,
    lanes: usize,
    /// Row number of the run at which the first batch begins.
    start: u64,
}

impl RowSchedule {
    /// A schedule for `lanes` lanes. `start` is the row number of the run at which it begins.
    ///
    /// Errors: `lanes` fits neither the batch nor the number of ranks; the hint names numbers that fit.
    pub fn new(rows: Rows, lanes: usize, start: u64) -> Result<Self> {
        let ranks = rows.of / rows.count.max(1);
        if fits(lanes, rows.of, ranks) {
            return Ok(Self { rows, lanes, start });
        }
        let what = format!(
            "{} fit no global batch of {} over {}",
            counted(lanes, "lane"),
            rows.of,
            counted(ranks, "rank")
        );
        let hint = numbers_that_fit(lanes, rows.of, ranks);
        Err(Error::data(what, "`data.stream.lanes`", hint))
    }

    /// The lane of the rank's `k`-th row from the start.
    pub fn lane(&self, k: u64) -> usize {
        let per = (self.rows.of / self.lanes).max(1) as u64;
        let (batch, row) = (k / self.rows.count as u64, k % self.rows.count as u64);
        let n = self.start + batch * self.rows.of as u64;
        ((n / per + (self.rows.first as u64 + row) / per) % self.lanes as u64) as usize
    }

    /// All lanes of the rank.
    pub fn own(&self) -> BTreeSet<usize> {
        let batches = (self.lanes / self.rows.of).max(1);
        (0..(batches * self.rows.count) as u64).map(|k| self.lane(k)).collect()
    }
}

fn fits(lanes: usize, batch: usize, ranks: usize) -> bool {
    lanes > 0
        && batch > 0
        && (lanes.is_multiple_of(batch)
            || (batch.is_multiple_of(lanes) && lanes.is_multiple_of(ranks.max(1))))
}

/// The nearest numbers of lanes below and above that fit.
fn numbers_that_fit(lanes: usize, batch: usize, ranks: usize) -> String {
    let fit = |n: &usize| fits(*n, batch, ranks);
    let below = (1..lanes).rev().find(fit);
    let above = (lanes.saturating_add(1)..=lanes.saturating_add(batch)).find(fit);
    let numbers: Vec<String> = below.into_iter().chain(above).map(|n| n.to_string()).collect();
    format!("`lanes` {}", numbers.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(rank: usize, ranks: usize, of: usize) -> Rows {
        let count = of / ranks;
        Rows { first: rank * count, count, of }
    }

    #[test]
    fn any_number_of_ranks_takes_the_same_rows_from_lanes_of_its_own() {
        for (lanes, of) in [(8, 8), (8, 32), (16, 8), (4, 8), (8, 64)] {
            let rows = |ranks: usize| -> Vec<usize> {
                let one =
                    |r| RowSchedule::new(rank(r, ranks, of), lanes, 3 * of as u64).expect("fits");
                let all: Vec<RowSchedule> = (0..ranks).map(one).collect();
                let own: Vec<_> = all.iter().map(RowSchedule::own).collect();
                let total: usize = own.iter().map(BTreeSet::len).sum();
                assert_eq!(total, lanes, "each lane has one rank: {own:?}");
                let count = of / ranks;
                let batch = |s: usize| {
                    let rank = move |r: usize| (0..count).map(move |j| (r, (s * count + j) as u64));
                    (0..ranks).flat_map(rank).collect::<Vec<_>>()
                };
                (0..5).flat_map(batch).map(|(r, k)| all[r].lane(k)).collect()
            };
            assert_eq!(rows(1), rows(2), "{lanes} lanes, {of} rows");
            assert_eq!(rows(1), rows(4), "{lanes} lanes, {of} rows");
            let mut times = vec![0; lanes];
            rows(1).iter().take(4 * of).for_each(|&lane| times[lane] += 1);
            assert!(times.iter().all(|&n| n == 4 * of / lanes), "{times:?}");
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused_with_some_that_do() {
        let hint = |lanes, ranks, of| {
            let error = RowSchedule::new(rank(0, ranks, of), lanes, 0).expect_err("refused");
            error.faults()[0].hint.clone()
        };
        assert_eq!(hint(3, 1, 16), "`lanes` 2 or 4");
        assert_eq!(hint(2, 4, 16), "`lanes` 4");
        assert_eq!(hint(24, 1, 16), "`lanes` 16 or 32");
        assert_eq!(hint(64, 96, 1536), "`lanes` 96");
        assert_eq!(hint(0, 1, 2), "`lanes` 1");
    }
}
