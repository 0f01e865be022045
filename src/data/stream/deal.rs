//! Which shard each lane reads next, and all other random draws of the stream.
//!
//! All draws are functions of (seed, lane, purpose, number of the draw), so there is no generator state to save.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::data::order::permutation;

/// The order in which shards are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Every shard once per epoch, in a new random order for each epoch. Shards are dealt to the lanes one by one,
    /// across the ends of epochs. A lane yields all its samples of one epoch before the first of the next.
    #[default]
    Epochs,
    /// Each lane draws shards with replacement.
    Resampled,
}

/// The purpose of a draw, so that different purposes use different random streams.
#[derive(Clone, Copy)]
pub enum Purpose {
    Shard = 1,
    Slot = 2,
    CropX = 3,
    CropY = 4,
}

/// Draw number `n` of a lane: 0..`below`.
///
/// ChaCha8 with the seed as its key, purpose and lane as its stream, and two words per draw. This allows random access.
pub fn draw(seed: u64, lane: usize, purpose: Purpose, n: u64, below: u64) -> u64 {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream((purpose as u64) << 56 | lane as u64);
    rng.set_word_pos(2 * u128::from(n));
    ((u128::from(rng.next_u64()) * u128::from(below)) >> 64) as u64
}

/// The endless sequence of shards of one lane.
#[derive(Clone, Debug)]
pub struct Deal {
    pub mode: Mode,
    pub seed: u64,
    pub shards: usize,
    pub lane: usize,
    pub lanes: usize,
    /// The current epoch and its order.
    epoch: Option<(u64, Vec<i64>)>,
}

impl Deal {
    /// The shards of lane `lane` of `lanes`.
    pub fn new(mode: Mode, seed: u64, shards: usize, lane: usize, lanes: usize) -> Self {
        Self { mode, seed, shards, lane, lanes, epoch: None }
    }

    /// The lane's `k`-th shard, 0..shards.
    pub fn shard(&mut self, k: u64) -> usize {
        let n = self.shards as u64;
        if self.mode == Mode::Resampled {
            return draw(self.seed, self.lane, Purpose::Shard, k, n) as usize;
        }
        let (epoch, at) = (self.epoch(k), (self.place(k) % n) as usize);
        let order = match self.epoch.take() {
            Some((number, order)) if number == epoch => order,
            _ => permutation(self.shards, self.seed, epoch),
        };
        let shard = order[at] as usize;
        self.epoch = Some((epoch, order));
        shard
    }

    /// The epoch of the lane's `k`-th shard. Always 0 if the mode has no epochs.
    pub fn epoch(&self, k: u64) -> u64 {
        match self.mode {
            Mode::Epochs => self.place(k) / self.shards as u64,
            Mode::Resampled => 0,
        }
    }

    /// Position of the lane's `k`-th shard in the sequence of all shards of all epochs.
    fn place(&self, k: u64) -> u64 {
        k * self.lanes as u64 + self.lane as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_share_each_epoch_without_overlap() {
        for (shards, lanes) in [(12, 4), (7, 3), (2, 5), (1, 1)] {
            let mut deals: Vec<Deal> =
                (0..lanes).map(|lane| Deal::new(Mode::Epochs, 3, shards, lane, lanes)).collect();
            let mut epochs = vec![Vec::new(); 4];
            for k in 0..40 {
                for deal in &mut deals {
                    if let Some(epoch) = epochs.get_mut(deal.epoch(k) as usize) {
                        epoch.push(deal.shard(k));
                    }
                }
            }
            for mut epoch in epochs {
                epoch.sort_unstable();
                assert_eq!(epoch, (0..shards).collect::<Vec<_>>(), "{shards} over {lanes}");
            }
        }
    }

    #[test]
    fn draws_are_pinned_for_good_and_spread() {
        let some: Vec<u64> = (0..6).map(|n| draw(1, 2, Purpose::Slot, n, 1000)).collect();
        // Made by ChaCha8 written out in Python from Bernstein's paper.
        assert_eq!(some, [415, 136, 17, 360, 243, 550]);
        let mut deal = Deal::new(Mode::Resampled, 5, 10, 0, 4);
        let mut seen = [0; 10];
        (0..1000).for_each(|k| seen[deal.shard(k)] += 1);
        // 100 each; 5 sigma: sqrt(1000 * 0.1 * 0.9) * 5 = 47
        assert!(seen.iter().all(|&n: &i32| n.abs_diff(100) < 48), "{seen:?}");
    }
}
