//! The published VQGAN in candle. Answers requests as `paella bench --serve` does (`decode N TIMES`), with random weights.
//!
//! Letters: B pictures of 256 x 256 pixels, 64 x 64 tokens of 4 channels.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{VarBuilder, VarMap};
use candle_transformers::models::wuerstchen::paella_vq::PaellaVQ;
use serde_json::{Value, json};
use std::io::BufRead;
use std::time::Instant;

/// Tokens of a side.
const GRID: usize = 64;

fn main() -> Result<()> {
    let vars = VarMap::new();
    let model = PaellaVQ::new(VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu))?;
    println!("{}", json!({ "ready": true }));
    for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
        println!("{}", answer(&model, &line).unwrap_or_else(|e| json!({ "error": e.to_string() })));
    }
    Ok(())
}

fn answer(model: &PaellaVQ, line: &str) -> Result<Value> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["decode", batch, times] = words.as_slice() else {
        return Ok(json!({ "error": format!("no peer for `{line}`") }));
    };
    let number = |word: &str| word.parse::<usize>().map_err(candle_core::Error::wrap);
    let (batch, times) = (number(batch)?, number(times)?);
    let latents = Tensor::randn(0f32, 1f32, (batch, 4, GRID, GRID), &Device::Cpu)?;
    let run = || model.decode(&latents)?.clamp(0f32, 1f32); // (B, 3, 256, 256)
    run()?;
    let mut each = Vec::new();
    for _ in 0..times {
        let start = Instant::now();
        run()?;
        each.push(1e3 * start.elapsed().as_secs_f64());
    }
    Ok(json!({ "piece": { "piece": "decode", "batch": batch, "each_ms": each } }))
}
