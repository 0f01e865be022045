//! One shard through each of the two readers.

use paella::data::stream::{Crop, Once, StreamConfig};
use paella::data::{DataConfig, Dataset, Part, Source};
use std::collections::BTreeMap;

/// (key, caption) of each sample in order; reason -> how many were left out.
type Outcome = (Vec<(String, String)>, BTreeMap<String, u64>);

/// Whole, in memory. A shard in which nothing can be read gives its reasons by the message of the error.
pub fn memory(pattern: &str) -> Outcome {
    let source = Source::Shards { train: vec![pattern.into()], val: vec![] };
    let config = DataConfig { source, size: 8, ..DataConfig::default() };
    let (records, skipped) = match Dataset::open(&config, Part::Train) {
        Ok(set) => (set.records, set.skipped.to_string()),
        Err(e) => (Vec::new(), e.faults()[0].what.lines().next().unwrap().to_string()),
    };
    let samples = records.into_iter().map(|record| (record.key, record.caption)).collect();
    // `3 skipped: 2 no caption, 1 no picture`
    let reasons = skipped.split_once("skipped: ").map_or("", |(_, reasons)| reasons);
    let count = |text: &str| {
        let (count, reason) = text.split_once(' ').unwrap();
        (reason.to_string(), count.parse().unwrap())
    };
    (samples, reasons.split(", ").filter(|text| !text.is_empty()).map(count).collect())
}

/// Sample after sample.
pub fn stream(pattern: &str) -> Outcome {
    let shards = vec![pattern.into()];
    let config = StreamConfig { shards, crop: Crop::Center, retries: 0, ..StreamConfig::default() };
    let mut once = Once::open(&config, 7, 8).unwrap();
    let mut samples = Vec::new();
    once.shard(0, |some| {
        samples.extend(some.into_iter().map(|sample| (sample.key, sample.caption)));
        Ok(())
    })
    .unwrap();
    (samples, once.skipped.clone())
}
