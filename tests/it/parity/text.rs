//! ByT5: bytes to ids, ids to vectors.

use super::{int, ints};
use crate::fixture::{Fixture, Outcome, device};
use paella::model::init::VarBuilder;
use paella::tokens::text::{TextConfig, TextEncoder, batch_tokens, byte_tokens};
use serde_json::Value;
use tch::{Tensor, nn};

pub fn text_encoder(fixture: &Fixture) -> Outcome {
    let _no_grad = tch::no_grad_guard();
    let mut outcome = Outcome::default();
    let get = |key: &str| int(&fixture.init[key]);
    let config = TextConfig {
        vocab_size: get("vocab_size"),
        d_model: get("d_model"),
        d_kv: get("d_kv"),
        d_ff: get("d_ff"),
        num_layers: get("num_layers"),
        num_heads: get("num_heads"),
        relative_attention_num_buckets: get("relative_attention_num_buckets"),
        relative_attention_max_distance: get("relative_attention_max_distance"),
        ..TextConfig::default()
    };
    let vars = nn::VarStore::new(device());
    let model = TextEncoder::new(&VarBuilder::skeleton(&vars), &config);
    fixture.fill(&vars);
    let (ids, mask) = (fixture.input("input_ids"), fixture.input("attention_mask"));
    if let Some(texts) = fixture.call["texts"].as_array() {
        let texts: Vec<String> =
            texts.iter().map(|text| text.as_str().unwrap().to_string()).collect();
        assert_eq!(
            batch_tokens(&texts, None, device()),
            (ids.shallow_clone(), mask.shallow_clone())
        );
    }
    fixture.check(&mut outcome, "hidden", &model.forward(&ids, None));
    fixture.check(&mut outcome, "hidden_masked", &model.forward(&ids, Some(&mask)));
    outcome
}

pub fn byte_tokenizer(value: &Value) -> Outcome {
    let mut outcome = Outcome::default();
    for case in value["strings"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap().to_string();
        let (ids, _) = batch_tokens(std::slice::from_ref(&text), None, device());
        if Vec::<i64>::try_from(ids.view(-1)).unwrap() != ints(&case["ids"]) {
            outcome.faults.push(format!("{text:?}: got {:?}", byte_tokens(&text)));
        }
        outcome.compared.push(text);
    }
    for case in value["batches"].as_array().unwrap() {
        let texts: Vec<String> = case["texts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|text| text.as_str().unwrap().to_string())
            .collect();
        let (ids, mask) = batch_tokens(&texts, None, device());
        let rows = |key: &str| {
            Tensor::from_slice(
                &case[key].as_array().unwrap().iter().flat_map(ints).collect::<Vec<_>>(),
            )
            .to_device(device())
        };
        if ids.view(-1) != rows("input_ids") || mask.view(-1) != rows("attention_mask") {
            outcome.faults.push(format!("{texts:?}"));
        }
        outcome.compared.push(format!("{texts:?}"));
    }
    outcome
}
