//! The denoiser's forward pass, and the noise.

use super::{int, ints};
use crate::fixture::{Fixture, Outcome, device};
use paella::model::init::VarBuilder;
use paella::model::{Block, Cond, LevelConfig, Paella, PaellaConfig};
use paella::noise::{add_noise, draw_mask, loss_weight};
use serde_json::Value;
use tch::{Kind, Tensor, nn};

pub fn paella_config(init: &Value) -> PaellaConfig {
    let (c_hidden, nhead, blocks) =
        (ints(&init["c_hidden"]), ints(&init["nhead"]), ints(&init["blocks"]));
    let block = |letter| match letter {
        'C' => Block::C,
        'T' => Block::T,
        'A' => Block::A,
        'F' => Block::F,
        other => panic!("block {other}"),
    };
    let level = |i: usize| LevelConfig {
        c_hidden: c_hidden[i],
        nhead: nhead[i],
        blocks: blocks[i],
        layout: init["level_config"][i].as_str().unwrap().chars().map(block).collect(),
        dropout: init["dropout"].as_f64().or(init["dropout"][i].as_f64()).unwrap(),
        ..LevelConfig::default()
    };
    assert_eq!(init["c_in"], init["c_out"]);
    PaellaConfig {
        c_in: int(&init["c_in"]),
        num_labels: int(&init["num_labels"]),
        c_r: int(&init["c_r"]),
        patch_size: int(&init["patch_size"]),
        c_cond: int(&init["c_cond"]),
        levels: (0..c_hidden.len()).map(level).collect(),
        byt5_embd: int(&init["byt5_embd"]),
        clip_embd: int(&init["clip_embd"]),
        clip_seq_len: int(&init["clip_seq_len"]),
        kernel_size: int(&init["kernel_size"]),
        self_attn: init["self_attn"].as_bool().unwrap(),
        ..PaellaConfig::default()
    }
}

/// A denoiser with the file's weights; the store is returned to keep its names.
pub fn paella(fixture: &Fixture) -> (nn::VarStore, Paella) {
    let vars = nn::VarStore::new(device());
    let model = Paella::new(&VarBuilder::skeleton(&vars), &paella_config(&fixture.init));
    fixture.fill(&vars);
    (vars, model)
}

pub fn cond(fixture: &Fixture, prefix: &str) -> Cond {
    Cond {
        byt5: fixture.input(&format!("{prefix}byt5")),
        clip: fixture.get(&format!("in.{prefix}clip")),
        clip_image: fixture.list(&format!("{prefix}clip_image")),
        attn_weights: None,
    }
}

pub fn forward(fixture: &Fixture) -> Outcome {
    let _no_grad = tch::no_grad_guard();
    let mut outcome = Outcome::default();
    let (_vars, model) = paella(fixture);
    let (x, r) = (fixture.input("x"), fixture.input("r"));
    let plain = cond(fixture, "");
    let full = Cond { attn_weights: fixture.get("in.attn_weights"), ..cond(fixture, "") };
    for name in fixture.outputs() {
        let got = match name.as_str() {
            "r_embed" => model.embed_t(&r),
            "c_embed" => model.embed_cond(&plain),
            "logits" => model.forward(&x, &r, &full, false),
            "logits_unweighted" => model.forward(&x, &r, &plain, false),
            "logits_x_cat" => {
                model.forward(&Tensor::cat(&[&x, &fixture.input("x_cat")], 1), &r, &full, false)
            }
            _ => continue,
        };
        fixture.check(&mut outcome, &name, &got);
    }
    let logits = model.forward_embedded(&x, &fixture.output("r_embed"), &full, false);
    fixture.check_at(&mut outcome, "logits", &logits, "atol_with_stored_r_embed");
    outcome
}

pub fn noise(fixture: &Fixture) -> Outcome {
    let mut outcome = Outcome::default();
    let (x, random, t) = (fixture.input("x"), fixture.input("random_x"), fixture.input("t"));
    let given = fixture.input("mask").to_kind(Kind::Bool);
    let drawn = draw_mask(&fixture.input("u"), &t);
    let (min, min_2) =
        (fixture.call["min_val"].as_f64().unwrap(), fixture.call["min_val_2"].as_f64());
    for name in fixture.outputs() {
        let got = match name.as_str() {
            "mask_from_u" => drawn.shallow_clone(),
            "noised_from_u" => add_noise(&x, &random, &drawn),
            "noised_given_mask" => add_noise(&x, &random, &given),
            "loss_weight_given_mask" => loss_weight(&given, &t, min),
            "loss_weight_from_u" => loss_weight(&drawn, &t, min),
            "loss_weight_min_val_2" => loss_weight(&drawn, &t, min_2.unwrap()),
            _ => continue,
        };
        fixture.check(&mut outcome, &name, &got);
    }
    outcome
}
