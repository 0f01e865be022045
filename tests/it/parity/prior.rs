//! The prior: network, schedule, single steps, and whole runs with stored noise.

use super::int;
use crate::fixture::{Fixture, Outcome, device};
use paella::model::init::VarBuilder;
use paella::model::prior::{
    Fresh, Interval, Method, PriorConfig, PriorModel, PriorSampleConfig, PriorSampler, Schedule,
};
use std::cell::Cell;
use tch::{Tensor, nn};

/// Replays stored noise (steps, B, r), one entry per step.
struct Replay {
    noise: Tensor,
    drawn: Cell<i64>,
}

impl Fresh for Replay {
    fn normal(&self, _xs: &Tensor) -> Tensor {
        self.noise.get(self.drawn.replace(self.drawn.get() + 1))
    }
}

fn model(fixture: &Fixture) -> PriorModel {
    let get = |key: &str| int(&fixture.init[key]);
    let config = PriorConfig {
        clip_r: get("clip_r"),
        c_hidden: get("c_hidden"),
        c_r: get("c_r"),
        num_blocks: get("num_blocks"),
        ..PriorConfig::default()
    };
    let vars = nn::VarStore::new(device());
    let model = PriorModel::new(&VarBuilder::skeleton(&vars), &config);
    fixture.fill(&vars);
    model
}

pub fn prior(fixture: &Fixture) -> Outcome {
    let _no_grad = tch::no_grad_guard();
    let mut outcome = Outcome::default();
    let model = model(fixture);
    let input = |name: &str| fixture.input(name);
    let call = |key: &str, i: usize| fixture.call[key][i].as_f64().unwrap();
    let schedule = Schedule { s: fixture.call["s"].as_f64().unwrap() };
    let p2 = |i| schedule.p2_weight(&input("t"), call("p2_k", i), call("p2_gamma", i));
    for name in fixture.outputs() {
        let got = match name.as_str() {
            "r_embed" => model.embed_t(&input("r")),
            "pred" => model.forward(&input("x"), &input("r"), &input("c")),
            "alpha_cumprod" => schedule.alpha(&input("t")),
            "p2_weight" => p2(0),
            "p2_weight_2" => p2(1),
            "diffused" => schedule.diffuse(&input("x0"), &input("noise"), &input("t_diffuse")),
            "ddpm_step" | "ddim_step" => step(fixture, schedule, &name),
            "sample.r_range" => config(fixture, "ddpm").times(),
            run => match run.strip_prefix("sample.") {
                Some(run) => sample(fixture, &model, schedule, run),
                None => continue,
            },
        };
        fixture.check(&mut outcome, &name, &got);
    }
    outcome
}

fn step(fixture: &Fixture, schedule: Schedule, name: &str) -> Tensor {
    let (t, t_prev) = (fixture.input("t_step"), fixture.input("t_prev"));
    let (xs, guess) = (fixture.input("x_t"), fixture.input("pred_noise"));
    let at = Interval { t: &t, t_prev: &t_prev };
    match name {
        "ddpm_step" => schedule.ddpm(&xs, &guess, at, &fixture.input("z")),
        _ => schedule.ddim(&xs, &guess, at),
    }
}

/// The config of a run. Its name states the method and the exception: `ddpm`, `ddpm_nocfg`, `ddim_edit`.
fn config(fixture: &Fixture, run: &str) -> PriorSampleConfig {
    PriorSampleConfig {
        steps: int(&fixture.call["timesteps"]),
        cfg_scale: fixture.call["cfg"].as_f64().filter(|_| !run.ends_with("_nocfg")),
        t_start: if run.ends_with("_edit") { edit_start(fixture) } else { 1.0 },
        method: if run.starts_with("ddim") { Method::Ddim } else { Method::Ddpm },
        ..PriorSampleConfig::default()
    }
}

/// The start of an edit, which the fixture states in words only: `sample.ddim_edit with t_start 0.7`.
fn edit_start(fixture: &Fixture) -> f64 {
    let order = fixture.metadata["order"].as_str().unwrap();
    let (_, behind) = order.split_once("ddim_edit with t_start ").unwrap();
    let number = behind.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap();
    number.trim_end_matches('.').parse().unwrap()
}

/// The states of a run, (steps, B, r).
fn sample(fixture: &Fixture, model: &PriorModel, schedule: Schedule, run: &str) -> Tensor {
    let cond = fixture.input("sample.cond");
    let null = match run.ends_with("_uncond") {
        true => fixture.input("sample.uncond"),
        false => cond.zeros_like(),
    };
    let start = fixture.input(if run.ends_with("_edit") { "x0" } else { "sample.init" });
    let fresh = Replay { noise: fixture.input("sample.step_noise"), drawn: Cell::new(0) };
    let sampler = PriorSampler { model, schedule, cond: &cond, null: &null, fresh: &fresh };
    Tensor::stack(&sampler.run(&start, &config(fixture, run)), 0)
}
