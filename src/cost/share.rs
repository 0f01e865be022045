//! Which share of its peak a kind of card reaches in the products of a training step.

use super::Gpu;

/// Of one kind of card, or of all that are not listed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// The name of the kind; None for every other one.
    pub card: Option<&'static str>,
    pub share: f64,
    /// Where the number is from.
    pub source: &'static str,
}

/// The last one is for all others. A kind of card whose step `paella bench` has measured gets a row of its own: the share
/// with which the plan gives the measured time.
pub const SHARES: &[Share] = &[
    Share {
        card: Some("h200"),
        share: 0.20,
        source: "measured: 1 B denoiser, bf16, 32 pictures a step, docs/gpu.md",
    },
    Share {
        card: Some("h100-80gb"),
        share: 0.20,
        source: "that of the H200, which has the same peak and faster memory",
    },
    Share { card: None, share: 0.35, source: "assumed" },
];

/// The row of a card.
pub fn share_of(gpu: &Gpu) -> Share {
    let fits = |row: &&Share| row.card.is_none_or(|name| name == gpu.name);
    SHARES.iter().find(fits).copied().unwrap_or(SHARES[SHARES.len() - 1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::{DEVICES, find};

    #[test]
    fn every_card_has_a_share_and_every_row_a_card_and_a_source() {
        assert!(DEVICES.iter().all(|gpu| (0.01..=1.0).contains(&share_of(gpu).share)));
        let known = |row: &Share| row.card.is_none_or(|name| find(name).is_some());
        assert!(SHARES.iter().all(|row| known(row) && !row.source.is_empty()));
        assert_eq!(SHARES.last().map(|row| row.card), Some(None), "the last one is for all");
    }
}
