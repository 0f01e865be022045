//! The order in which pictures are seen: endless epochs, each a permutation, with exact resume.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The order of a run. Its state is (len, seed, position), so a checkpoint can resume it exactly.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Saved")]
pub struct Order {
    len: usize,
    seed: u64,
    /// Pictures drawn since the start of the run.
    position: u64,
    /// The current epoch and its permutation. Recomputed if missing.
    #[serde(skip)]
    epoch: Option<(u64, Vec<i64>)>,
}

#[derive(Deserialize)]
#[serde(rename = "Order", deny_unknown_fields)]
struct Saved {
    len: usize,
    seed: u64,
    position: u64,
}

impl TryFrom<Saved> for Order {
    type Error = Error;

    fn try_from(saved: Saved) -> Result<Self> {
        Ok(Self { position: saved.position, ..Self::new(saved.len, saved.seed)? })
    }
}

impl Order {
    /// An order over `len` pictures.
    ///
    /// Errors: `len` is 0.
    pub fn new(len: usize, seed: u64) -> Result<Self> {
        if len == 0 {
            return Err(Error::data("there are no pictures to put in order", "", ""));
        }
        Ok(Self { len, seed, position: 0, epoch: None })
    }

    /// The next `n` indices, each in 0..len. May cross the end of an epoch.
    pub fn next(&mut self, n: usize) -> Vec<i64> {
        (0..n).map(|_| self.draw()).collect()
    }

    /// Number of pictures.
    #[allow(clippy::len_without_is_empty)] // `new` refuses 0
    pub fn len(&self) -> usize {
        self.len
    }

    /// Pictures drawn since the start of the run.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Continues as if `position` pictures had been drawn.
    pub fn go_to(&mut self, position: u64) {
        self.position = position;
    }

    /// Number of completed epochs.
    pub fn epoch(&self) -> u64 {
        self.position / self.len as u64
    }

    fn draw(&mut self) -> i64 {
        let (epoch, at) = (self.epoch(), (self.position % self.len as u64) as usize);
        self.position += 1;
        match &self.epoch {
            Some((number, order)) if *number == epoch => order[at],
            _ => self.epoch.insert((epoch, permutation(self.len, self.seed, epoch))).1[at],
        }
    }
}

/// 0..len shuffled by (seed, epoch): Fisher-Yates on ChaCha8, with the seed as its key and the epoch as its stream.
///
/// Written out because `rand` may change its shuffle and seeding between versions, which would break exact resume.
pub(super) fn permutation(len: usize, seed: u64, epoch: u64) -> Vec<i64> {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(epoch);
    let mut order: Vec<i64> = (0..len as i64).collect();
    for i in (1..len).rev() {
        // a 64-bit number scaled to 0..=i
        let j = (u128::from(rng.next_u64()) * (i as u128 + 1)) >> 64;
        order.swap(i, j as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(len: usize, seed: u64) -> Order {
        Order::new(len, seed).expect("not empty")
    }

    #[test]
    fn the_same_seed_gives_the_same_order() {
        assert_eq!(order(50, 7).next(120), order(50, 7).next(120));
        assert_ne!(order(50, 7).next(120), order(50, 8).next(120));
    }

    #[test]
    fn pinned_for_good() {
        // Made by ChaCha8 written out in Python from Bernstein's paper.
        assert_eq!(permutation(8, 1, 0), [6, 1, 0, 7, 5, 4, 2, 3]);
        assert_eq!(permutation(8, 1, 1), [7, 6, 2, 4, 1, 3, 5, 0]);
    }

    #[test]
    fn each_epoch_is_a_permutation_and_epochs_differ() {
        let mut drawn = order(37, 3);
        let epochs: Vec<Vec<i64>> = (0..3).map(|_| drawn.next(37)).collect();
        for epoch in &epochs {
            let mut sorted = epoch.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..37).collect::<Vec<i64>>());
        }
        assert_ne!(epochs[0], epochs[1]);
        assert_eq!(drawn.epoch(), 3);
    }

    #[test]
    fn resumes_exactly_whatever_the_batch() {
        let whole = order(10, 5).next(64);
        for stop in 0..64 {
            let mut first = order(10, 5);
            let mut drawn = first.next(stop);
            let text = serde_json::to_string(&first).expect("writes");
            assert_eq!(text, format!(r#"{{"len":10,"seed":5,"position":{stop}}}"#));
            let mut resumed: Order = serde_json::from_str(&text).expect("reads");
            while drawn.len() < 64 {
                drawn.extend(resumed.next(3.min(64 - drawn.len())));
            }
            assert_eq!(drawn, whole, "stopped at {stop}");
        }
    }

    #[test]
    fn nothing_to_order_is_refused() {
        assert!(Order::new(0, 1).is_err());
        assert!(serde_json::from_str::<Order>(r#"{"len":0,"seed":5,"position":3}"#).is_err());
        assert_eq!(order(1, 9).next(3), [0, 0, 0]);
    }
}
