//! One gradient, and several consecutive updates.

use super::int;
use super::paella::{cond, paella};
use crate::fixture::{Fixture, Outcome};
use paella::loss::{LossConfig, accuracy, objective};
use paella::model::{Cond, Paella};
use paella::noise::{Noised, loss_weight};
use paella::optim::{AdamW, OptimConfig};
use tch::{Kind, Tensor, nn};

/// Logits, accuracy, loss weight and loss of one noised batch.
fn judge(
    fixture: &Fixture,
    model: &Paella,
    batch: &dyn Fn(&str) -> Tensor,
    cond: &Cond,
) -> [Tensor; 4] {
    let x = batch("x");
    let mask = batch("mask").to_kind(Kind::Bool);
    let noised = Noised { t: batch("t"), mask, tokens: batch("noised") };
    let logits = model.forward(&noised.tokens, &noised.t, cond, true);
    let number = |key: &str| fixture.call[key].as_f64().unwrap();
    let config =
        LossConfig { label_smoothing: number("label_smoothing"), min_val: number("min_val") };
    let weight = loss_weight(&noised.mask, &noised.t, config.min_val);
    let loss = objective(&logits, &x, &noised, config);
    [logits.shallow_clone(), accuracy(&logits, &x), weight, loss]
}

pub fn gradients(fixture: &Fixture) -> Outcome {
    let mut outcome = Outcome::default();
    let (vars, model) = paella(fixture);
    let [logits, acc, weight, loss] =
        judge(fixture, &model, &|name| fixture.input(name), &cond(fixture, ""));
    loss.backward();
    for (name, got) in
        [("logits", &logits), ("acc", &acc), ("loss_weight", &weight), ("loss", &loss)]
    {
        fixture.check(&mut outcome, name, got);
    }
    check_gradients(fixture, &vars, &mut outcome);
    let norm = paella::torch::grad_norm(&vars.trainable_variables()).unwrap();
    fixture.check(&mut outcome, "grad_norm", &Tensor::from(norm));
    outcome
}

/// Compares stored gradients element by element, and the norms of the other ones within 0.1 % (they are stored with six
/// digits).
pub fn check_gradients(fixture: &Fixture, vars: &nn::VarStore, outcome: &mut Outcome) {
    let variables = vars.variables();
    for name in fixture.outputs().iter().filter_map(|name| name.strip_prefix("grad.")) {
        fixture.check(outcome, &format!("grad.{name}"), &variables[name].grad());
    }
    for (name, norm) in fixture.metadata["grad_norms"].as_object().into_iter().flatten() {
        let (got, norm) = (variables[name].grad().norm().double_value(&[]), norm.as_f64().unwrap());
        if (got - norm).abs() > 1e-3 * norm + 1e-5 {
            outcome.faults.push(format!("norm of grad `{name}`: expected {norm}, got {got}"));
        }
    }
}

pub fn trajectory(fixture: &Fixture) -> Outcome {
    let mut outcome = Outcome::default();
    let (vars, model) = paella(fixture);
    let call = |key: &str| fixture.call[key].as_f64().unwrap();
    let config = OptimConfig {
        lr: call("lr"),
        warmup: call("warmup_updates") as u64,
        betas: (
            fixture.call["betas"][0].as_f64().unwrap(),
            fixture.call["betas"][1].as_f64().unwrap(),
        ),
        eps: call("eps"),
        weight_decay: call("weight_decay"),
        max_norm: call("max_norm"),
        ..OptimConfig::default()
    };
    let mut optimizer = AdamW::new(&[("", &vars)], &config);
    let steps = int(&fixture.call["steps"]);
    let mut rows: [Vec<f64>; 4] = Default::default();
    for step in 0..steps {
        let at = |name: &str| fixture.input(name).get(step);
        let with_image = match fixture.get("in.has_clip_image") {
            Some(has) => has.int64_value(&[step]) == 1,
            None => fixture.get("in.clip_image").is_some(),
        };
        let cond = Cond {
            byt5: at("byt5"),
            clip: fixture.get("in.clip").map(|clip| clip.get(step)),
            clip_image: if with_image { vec![at("clip_image")] } else { Vec::new() },
            attn_weights: None,
        };
        let [_, acc, _, loss] = judge(fixture, &model, &at, &cond);
        let lr = config.lr_at(step as u64, steps as u64);
        loss.backward();
        let norm = optimizer.update(lr).unwrap();
        let row = [loss.double_value(&[]), acc.double_value(&[]), norm, lr];
        rows.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
    }
    for (name, column) in ["loss", "acc", "grad_norm", "lr"].iter().zip(&rows) {
        fixture.check(&mut outcome, name, &Tensor::from_slice(column));
    }
    let variables = vars.variables();
    for name in fixture.outputs().iter().filter_map(|name| name.strip_prefix("final.")) {
        fixture.check(&mut outcome, &format!("final.{name}"), &variables[name]);
    }
    outcome
}
