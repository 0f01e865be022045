//! The pictures of a data set that are nearest to a picture, and how often a model recites them.
//!
//! Letters: N pictures of the data set, B pictures, S pixels and f cells a side.

use crate::data::Dataset;
use serde::Serialize;
use std::cell::OnceCell;
use tch::{Kind, Tensor};

/// Pictures as their averages over a grid of f x f cells. The distance of two is the root mean square of the differences: 0 of
/// equal pictures, 1 of black and white.
pub struct PictureIndex {
    features: Tensor, // (N, 3 f f) f32
    feature_size: i64,
    recital: OnceCell<Option<f64>>,
}

impl PictureIndex {
    /// Of all pictures of these parts, one part after the other.
    pub fn new(parts: &[&Dataset], feature_size: i64) -> Self {
        let some = parts.iter().flat_map(|part| part.images.split(256, 0));
        let all: Vec<Tensor> = some
            .map(|images| features(&(images.to_kind(Kind::Float) / 255.0), feature_size))
            .collect();
        Self { features: Tensor::cat(&all, 0), feature_size, recital: OnceCell::new() }
    }

    /// Each picture's distance to the image (3, H, W) f32.
    pub fn distances(&self, image: &Tensor) -> Vec<f64> {
        let feature = features(&image.unsqueeze(0), self.feature_size); // (1, 3 f f)
        let squares = (&self.features - feature).square(); // (N, 3 f f)
        let distances = squares.mean_dim(&[1i64][..], false, Kind::Float).sqrt(); // (N,)
        distances.iter::<f64>().expect("floats").collect()
    }

    /// Places of the `count` nearest pictures but `without`, and their distances; the nearest first.
    pub fn closest(
        &self,
        image: &Tensor,
        count: usize,
        without: Option<usize>,
    ) -> Vec<(usize, f64)> {
        let all = self.distances(image).into_iter().enumerate();
        let mut all: Vec<(usize, f64)> = all.filter(|(i, _)| Some(*i) != without).collect();
        all.sort_by(|a, b| a.1.total_cmp(&b.1));
        all.truncate(count);
        all
    }

    /// The distance that 19 of 20 of the pictures exceed to their nearest other: a picture that is nearer to one of them is as good
    /// as that one. Taken over at most 1,000 of them, of which those that are there twice do not count. None if no two differ.
    pub fn recital(&self) -> Option<f64> {
        *self.recital.get_or_init(|| self.between_neighbours())
    }

    fn between_neighbours(&self) -> Option<f64> {
        let n = self.features.size()[0];
        let step = (n + MOST - 1) / MOST;
        let own: Vec<i64> = (0..n).step_by(step.max(1) as usize).collect();
        let some = self.features.index_select(0, &Tensor::from_slice(&own)); // (M, 3 f f)
        let apart = distances(&some, &self.features); // (M, N)
        let others = apart.masked_fill(&apart.le(SAME), f64::INFINITY); // itself is one of the same
        let nearest = others.amin(&[1i64][..], false);
        let nearest = nearest.iter::<f64>().expect("floats");
        let mut nearest: Vec<f64> = nearest.filter(|d| d.is_finite()).collect();
        nearest.sort_by(f64::total_cmp);
        nearest.get(nearest.len() / 20).copied()
    }

    /// How near these pictures (B, 3, H, W) f32 are to their nearest. None without pictures, or with an index of fewer than two.
    pub fn score(&self, kind: &'static str, images: &Tensor) -> Option<NearestScore> {
        let below = self.recital()?;
        let nearest = |i| self.distances(&images.get(i)).into_iter().fold(f64::INFINITY, f64::min);
        let mut all: Vec<f64> = (0..images.size()[0]).map(nearest).collect();
        all.sort_by(f64::total_cmp);
        let median = *all.get(all.len() / 2)?;
        let recited =
            all.iter().filter(|distance| **distance < below).count() as f64 / all.len() as f64;
        Some(NearestScore { kind, pictures: all.len(), below, recited, median })
    }
}

/// Pictures among which a distance between neighbours is taken.
const MOST: i64 = 1000;
/// Pictures that are nearer than this are the same: what rounding leaves of a distance of 0.
const SAME: f64 = 2e-3;

/// How near pictures are to those that a model was trained on.
#[derive(Clone, Debug, Serialize)]
pub struct NearestScore {
    /// Which pictures.
    pub kind: &'static str,
    pub pictures: usize,
    /// The distance below which a picture counts as recited: [`PictureIndex::recital`].
    pub below: f64,
    /// Share of the pictures that are nearer than that to a training picture.
    pub recited: f64,
    /// Median of the distances to the nearest training picture.
    pub median: f64,
}

/// Root mean square differences of rows: a (M, d), b (N, d) -> (M, N).
fn distances(a: &Tensor, b: &Tensor) -> Tensor {
    let width = a.size()[1] as f64;
    Tensor::cdist(a, b, 2.0, None::<i64>) / width.sqrt()
}

/// images (B, 3, H, W) f32 -> (B, 3 f f).
fn features(images: &Tensor, feature_size: i64) -> Tensor {
    images.adaptive_avg_pool2d([feature_size, feature_size]).flatten(1, -1)
}
