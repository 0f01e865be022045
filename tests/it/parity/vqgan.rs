//! The autoencoder, in evaluation and training mode, and its discriminator.

use super::int;
use super::training::check_gradients;
use crate::fixture::{Fixture, Outcome, device};
use paella::model::init::VarBuilder;
use paella::tokens::discriminator::{Discriminator, DiscriminatorConfig, Judging, mistakes};
use paella::tokens::vqgan::{VqConfig, VqModel};
use serde_json::Value;
use tch::{Kind, nn};

pub fn vq_config(init: &Value) -> VqConfig {
    VqConfig {
        levels: int(&init["levels"]),
        bottleneck_blocks: int(&init["bottleneck_blocks"]),
        c_hidden: int(&init["c_hidden"]),
        c_latent: int(&init["c_latent"]),
        codebook_size: int(&init["codebook_size"]),
        patchwise: false,
        scale_factor: init["scale_factor"].as_f64().unwrap(),
    }
}

fn vqgan_with(fixture: &Fixture) -> (nn::VarStore, VqModel) {
    let vars = nn::VarStore::new(device());
    let model = VqModel::new(&VarBuilder::skeleton(&vars), &vq_config(&fixture.init));
    fixture.fill(&vars);
    (vars, model)
}

pub fn vqgan(fixture: &Fixture) -> Outcome {
    let _no_grad = tch::no_grad_guard();
    let mut outcome = Outcome::default();
    let (_vars, model) = vqgan_with(fixture);
    let encoded = model.encode(&fixture.input("img"), false);
    for name in fixture.outputs() {
        let got = match name.as_str() {
            "qe" => encoded.qe.shallow_clone(),
            "x" => encoded.latents.shallow_clone(),
            "indices" => encoded.tokens.shallow_clone(),
            "vq_loss" => encoded.vq_loss.shallow_clone(),
            "decoded" => model.decode(&encoded.qe),
            "decoded_indices" => model.decode_indices(&fixture.input("indices")),
            "decoded_latent" => model.decode(&fixture.input("latent")),
            _ => continue,
        };
        fixture.check(&mut outcome, &name, &got);
    }
    outcome
}

pub fn vqgan_train(fixture: &Fixture) -> Outcome {
    let mut outcome = Outcome::default();
    let (vars, model) = vqgan_with(fixture);
    let images = fixture.input("img");
    let encoded = model.encode(&images, true);
    let recon = model.decode(&encoded.qe);
    let mse = (&recon - &images).square().mean(Kind::Float);
    let loss = &mse + &encoded.vq_loss;
    loss.backward();
    let variables = vars.variables();
    for name in fixture.outputs() {
        let got = match name.as_str() {
            "qe" => encoded.qe.shallow_clone(),
            "x" => encoded.latents.shallow_clone(),
            "indices" => encoded.tokens.shallow_clone(),
            "vq_loss" => encoded.vq_loss.shallow_clone(),
            "recon" => recon.shallow_clone(),
            "mse" => mse.shallow_clone(),
            "loss" => loss.shallow_clone(),
            other => match other.strip_prefix("buffer.") {
                Some(buffer) => variables[buffer].shallow_clone(),
                None => continue,
            },
        };
        fixture.check(&mut outcome, &name, &got);
    }
    check_gradients(fixture, &vars, &mut outcome);
    outcome
}

/// One judgement that teaches, then one step of a discriminator that learns: real pictures first, then made ones.
pub fn discriminator(fixture: &Fixture) -> Outcome {
    let mut outcome = Outcome::default();
    let config = DiscriminatorConfig {
        c_hidden: int(&fixture.init["c_hidden"]),
        depth: int(&fixture.init["depth"]),
    };
    let vars = nn::VarStore::new(device());
    let model = Discriminator::new(&VarBuilder::skeleton(&vars), &config);
    fixture.fill(&vars);
    let [images, made] = ["images", "made"].map(|name| fixture.input(name));
    let taught = model.logits(&images, Judging::ToTeach).sigmoid();
    assert!(!taught.requires_grad(), "its weights are numbers to the one who learns");
    fixture.check(&mut outcome, "eval", &taught);
    let [real, fake] = [&images, &made].map(|xs| model.logits(xs, Judging::ToLearn));
    let loss = mistakes(&real, &fake);
    loss.backward();
    for (name, got) in [("real", real.sigmoid()), ("fake", fake.sigmoid()), ("loss", loss)] {
        fixture.check(&mut outcome, name, &got);
    }
    check_gradients(fixture, &vars, &mut outcome);
    for (name, xs) in vars.variables().into_iter().filter(|(_, xs)| !xs.requires_grad()) {
        fixture.check(&mut outcome, &format!("buffer.{name}"), &xs);
    }
    outcome
}
