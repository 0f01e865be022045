//! Utilisation of the cards by a run in progress.

use super::{find_card, mfu, work};
use crate::checkpoint::Phase;
use crate::config::RunConfig;
use tch::Device;

/// Measures the utilisation of a stage on the cards it runs on.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    pub device: Device,
    phase: Phase,
    /// Operations per picture.
    useful: i64,
    /// Peak operations per second of all cards. None if the kind of card is unknown.
    peak: Option<f64>,
}

impl Meter {
    /// Meter for `ranks` cards of the same kind as `device`.
    pub fn new(config: &RunConfig, phase: Phase, device: Device, ranks: usize) -> Self {
        let stage = work(config, phase, super::text_bytes(config, None));
        let peak = find_card(device).map(|gpu| gpu.peak_of(&stage.precision) * ranks as f64);
        Self { device, phase, useful: stage.useful(), peak }
    }

    /// Sets the caption length to `bytes` from now on.
    pub fn read_texts(&mut self, config: &RunConfig, bytes: i64) {
        if self.peak.is_some() {
            self.useful = work(config, self.phase, bytes).useful();
        }
    }

    /// Model FLOPs utilisation at this number of pictures per second over all cards.
    pub fn mfu(&self, images_per_s: f64) -> Option<f64> {
        self.peak.map(|peak| mfu(self.useful, images_per_s, peak))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_has_no_peak_and_a_card_its_share() {
        let config = RunConfig::default();
        let meter = Meter::new(&config, Phase::Denoiser, Device::Cpu, 1);
        assert_eq!(meter.mfu(10.0), None);
        let card = Meter { useful: 3_000_000_000_000, peak: Some(312e12), ..meter };
        assert!(card.mfu(10.4).is_some_and(|share| (share - 0.1).abs() < 1e-12));
    }
}
