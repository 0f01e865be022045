//! Step time on 1, 2 and 4 ranks over Gloo on this machine, next to as many processes that do not exchange anything.
//!
//! `cargo bench --profile dev --bench scaling` prints the table of docs/scaling.md. Every process has one thread and the same rows a
//! step, so what ranks take longer than strangers is the exchange.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a bench may fail loudly

use paella::config::RunConfig;
use paella::data::{Dataset, Part};
use paella::dist::{DistConfig, Launch, World};
use paella::networks::Networks;
use paella::train::{DenoiserTrainer, Feed};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Instant;
use tch::Device;

const ROUNDS: usize = 5;
const WARM_UP: usize = 2;
const STEPS: usize = 6;
/// Rows of one process.
const ROWS: usize = 16;

fn main() {
    match std::env::var("SCALING_CHILD") {
        Ok(_) => child(),
        Err(_) => parent(),
    }
}

/// Trains, and prints the median seconds of a step and the bytes of the buckets.
fn child() {
    let launch = Launch::from_env(|name| std::env::var(name).ok()).unwrap();
    let join = |launch: &Launch| World::join(launch, &DistConfig::default(), Device::Cpu);
    let world = launch.as_ref().map_or_else(|| Ok(World::solo()), join).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut config = RunConfig::read(&root.join("configs/emoji-64.ron")).unwrap();
    config.weights = Default::default();
    config.train.global_batch = ROWS * world.size();
    config.train.micro_batch = None;
    config.data.limit = Some(128);
    let nets = Networks::new(&config, Device::Cpu).unwrap();
    let data = Rc::new(Dataset::open(&config.data, Part::Train).unwrap());
    let feed = Feed::memory(data, config.seed).unwrap();
    let mut trainer = DenoiserTrainer::new(&nets, feed, &world).unwrap();
    let mut times: Vec<f64> = Vec::new();
    for step in 0..WARM_UP + STEPS {
        let start = Instant::now();
        trainer.step(&nets).unwrap();
        if step >= WARM_UP {
            times.push(start.elapsed().as_secs_f64());
        }
    }
    println!(
        "{} {:?} {}",
        median(&mut times),
        trainer.buckets().unwrap(),
        nets.parameters().iter().skip(1).map(|(_, n)| n).sum::<i64>()
    );
}

/// Seconds of a step, the slowest process's; with what the first one says besides.
fn round(size: usize, talk: bool) -> (f64, String) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let start = |rank: usize| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env("SCALING_CHILD", "1").env("OMP_NUM_THREADS", "1").stdout(Stdio::piped());
        if talk {
            command
                .envs(
                    [("RANK", rank), ("WORLD_SIZE", size), ("LOCAL_RANK", rank)]
                        .map(|(k, v)| (k, v.to_string())),
                )
                .envs([("MASTER_ADDR", "127.0.0.1"), ("GLOO_SOCKET_IFNAME", "lo")])
                .env("MASTER_PORT", port.to_string());
        }
        command.spawn().unwrap()
    };
    let children: Vec<_> = (0..size).map(start).collect();
    let said: Vec<String> = children
        .into_iter()
        .map(|child| String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap())
        .collect();
    let seconds = said.iter().map(|text| text.split_once(' ').unwrap().0.parse::<f64>().unwrap());
    (seconds.fold(0.0, f64::max), said[0].split_once(' ').unwrap().1.trim().to_string())
}

fn parent() {
    println!(
        "| processes | no exchange, ms | ranks, ms | ratio | spread of the ratio |\n| --- | --- | --- | --- | --- |"
    );
    let mut buckets = String::new();
    for size in [1, 2, 4] {
        let (mut strangers, mut ranks, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (alone, (together, said)) = (round(size, false).0, round(size, true));
            strangers.push(alone * 1e3);
            ranks.push(together * 1e3);
            ratios.push(together / alone);
            buckets = said;
        }
        let (low, high) = ratios.iter().fold((f64::MAX, 0f64), |(a, b), r| (a.min(*r), b.max(*r)));
        println!(
            "| {size} | {:.0} | {:.0} | {:.2} | {low:.2} to {high:.2} |",
            median(&mut strangers),
            median(&mut ranks),
            median(&mut ratios)
        );
    }
    println!("\nbytes of the buckets, parameters: {buckets}");
}

fn median(xs: &mut [f64]) -> f64 {
    xs.sort_by(f64::total_cmp);
    xs[xs.len() / 2]
}
