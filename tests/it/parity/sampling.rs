//! Whole sampling runs with stored draws.

use super::int;
use super::paella::{cond, paella};
use crate::fixture::{Fixture, Outcome, device};
use paella::model::Cond;
use paella::noise::{add_noise, draw_mask};
use paella::sample::{Chance, Greedy, Region, SampleConfig, Sampler};
use std::cell::Cell;
use tch::{Device, Kind, Tensor};

/// Replays the draws of a fixture: Gumbel noise for tokens, stored uniforms for masks.
struct Replay {
    gumbel: Option<Tensor>, // (steps, B, K, h, w)
    u: Tensor,              // (steps, B, h, w)
    drawn: Cell<i64>,
    renoised: Cell<i64>,
}

impl Chance for Replay {
    fn draw(&self, logits: &Tensor, temperature: f64) -> Tensor {
        let i = self.drawn.replace(self.drawn.get() + 1);
        match &self.gumbel {
            Some(gumbel) => (logits / temperature + gumbel.get(i)).argmax(1, false),
            None => Greedy.draw(logits, temperature),
        }
    }

    fn uniform(&self, _size: &[i64], _device: Device) -> Tensor {
        self.u.get(self.renoised.replace(self.renoised.get() + 1))
    }
}

pub fn sampler(fixture: &Fixture) -> Outcome {
    let _no_grad = tch::no_grad_guard();
    let mut outcome = Outcome::default();
    let (_vars, model) = paella(fixture);
    let call = &fixture.call;
    let pair = |key: &str| (call[key][0].as_f64().unwrap(), call[key][1].as_f64().unwrap());
    let config = SampleConfig {
        steps: int(&call["steps"]),
        renoise_steps: int(&call["renoise_steps"]),
        temperature: pair("temperature"),
        cfg_scale: pair("cfg"),
        guided_steps: int(&call["sampling_conditional_steps"]),
        t_start: call["t_start"].as_f64().unwrap(),
        t_end: call["t_end"].as_f64().unwrap(),
        greedy: call["mode"] == "argmax",
    };
    let schedules = [
        ("t_list", config.t_start, config.t_end, config.steps + 1),
        ("temperatures", config.temperature.0, config.temperature.1, config.steps),
        ("cfgs", config.cfg_scale.0, config.cfg_scale.1, config.steps),
    ];
    for (name, start, end, count) in schedules {
        fixture.check(
            &mut outcome,
            name,
            &Tensor::from_slice(&paella::sample::linspace(start, end, count)),
        );
    }
    let noise = fixture.input("init_noise");
    let (with_text, null) = (
        Cond { attn_weights: fixture.get("in.attn_weights"), ..cond(fixture, "cond.") },
        cond(fixture, "uncond."),
    );
    let chance = Replay {
        gumbel: if config.greedy { None } else { fixture.get("in.gumbel") },
        u: fixture.input("u"),
        drawn: Cell::new(0),
        renoised: Cell::new(0),
    };
    let original = fixture.get("in.init_x");
    let mask = fixture.get("in.mask").map(|mask| mask.to_kind(Kind::Bool));
    let region = mask.as_ref().zip(original.as_ref());
    let sampler = Sampler {
        model: &model,
        cond: &with_text,
        null: &null,
        noise: &noise,
        chance: &chance,
        region: region.map(|(mask, original)| Region { mask, original }),
    };
    let start = match (&original, fixture.get("in.u_start")) {
        (Some(original), Some(u)) => {
            let t = Tensor::full([noise.size()[0]], config.t_start, (Kind::Float, device()));
            add_noise(original, &noise, &draw_mask(&u, &t))
        }
        _ => noise.shallow_clone(),
    };
    let schedule = config.schedule();
    let (mut logits, mut sampled, mut after) = (Vec::new(), Vec::new(), Vec::new());
    let mut tokens = match region {
        Some((mask, original)) => start.where_self(mask, original),
        None => start.shallow_clone(),
    };
    if let Some(x_start) = fixture.get("in.x_start") {
        assert_eq!(tokens, x_start, "{}: the start differs", fixture.path.display());
    }
    // the passes themselves, and the prediction that each drew from
    for (pass, &step) in sampler.passes(&start, &schedule).zip(&schedule) {
        logits.push(sampler.guess(&tokens, step));
        tokens = pass.after;
        sampled.push(pass.drawn);
        after.push(tokens.shallow_clone());
    }
    fixture.check(&mut outcome, "logits", &Tensor::stack(&logits, 0));
    fixture.check(&mut outcome, "sampled", &Tensor::stack(&sampled, 0));
    fixture.check(&mut outcome, "tokens_after_step", &Tensor::stack(&after, 0));
    chance.drawn.set(0);
    chance.renoised.set(0);
    fixture.check(&mut outcome, "final", &sampler.run(&start, &schedule));
    outcome
}
