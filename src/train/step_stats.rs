//! Statistics of an update, summed over its passes and over all ranks: one small tensor, one exchange.
//!
//! Letters: n pictures of a pass, h x w tokens.

use crate::dist::World;
use crate::error::Result;
use tch::{Device, Kind, Tensor};

/// Number of equal intervals of 0..=1 for the noise ratio.
pub const BINS: i64 = 5;

/// Loss, accuracy, then accuracy and pictures of each interval: (2 + 2 BINS) f32.
pub struct StepStats(pub Tensor);

impl StepStats {
    pub fn new(device: Device) -> Self {
        Self(Tensor::zeros([2 + 2 * BINS], (Kind::Float, device)))
    }

    /// Adds one of `passes` passes: its loss, and whether each prediction was right (n, h, w) at ratios t (n,).
    pub fn add(&mut self, loss: &Tensor, right: &Tensor, t: &Tensor, passes: usize) {
        let _no_grad = tch::no_grad_guard();
        let each = right.to_kind(Kind::Float).mean_dim([1i64, 2].as_slice(), false, Kind::Float); // (n,)
        let bin = (t * BINS as f64).ceil().clamp(1.0, BINS as f64) - 1.0; // (n,): 0.2 still belongs to the first
        let zeros = || Tensor::zeros([BINS], (Kind::Float, t.device()));
        let bin = bin.to_kind(Kind::Int64);
        let share = 1.0 / passes as f64; // means of the passes add up to the mean of the batch
        let means = Tensor::stack(&[loss.detach(), each.mean(Kind::Float)], 0) * share;
        // sums and counts instead of means: an interval may have no picture on one rank
        let sums = zeros().index_add(0, &bin, &each);
        let counts = zeros().index_add(0, &bin, &each.ones_like());
        self.0 += Tensor::cat(&[means, sums, counts], 0);
    }

    /// The statistics of all ranks together, as `read`.
    pub fn over(&mut self, world: &World) -> Result<(f64, f64, Vec<Option<f64>>)> {
        world.mean(&mut self.0)?;
        Ok(self.read())
    }

    /// Loss, accuracy, and accuracy by noise ratio (None for an interval without pictures).
    pub fn read(&self) -> (f64, f64, Vec<Option<f64>>) {
        let numbers = self.0.to_device(Device::Cpu); // once: every look at a GPU waits for it
        let at = |i: i64| numbers.double_value(&[i]);
        let bin = |i: i64| {
            let count = at(2 + BINS + i);
            (count > 0.0).then(|| at(2 + i) / count)
        };
        (at(0), at(1), (0..BINS).map(bin).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_add_up_and_ratios_are_sorted() {
        let mut stats = StepStats::new(Device::Cpu);
        let right = Tensor::from_slice(&[1i64, 1, 0, 0, 1, 0, 0, 0]).view([2, 2, 2]);
        stats.add(&Tensor::from(1f32), &right, &Tensor::from_slice(&[0.2f32, 1.0]), 2);
        stats.add(&Tensor::from(3f32), &right, &Tensor::from_slice(&[0.21f32, 0.0]), 2);
        let (loss, accuracy, by_t) = stats.read();
        assert_eq!((loss, accuracy), (2.0, 0.375));
        assert_eq!(by_t, [Some(0.375), Some(0.5), None, None, Some(0.25)]);
    }
}
