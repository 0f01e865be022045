//! CLIP: each tower alone, both together, and the image preprocessing.

use super::{int, ints};
use crate::fixture::{Fixture, Outcome, device};
use paella::model::clip::{
    Clip, ClipConfig, ClipText, ClipTextConfig, ClipVision, ClipVisionConfig, TextPieces,
    logit_scale,
};
use paella::model::init::VarBuilder;
use paella::model::preprocess::ClipPixels;
use paella::tokens::pieces;
use serde_json::Value;
use tch::{Device, Tensor, nn};

/// The sizes of a tower. Defaults are open_clip's.
fn sizes(config: &Value) -> impl Fn(&str, i64) -> i64 {
    let config = config.clone();
    move |key, default| config.get(key).map_or(default, int)
}

fn mlp_ratio(config: &Value) -> f64 {
    config["mlp_ratio"].as_f64().unwrap_or(4.0)
}

fn text_config(config: &Value) -> ClipTextConfig {
    let size = sizes(config);
    ClipTextConfig {
        context_length: size("context_length", 77),
        vocab_size: size("vocab_size", 49408),
        pieces: TextPieces::Subwords,
        width: size("width", 512),
        heads: size("heads", 8),
        layers: size("layers", 12),
        mlp_ratio: mlp_ratio(config),
    }
}

fn vision_config(config: &Value) -> ClipVisionConfig {
    let size = sizes(config);
    ClipVisionConfig {
        image_size: size("image_size", 224),
        patch_size: size("patch_size", 16),
        width: size("width", 768),
        head_width: size("head_width", 64),
        layers: size("layers", 12),
        mlp_ratio: mlp_ratio(config),
    }
}

/// The towers for which the file has weights.
fn towers_of(fixture: &Fixture, vars: &nn::VarStore) -> (Option<ClipText>, Option<ClipVision>) {
    let init = &fixture.init;
    let (text, vision) = (init.get("text_cfg"), init.get("vision_cfg"));
    let embed_dim = int(&init["embed_dim"]);
    let place = VarBuilder::skeleton(vars);
    if let (Some(text), Some(vision)) = (text, vision) {
        let (text, vision) = (text_config(text), vision_config(vision));
        let config = ClipConfig { embed_dim, text, vision, ..ClipConfig::default() };
        let clip = Clip::new(&place, &config);
        return (Some(clip.text), Some(clip.vision));
    }
    if fixture.get("w.logit_scale").is_some() {
        let _ = logit_scale(&place); // the store keeps it
    }
    let text = text.map(|config| ClipText::new(&place, &text_config(config), embed_dim));
    let place = &place / "visual";
    (text, vision.map(|config| ClipVision::new(&place, &vision_config(config), embed_dim)))
}

pub fn towers(fixture: &Fixture) -> Outcome {
    let _no_grad = tch::no_grad_guard();
    let mut outcome = Outcome::default();
    assert_ne!(fixture.init["quick_gelu"], true, "the quick GELU is not built");
    let vars = nn::VarStore::new(device());
    let (text, vision) = towers_of(fixture, &vars);
    fixture.fill(&vars);
    let wanted = |xs: Tensor| match fixture.call["normalize"] == true {
        true => &xs / xs.norm_scalaropt_dim(2.0, &[-1i64][..], true),
        false => xs,
    };
    if let Some(text) = text {
        fixture.check(&mut outcome, "text", &wanted(text.encode(&fixture.input("tokens"))));
    }
    if let Some(vision) = vision {
        fixture.check(&mut outcome, "image", &wanted(vision.encode(&fixture.input("image"))));
    }
    outcome
}

pub fn preprocess(fixture: &Fixture) -> Outcome {
    let mut outcome = Outcome::default();
    let three = |key: &str| [0, 1, 2].map(|i| fixture.init[key][i].as_f64().unwrap());
    assert_eq!(fixture.init["interpolation"], "bicubic");
    for name in fixture.outputs() {
        let (what, case) = name.split_once('.').unwrap();
        let (step, filter) = what.split_once('_').unwrap();
        let pixels = ClipPixels {
            size: int(&fixture.init["size"]),
            mean: three("mean"),
            std: three("std"),
            antialias: filter == "antialias",
        };
        let images = fixture.input(&format!("image.{case}"));
        let got = match step {
            "resized" => pixels.resize(&images),
            "result" => pixels.prepare(&images),
            _ => continue,
        };
        let got = got.unwrap();
        if got.size() != fixture.output(&name).size() {
            outcome.faults.push(format!("`{name}` is {:?}", got.size()));
        }
        fixture.check(&mut outcome, &name, &got);
    }
    outcome
}

/// Texts that need ftfy are included.
pub fn pieces(value: &Value) -> Outcome {
    let mut outcome = Outcome::default();
    let length = int(&value["context_length"]);
    let cases = ["strings", "special"].iter().flat_map(|key| value[*key].as_array().unwrap());
    for case in cases {
        let text = case["text"].as_str().unwrap().to_string();
        let mut expected = ints(&case["ids"]);
        expected.resize(length as usize, 0);
        let ids =
            pieces::batch(std::slice::from_ref(&text), TextPieces::Subwords, length, Device::Cpu);
        if Vec::<i64>::try_from(ids.view(-1)).unwrap() != expected {
            outcome.faults.push(format!("{text:?}: got {ids:?}"));
        }
        outcome.compared.push(text);
    }
    outcome
}
