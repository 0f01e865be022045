//! How the cost of sampling and training grows with steps, batch, size, parameters and threads, on this CPU.
//!
//! `cargo bench --profile dev --bench growth -- docs/growth.webp` prints the table of docs/benchmarks.md and draws its charts.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a bench may fail loudly

use paella::bench::{Bench, SamplingWay};
use paella::config::RunConfig;
use paella::image;
use paella::lab::plot::{Axes, Plot, Series};
use std::path::Path;
use tch::Device;

/// Times that each thing is measured.
const TIMES: usize = 5;
/// Passes of a sampling run where it is not they that grow.
const STEPS: i64 = 12;

/// One curve: for each value on the axis its times in ms.
struct Curve {
    name: &'static str,
    points: Vec<(f64, Vec<f64>)>,
}

fn main() {
    let file = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let charts: [fn() -> Chart; 5] = [steps, batch, size, parameters, threads];
    let mut images = Vec::new();
    println!("| what grows | work | median (least to most) in ms |\n| --- | --- | --- |");
    for measured in charts {
        let (axes, curves) = measured();
        for curve in &curves {
            for (x, times) in &curve.points {
                let (least, most) = (times[0], times[times.len() - 1]);
                let middle = median(times);
                println!(
                    "| {} {} | {} | {middle:.1} ({least:.1} to {most:.1}) |",
                    axes.x,
                    (x * 10.0).round() / 10.0,
                    curve.name
                );
            }
        }
        let line = |curve: &Curve| {
            let points = curve.points.iter().map(|(x, times)| (*x, median(times))).collect();
            Series::new(curve.name, points)
        };
        images.push(Plot::lines(&axes, curves.iter().map(line).collect()).image("").unwrap());
    }
    if let Some(file) = file {
        image::save(&image::grid(&images, 2, 8), Path::new(&file)).unwrap();
        println!("written: {file}");
    }
}

type Chart = (Axes<'static>, Vec<Curve>);

fn steps() -> Chart {
    let at = |n| (n as f64, sampled(&small(n), 1));
    let points = [1, 2, 4, 8, 16, 32, 64].map(at).to_vec();
    let axes = Axes { title: "Steps of a sampling run", x: "steps", y: "ms" };
    (axes, vec![Curve { name: "a run of 1 picture", points }])
}

fn batch() -> Chart {
    let sizes = [1, 2, 4, 8, 16];
    let sampling = sizes.map(|b| (b as f64, shared(sampled(&small(STEPS), b), b))).to_vec();
    let training = sizes.map(|b| (b as f64, shared(trained(&small(STEPS), b), b))).to_vec();
    let axes = Axes { title: "Pictures of a batch", x: "batch", y: "ms for a picture" };
    let curves = vec![
        Curve { name: "a run of 12 steps", points: sampling },
        Curve { name: "a training step", points: training },
    ];
    (axes, curves)
}

fn size() -> Chart {
    let at = |side: i64| {
        let mut config = small(STEPS);
        config.data.size = side;
        (side as f64, config)
    };
    let axes = Axes { title: "Side of a picture", x: "pixels", y: "ms" };
    (axes, run_and_step(&[32, 64, 96, 128, 192].map(at)))
}

fn parameters() -> Chart {
    let at = |quarters: i64| {
        let mut config = small(STEPS);
        let levels = config.model.levels.iter_mut();
        levels.for_each(|level| level.c_hidden = level.c_hidden * quarters / 4);
        (Bench::new(&config, Device::Cpu).unwrap().size().0 as f64 / 1e6, config)
    };
    let axes = Axes { title: "Parameters, by width", x: "millions", y: "ms" };
    (axes, run_and_step(&[2, 4, 6, 8, 12, 16].map(at)))
}

/// A run and a training step of one picture at each point of an axis.
fn run_and_step(points: &[(f64, RunConfig)]) -> Vec<Curve> {
    let at = |of: fn(&RunConfig, i64) -> Vec<f64>| {
        points.iter().map(|(x, config)| (*x, of(config, 1))).collect()
    };
    vec![
        Curve { name: "a run of 1 picture", points: at(sampled) },
        Curve { name: "a training step of 1", points: at(trained) },
    ]
}

fn threads() -> Chart {
    let usual = tch::get_num_threads();
    let at = |b: i64| {
        let one = |n: i32| {
            tch::set_num_threads(n);
            (f64::from(n), sampled(&small(STEPS), b))
        };
        [1, 2, 4].map(one).to_vec()
    };
    let (one, eight) = (at(1), at(8));
    tch::set_num_threads(usual);
    let axes = Axes { title: "Threads", x: "threads", y: "ms" };
    let curves = vec![
        Curve { name: "a run of 1 picture", points: one },
        Curve { name: "a run of 8", points: eight },
    ];
    (axes, curves)
}

/// The small denoiser of the benchmarks, sampled in `steps` guided steps.
fn small(steps: i64) -> RunConfig {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/small.ron");
    let mut config = RunConfig::read(&path).unwrap();
    config.sample = config.sample.with_steps(steps);
    config
}

/// Times of sampling runs in ms, the least first.
fn sampled(config: &RunConfig, batch: i64) -> Vec<f64> {
    let mut bench = Bench::new(config, Device::Cpu).unwrap();
    sorted(bench.sample(batch, TIMES, SamplingWay::Plain).unwrap().each_ms)
}

/// Times of training steps in ms, the least first.
fn trained(config: &RunConfig, batch: i64) -> Vec<f64> {
    let mut bench = Bench::new(config, Device::Cpu).unwrap();
    sorted(bench.train(batch as usize, TIMES).unwrap().each_ms)
}

fn shared(times: Vec<f64>, among: i64) -> Vec<f64> {
    times.into_iter().map(|ms| ms / among as f64).collect()
}

fn sorted(mut times: Vec<f64>) -> Vec<f64> {
    times.sort_by(f64::total_cmp);
    times
}

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}
