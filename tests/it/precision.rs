//! Micro batches, recomputed activations, bf16 and memory layouts: the same training, computed differently.

use crate::train::{exclusive, smoke};
use paella::config::RunConfig;
use paella::data::{Dataset, Part};
use paella::dist::World;
use paella::model::LevelConfig;
use paella::networks::Networks;
use paella::recipe::Precision;
use paella::train::{DenoiserTrainer, Feed};
use paella::weights;
use std::rc::Rc;
use tch::{Device, Kind, Tensor};

/// Losses of some updates, and all trained weights as one row.
fn train(change: impl Fn(&mut RunConfig)) -> (Vec<f64>, Tensor) {
    let mut config = smoke(1, 6);
    config.train.optim.warmup = 1;
    change(&mut config);
    let nets = Networks::new(&config, Device::Cpu).unwrap_or_else(|e| panic!("{e}"));
    let data = Rc::new(Dataset::open(&config.data, Part::Train).unwrap());
    let mut trainer =
        DenoiserTrainer::new(&nets, Feed::memory(data, config.seed).unwrap(), &World::solo())
            .unwrap();
    let losses = (0..6).map(|_| trainer.step(&nets).unwrap().loss).collect();
    let rows = weights::named(&nets.denoiser_vars, false);
    let rows: Vec<Tensor> = rows.into_values().map(|xs| xs.contiguous().view([-1])).collect();
    (losses, Tensor::cat(&rows, 0))
}

fn furthest(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

fn with(precision: Precision) -> impl Fn(&mut RunConfig) {
    move |config| config.train.precision = precision.clone()
}

#[test]
fn micro_batches_add_up_to_the_whole() {
    let _turn = exclusive();
    // without dropout, whose draws depend on the passes
    let (losses, whole) = train(|_| ());
    let (in_parts, parts) = train(|config| config.train.micro_batch = Some(4));
    for (a, b) in losses.iter().zip(&in_parts) {
        assert!((a - b).abs() < 2e-6 * a.abs().max(1.0), "{losses:?} {in_parts:?}");
    }
    // Adam divides by the size of a gradient, so rounding of a tiny gradient becomes part of a step of 2e-3
    assert!(furthest(&whole, &parts) < 2e-4, "{}", furthest(&whole, &parts));
}

#[test]
fn recomputed_activations_change_nothing() {
    let _turn = exclusive();
    let dropout = |config: &mut RunConfig| {
        let finest = LevelConfig { dropout: 0.2, blocks: 2, ..config.model.levels[0].clone() };
        let coarse = LevelConfig { c_hidden: 48, ..finest.clone() };
        config.model.levels = vec![finest, coarse];
    };
    let kept = train(dropout);
    for (bf16, levels) in [(false, vec![0]), (false, vec![0, 1]), (true, vec![0, 1])] {
        let precision = |recompute| Precision { bf16, recompute, ..Precision::default() };
        let kept = if bf16 {
            train(|config| {
                dropout(config);
                config.train.precision = precision(vec![]);
            })
        } else {
            (kept.0.clone(), kept.1.shallow_clone())
        };
        let again = train(|config| {
            dropout(config);
            config.train.precision = precision(levels.clone());
        });
        assert_eq!(kept.0, again.0, "losses, bit for bit, levels {levels:?}, bf16 {bf16}");
        assert_eq!(kept.1, again.1, "weights, bit for bit, levels {levels:?}, bf16 {bf16}");
    }
}

#[test]
fn bf16_is_near_and_not_the_same() {
    let _turn = exclusive();
    let (full, _) = train(|_| ());
    let (half, weights) = train(with(Precision { bf16: true, ..Precision::default() }));
    assert_ne!(full, half);
    for (a, b) in full.iter().zip(&half) {
        assert!((a - b).abs() < 1.6e-1 * a.abs(), "{full:?} {half:?}"); // ten times PyTorch's rtol for bf16
    }
    assert_eq!(weights.kind(), Kind::Float);
}

#[test]
fn the_memory_layout_changes_the_rounding_only() {
    let _turn = exclusive();
    let (losses, plain) = train(|_| ());
    let (again, moved) = train(with(Precision { channels_last: true, ..Precision::default() }));
    for (a, b) in losses.iter().zip(&again) {
        assert!((a - b).abs() < 1e-5 * a.abs().max(1.0), "{losses:?} {again:?}");
    }
    assert!(furthest(&plain, &moved) < 2e-4, "{}", furthest(&plain, &moved));
}
