//! Training on the device under test, `PAELLA_TEST_DEVICE`: the same curve as on the CPU, however it is computed.
//!
//! Letters: B pictures, h x w tokens, K codes, S condition vectors of width D.

use crate::fixture::{Fixture, device, folder};
use crate::parity::paella::{cond, paella};
use crate::train::exclusive;
use paella::loss::{LossConfig, objective};
use paella::model::init::VarBuilder;
use paella::model::replay::{Replay, Replayed, sampling_only};
use paella::model::{Block, Cond, Denoiser, LevelConfig, Paella, PaellaConfig};
use paella::noise::{Noised, corrupt, random_tokens, uniform};
use paella::optim::{AdamW, OptimConfig};
use paella::recipe::Precision;
use paella::torch::precision::{Autocast, channels_last};
use tch::{Device, Kind, Tensor, nn};

const CODES: i64 = 64;
/// Pictures of an update, tokens a side, condition vectors and their width.
const B: i64 = 16;
const H: i64 = 8;
const S: i64 = 6;
const D: i64 = 24;

fn config() -> PaellaConfig {
    let level = |c_hidden, layout: &[Block]| LevelConfig {
        c_hidden,
        nhead: 4,
        blocks: 1,
        layout: layout.to_vec(),
        dropout: 0.0,
        ..LevelConfig::default()
    };
    let layout = [Block::C, Block::T, Block::A];
    PaellaConfig {
        c_in: 16,
        num_labels: CODES,
        c_r: 16,
        c_cond: 32,
        levels: vec![level(32, &layout[..2]), level(48, &layout)],
        byt5_embd: D,
        clip_embd: 0,
        ..PaellaConfig::default()
    }
}

/// Tokens, the same under noise, and text vectors. Drawn on the CPU, so that all devices see the same.
fn batch(step: i64, device: Device) -> (Tensor, Noised, Tensor) {
    tch::manual_seed(1);
    // 32 pictures to learn by heart, each with a text of its own
    let all = random_tokens(&[32, H, H], CODES, Device::Cpu);
    let text = Tensor::randn([32, S, D], (Kind::Float, Device::Cpu));
    tch::manual_seed(1000 + step);
    let picks = Tensor::randint(32, [B], (Kind::Int64, Device::Cpu));
    let (tokens, text) = (all.index_select(0, &picks), text.index_select(0, &picks));
    let Noised { t, mask, tokens: noised } = corrupt(&tokens, uniform(&[B], Device::Cpu), CODES);
    let [tokens, noised, t, mask, text] =
        [tokens, noised, t, mask, text].map(|xs| xs.to_device(device));
    (tokens, Noised { t, mask, tokens: noised }, text)
}

/// A fresh denoiser, the same on every device.
fn denoiser(device: Device) -> (nn::VarStore, Paella) {
    tch::manual_seed(7);
    let first = nn::VarStore::new(Device::Cpu);
    let _ = Paella::new(&VarBuilder::root(&first), &config());
    let vars = nn::VarStore::new(device);
    let model = Paella::new(&VarBuilder::skeleton(&vars), &config());
    tch::no_grad(|| {
        for (name, mut xs) in vars.variables() {
            xs.copy_(&first.variables()[&name]);
        }
    });
    (vars, model)
}

/// The losses of `steps` updates.
fn curve(device: Device, steps: i64, precision: &Precision) -> Vec<f64> {
    let (vars, mut model) = denoiser(device);
    model.recompute(&precision.recompute, &vars);
    if precision.channels_last {
        channels_last(&vars);
    }
    let optim = OptimConfig { lr: 1e-3, warmup: 10, ..OptimConfig::default() };
    let mut optimizer = AdamW::new(&[("", &vars)], &optim);
    let update = |step: i64| {
        let (tokens, noised, text) = batch(step, device);
        let logits = {
            let _autocast = Autocast::bf16(precision.bf16, device).unwrap();
            model.forward(&noised.tokens, &noised.t, &Cond::text(text), true).to_kind(Kind::Float)
        };
        let config = LossConfig { label_smoothing: 0.1, min_val: 0.3 };
        let loss = objective(&logits, &tokens, &noised, config);
        loss.backward();
        optimizer.update(optim.lr_at(step as u64, steps as u64)).unwrap();
        loss.double_value(&[])
    };
    (0..steps).map(update).collect()
}

/// The largest difference, as a share.
fn apart(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| ((a - b) / a).abs()).fold(0.0, f64::max)
}

/// Means of 20 losses after each other.
fn smooth(curve: &[f64]) -> Vec<f64> {
    curve.chunks(20).map(|part| part.iter().sum::<f64>() / part.len() as f64).collect()
}

#[test]
fn two_hundred_updates_have_the_losses_of_the_cpu() {
    let _turn = exclusive();
    let own = curve(device(), 200, &Precision::default());
    let cpu = curve(Device::Cpu, 200, &Precision::default());
    let (first, all) = (apart(&own[..20], &cpu[..20]), apart(&smooth(&own), &smooth(&cpu)));
    eprintln!("figures: first 20 updates {first:.1e} apart, means of 20 {all:.1e}");
    // rounding grows with every update: the first ones tell faults, means tell whether the same is learned
    assert!(first < 1e-3 && all < 2e-2, "{own:?} {cpu:?}");
    assert!(smooth(&own)[9] < 0.8 * smooth(&own)[0], "it learns: {:?}", smooth(&own));
}

#[test]
fn ways_to_compute_lead_to_the_same_losses_on_the_device() {
    let _turn = exclusive();
    let plain = curve(device(), 30, &Precision::default());
    let with = |precision: Precision| apart(&plain, &curve(device(), 30, &precision));
    let again = with(Precision::default());
    let recompute = with(Precision { recompute: vec![0, 1], ..Precision::default() });
    let layout = with(Precision { channels_last: true, ..Precision::default() });
    let bf16 = with(Precision { bf16: true, ..Precision::default() });
    eprintln!(
        "figures: the same again {again:.1e}, recompute {recompute:.1e}, channels_last {layout:.1e}, bf16 {bf16:.1e}"
    );
    // a GPU adds gradients up in an order that changes from run to run
    let exact = if device().is_cuda() { 1e-3 } else { 0.0 };
    assert!(again <= exact && recompute <= exact);
    assert!(layout < 1e-3 && bf16 > 0.0 && bf16 < 2e-2);
}

#[test]
fn bf16_is_within_two_percent_of_the_reference() {
    let _no_grad = tch::no_grad_guard();
    device();
    let mut compared = 0;
    for name in ["paella_full", "paella_byt5_only", "paella_clip_text", "paella_clip_list"] {
        let fixture = Fixture::read(&folder().join(format!("{name}.safetensors")));
        let (_vars, model) = paella(&fixture);
        let logits = {
            let _autocast = Autocast::bf16(true, device()).unwrap();
            let (x, r) = (fixture.input("x"), fixture.input("r"));
            model.forward(&x, &r, &cond(&fixture, ""), false).to_kind(Kind::Float)
        };
        let expected = fixture.output("logits");
        let share =
            (&logits - &expected).norm().double_value(&[]) / expected.norm().double_value(&[]);
        eprintln!("figures: {name} {share:.1e}");
        assert!(share > 0.0 && share < 2e-2, "{name}: {share:e}");
        compared += 1;
    }
    assert_eq!(compared, 4);
}

/// On a GPU the passes are recorded and replayed; elsewhere the same code launches them one by one.
#[test]
fn replayed_passes_guess_what_bf16_passes_guess() {
    let _turn = exclusive();
    let _no_grad = tch::no_grad_guard();
    let (vars, model) = denoiser(device());
    let (_, Noised { tokens, t, .. }, text) = batch(3, device());
    let (cond, null) = (Cond::text(text.shallow_clone()), Cond::text(text.zeros_like()));
    let plain = |cond: &Cond| {
        let _autocast = Autocast::bf16(true, device()).unwrap();
        model.forward(&tokens, &t, cond, false).to_kind(Kind::Float)
    };
    // fresh weights have no opinion: what is compared should differ from place to place
    for (name, mut xs) in vars.variables() {
        if name.contains("clf") || name.contains("mapper") || name.contains("gamma") {
            xs.copy_(
                &(Tensor::randn(xs.size(), (Kind::Float, Device::Cpu)) * 0.2).to_device(device()),
            );
        }
    }
    let expected = [plain(&cond), plain(&null)];
    sampling_only(&vars);
    let replay = Replay::default();
    let fast = Replayed { model: &model, replay: Some(&replay) };
    let mut worst = 0f64;
    for _ in 0..3 {
        let (with_text, without) = fast.guidance_logits(&tokens, &t, &cond, &null);
        let single = fast.logits(&tokens, &t, &null);
        for (own, of) in [(&with_text, 0), (&without, 1), (&single, 1)] {
            let expected: &Tensor = &expected[of];
            let off = (own - expected).norm() / expected.norm();
            worst = worst.max(off.double_value(&[]));
        }
    }
    // other inputs of the same size go through the same recording
    let other = (&tokens + 1).remainder(CODES);
    let moved = (fast.logits(&other, &t, &null) - &expected[1]).norm() / expected[1].norm();
    eprintln!("figures: replayed {worst:.1e} apart, other tokens {:.1e}", moved.double_value(&[]));
    assert!(worst < 1e-2 && moved.double_value(&[]) > 5.0 * worst.max(1e-3));
    assert_eq!(replay.count(), if device().is_cuda() { 2 } else { 0 });
}
