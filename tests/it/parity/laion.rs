//! The decisions of the LAION filter, record by record.

use super::int;
use crate::fixture::Outcome;
use paella::data::laion::{CaptionRules, LaionFilter};
use serde_json::Value;

pub fn filter_of(value: &Value) -> LaionFilter {
    let number = |key: &str| value[key].as_f64().unwrap();
    let rules = |rules: &Value| CaptionRules {
        min_words: int(&rules["min_words"]) as usize,
        forbidden_words: rules["forbidden_words"]
            .as_array()
            .unwrap()
            .iter()
            .map(|word| word.as_str().unwrap().to_string())
            .collect(),
    };
    LaionFilter {
        min_size: int(&value["min_size"]),
        max_pwatermark: number("max_pwatermark"),
        min_aesthetic: number("aesthetic_threshold"),
        max_punsafe: number("unsafe_threshold"),
        caption: Some(&value["text_conditions"]).filter(|value| !value.is_null()).map(rules),
    }
}

/// The bytes of a member: given as text, as base64, or absent.
pub fn member(record: &Value, name: &str) -> Option<Vec<u8>> {
    let plain = record[name].as_str().map(|text| text.as_bytes().to_vec());
    plain.or_else(|| record[format!("{name}_b64")].as_str().map(base64))
}

fn base64(text: &str) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let six = |byte: u8| LETTERS.iter().position(|letter| *letter == byte).unwrap() as u32;
    let text = text.trim_end_matches('=').as_bytes();
    let three = |four: &[u8]| {
        let bits = (0..4).fold(0, |bits, i| bits << 6 | four.get(i).map_or(0, |byte| six(*byte)));
        bits.to_be_bytes()[1..four.len()].to_vec()
    };
    text.chunks(4).flat_map(three).collect()
}

pub fn filter(value: &Value) -> Outcome {
    let mut outcome = Outcome::default();
    let filters: Vec<_> = value["filters"].as_array().unwrap().iter().map(filter_of).collect();
    for record in value["records"].as_array().unwrap() {
        let name = record["name"].as_str().unwrap();
        let filter = &filters[int(&record["filter"]) as usize];
        let (json, txt) = (member(record, "json"), member(record, "txt"));
        let decision = filter.check(json.as_deref(), txt.as_deref());
        if decision.is_ok() != record["accept"].as_bool().unwrap() {
            outcome.faults.push(format!("{name}: got {decision:?}"));
        }
        outcome.compared.push(name.to_string());
    }
    outcome
}
