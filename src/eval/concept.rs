//! Concept accuracy: whether a generated picture's nearest real picture shows the requested concept.

use super::nearest::PictureIndex;
use crate::data::{Dataset, Record};
use serde::Serialize;
use tch::Tensor;

/// Fractions of captions whose concept is that of the nearest real picture (rank 1), or of one of the five nearest
/// (rank 5).
#[derive(Clone, Debug, Serialize)]
pub struct ConceptScore {
    pub rank1: f64,
    pub rank5: f64,
    pub captions: usize,
    /// Number of real pictures compared with, on average: those of the same style.
    pub candidates: f64,
}

/// Real pictures, and what they show.
pub struct Gallery {
    index: PictureIndex,
    records: Vec<Record>,
}

impl Gallery {
    /// The pictures of these parts; see [`PictureIndex`] for `feature_size`.
    pub fn new(parts: &[&Dataset], feature_size: i64) -> Self {
        let records = parts.iter().flat_map(|part| part.records.iter().cloned()).collect();
        Self { index: PictureIndex::new(parts, feature_size), records }
    }

    /// Names of the real pictures of `style` that are nearest to the image (3, S, S), nearest first.
    pub fn nearest(&self, image: &Tensor, style: &str, count: usize) -> Vec<String> {
        let distances = self.index.distances(image);
        let mut same: Vec<usize> =
            (0..self.records.len()).filter(|&i| self.records[i].style == style).collect();
        same.sort_by(|&a, &b| distances[a].total_cmp(&distances[b]));
        same.into_iter().take(count).map(|i| self.records[i].name.clone()).collect()
    }

    fn candidates(&self, style: &str) -> usize {
        self.records.iter().filter(|record| record.style == style).count()
    }
}

/// Finds the nearest real picture of the same style for each of the pictures (N, 3, S, S) f32 that were generated from the
/// captions of these records.
pub fn concept_accuracy(images: &Tensor, records: &[Record], gallery: &Gallery) -> ConceptScore {
    if records.is_empty() {
        return ConceptScore { rank1: 0.0, rank5: 0.0, captions: 0, candidates: 0.0 };
    }
    let (mut first, mut five, mut candidates) = (0, 0, 0);
    for (i, record) in records.iter().enumerate() {
        let nearest = gallery.nearest(&images.get(i as i64), &record.style, 5);
        first += usize::from(nearest.first() == Some(&record.name));
        five += usize::from(nearest.contains(&record.name));
        candidates += gallery.candidates(&record.style);
    }
    let share = |count: usize| count as f64 / records.len() as f64;
    ConceptScore {
        rank1: share(first),
        rank5: share(five),
        captions: records.len(),
        candidates: share(candidates),
    }
}
