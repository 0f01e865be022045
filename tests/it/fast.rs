//! The fast ways on a CPU compute what the plain ones do: operators of the shim, conditions that are read once.

use crate::train::exclusive;
use paella::model::init::VarBuilder;
use paella::model::{Block, Cond, Denoiser, LevelConfig, Paella, PaellaConfig};
use paella::noise::random_tokens;
use paella::sample::{Greedy, SampleConfig, Sampler};
use paella::torch::cpu::{depthwise, gelu_response_norm, multinomial, scale_shift, takes};
use paella::torch::precision::Autocast;
use tch::{Device, Kind, Tensor, nn};

fn randn(size: &[i64]) -> Tensor {
    Tensor::randn(size, (Kind::Float, Device::Cpu))
}

/// Both ways from the same inputs: results and gradients are within rounding of each other.
fn same(
    inputs: &[Tensor],
    fast: impl Fn(&[Tensor]) -> Tensor,
    plain: impl Fn(&[Tensor]) -> Tensor,
) {
    let run = |way: &dyn Fn(&[Tensor]) -> Tensor| {
        tch::manual_seed(5);
        let inputs: Vec<Tensor> =
            inputs.iter().map(|xs| xs.copy().set_requires_grad(true)).collect();
        let out = way(&inputs);
        (&out
            * Tensor::linspace(-1.0, 1.0, out.numel() as i64, (Kind::Float, Device::Cpu))
                .view_as(&out))
        .sum(Kind::Float)
        .backward();
        let grads = inputs.iter().map(Tensor::grad);
        std::iter::once(out.detach()).chain(grads).collect::<Vec<_>>()
    };
    for (i, (a, b)) in run(&fast).iter().zip(run(&plain)).enumerate() {
        assert_eq!(a.size(), b.size(), "{i}");
        let scale = b.abs().max().double_value(&[]).max(1.0);
        let apart = (a - &b).abs().max().double_value(&[]);
        assert!(apart < 4e-6 * scale, "{i}: {apart} of {scale}");
    }
}

fn norm_of_gelu(xs: &[Tensor], dropout: f64) -> Tensor {
    let h = xs[0].gelu("none");
    let energy = h.norm_scalaropt_dim(2.0, &[1i64, 2][..], true);
    let share = &energy / (energy.mean_dim(&[-1i64][..], true, Kind::Float) + 1e-6);
    let ys = &xs[1] * (&h * share) + &xs[2] + h;
    if dropout > 0.0 { ys.dropout(dropout, true) } else { ys }
}

#[test]
fn gelu_and_response_norm_are_those_of_libtorch_with_gradients_and_dropout() {
    let _turn = exclusive();
    tch::manual_seed(1);
    for (b, h, w, c, dropout) in [(1, 1, 1, 3, 0.0), (2, 5, 3, 70, 0.0), (3, 4, 9, 200, 0.3)] {
        let inputs = [randn(&[b, h, w, c]) * 3.0, randn(&[1, 1, 1, c]), randn(&[1, 1, 1, c])];
        let fast = |xs: &[Tensor]| {
            gelu_response_norm(xs[0].shallow_clone(), &xs[1], &xs[2], dropout).expect("f32")
        };
        same(&inputs, fast, |xs| norm_of_gelu(xs, dropout));
    }
    // without gradients in place, to the same values
    let xs = [randn(&[2, 3, 3, 65]), randn(&[1, 1, 1, 65]), randn(&[1, 1, 1, 65])];
    let want = norm_of_gelu(&xs, 0.0);
    let got = tch::no_grad(|| gelu_response_norm(xs[0].copy(), &xs[1], &xs[2], 0.0).expect("f32"));
    assert!((got - want).abs().max().double_value(&[]) < 1e-5);
}

#[test]
fn a_channel_without_energy_has_gradients() {
    let _turn = exclusive();
    let xs = Tensor::zeros([1, 2, 2, 4], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let (gamma, beta) = (randn(&[1, 1, 1, 4]), randn(&[1, 1, 1, 4]));
    let ys = gelu_response_norm(xs.shallow_clone(), &gamma, &beta, 0.0).expect("f32");
    ys.sum(Kind::Float).backward();
    assert_eq!(xs.grad().isfinite().all().int64_value(&[]), 1);
}

#[test]
fn the_depthwise_convolution_is_that_of_libtorch_with_gradients() {
    let _turn = exclusive();
    tch::manual_seed(2);
    for (b, c, h, w, k) in [(1, 2, 1, 1, 3), (2, 70, 5, 7, 3), (1, 130, 2, 3, 5), (3, 64, 4, 4, 1)]
    {
        let inputs = [randn(&[b, c, h, w]), randn(&[c, 1, k, k]), randn(&[c])];
        let fast = |xs: &[Tensor]| depthwise(&xs[0], &xs[1], &xs[2]).expect("f32");
        let plain =
            |xs: &[Tensor]| xs[0].conv2d(&xs[1], Some(&xs[2]), [1, 1], [k / 2, k / 2], [1, 1], c);
        same(&inputs, fast, plain);
        // channels last in memory, as the denoiser's are
        let last = inputs[0].permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
        same(&[last, inputs[1].copy(), inputs[2].copy()], fast, plain);
    }
}

#[test]
fn scale_and_shift_are_those_of_libtorch_with_gradients() {
    let _turn = exclusive();
    tch::manual_seed(6);
    for (b, c, h, w) in [(1, 3, 1, 1), (2, 70, 5, 4), (3, 16, 6, 6)] {
        let fast = |xs: &[Tensor]| scale_shift(&xs[0], &xs[1]).expect("f32");
        let plain = |xs: &[Tensor]| {
            let ab = xs[1].unsqueeze(-1).unsqueeze(-1).chunk(2, 1);
            &xs[0] * (1.0 + &ab[0]) + &ab[1]
        };
        same(&[randn(&[b, c, h, w]), randn(&[b, 2 * c])], fast, plain);
    }
}

#[test]
fn draws_are_those_of_libtorch_and_leave_its_generator_where_they_would() {
    let _turn = exclusive();
    for (seed, n, k) in [(0, 1, 1), (1, 7, 33), (2, 64, 512), (3, 3, 208), (4, 256, 97)] {
        tch::manual_seed(seed);
        let probs = (randn(&[n, k]) * 3.0).softmax(-1, Kind::Float);
        let _odd = Tensor::randint(9, [seed], (Kind::Int64, Device::Cpu)); // an odd number of words is used up
        let draw = |way: &dyn Fn() -> Tensor| {
            tch::manual_seed(seed + 10);
            let _some = Tensor::randint(9, [seed], (Kind::Int64, Device::Cpu));
            let drawn = way();
            (drawn, Tensor::rand([5], (Kind::Double, Device::Cpu)))
        };
        let libtorchs = |probs: &Tensor| draw(&|| probs.multinomial(1, true).squeeze_dim(1));
        assert_eq!(draw(&|| multinomial(&probs, false)), libtorchs(&probs), "{n} x {k}");
        let columns = probs.tr().contiguous().tr(); // the same, in memory column by column
        if n > 1 && k > 1 {
            assert_eq!(draw(&|| multinomial(&probs, true)), libtorchs(&columns), "{n} x {k}");
        }
    }
}

#[test]
fn probabilities_that_are_no_numbers_are_refused_in_libtorchs_words() {
    let _turn = exclusive();
    let probs = Tensor::from_slice(&[f32::NAN, 1.0]).view([1, 2]);
    let refused =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| multinomial(&probs, false)));
    let said = refused.expect_err("refused").downcast::<String>().expect("a text");
    assert!(said.contains("probability tensor contains"), "{said}");
}

#[test]
fn sixteen_bits_and_autocast_are_left_to_libtorch() {
    let _turn = exclusive();
    let xs = randn(&[2, 2]);
    assert!(takes(&xs) && !takes(&xs.to_kind(Kind::BFloat16)) && !takes(&xs.to_kind(Kind::Double)));
    let _autocast = Autocast::bf16(true, Device::Cpu);
    assert!(!takes(&xs));
}

/// A denoiser in which every weight counts; `layout` of its deeper level.
fn denoiser(layout: &[Block], self_attn: bool) -> (nn::VarStore, Paella) {
    let level = |c_hidden, layout: &[Block]| LevelConfig {
        c_hidden,
        nhead: 2,
        blocks: 2,
        layout: layout.to_vec(),
        dropout: 0.0,
        ..LevelConfig::default()
    };
    let config = PaellaConfig {
        c_in: 8,
        num_labels: 19,
        c_r: 6,
        c_cond: 12,
        levels: vec![level(10, &[Block::C, Block::T]), level(14, layout)],
        byt5_embd: 9,
        clip_embd: 5,
        clip_seq_len: 2,
        self_attn,
        ..PaellaConfig::default()
    };
    tch::manual_seed(3);
    let vars = nn::VarStore::new(Device::Cpu);
    let model = Paella::new(&VarBuilder::root(&vars), &config);
    tch::no_grad(|| {
        for (_, mut xs) in vars.variables() {
            let _ = xs.normal_(0.0, 0.3);
        }
    });
    (vars, model)
}

#[test]
fn conditions_that_were_read_once_give_the_guesses_of_every_pass() {
    let _turn = exclusive();
    use Block::{A, C, F, T};
    let cases: [(&[Block], bool); 3] = [(&[C, T, A], true), (&[A, F, A], false), (&[C, T], true)];
    for (layout, self_attn) in cases {
        let (_vars, model) = denoiser(layout, self_attn);
        let text = |s| Cond::text(randn(&[3, s, 9]));
        let clip =
            || Cond { clip: Some(randn(&[3, 5])), clip_image: vec![randn(&[3, 5])], ..text(4) };
        let weighed = || Cond { attn_weights: Some(Tensor::from_slice(&[0.5f32, 2.0])), ..text(4) };
        for (cond, null) in
            [(text(4), text(4)), (text(4), text(7)), (clip(), clip()), (weighed(), text(4))]
        {
            let _no_grad = tch::no_grad_guard();
            let reader = model.reader(&cond, &null).expect("it reads");
            for t in [0.9f32, 0.2] {
                let tokens = random_tokens(&[3, 4, 8], 19, Device::Cpu);
                let t = Tensor::from_slice(&[t, t, 0.5]);
                let (a, b) = reader.guidance_logits(&tokens, &t, &cond, &null);
                let alone = reader.logits(&tokens, &t, &cond); // the last passes of a schedule may be without guidance
                let other = text(5);
                let pairs = [
                    (a, &cond),
                    (b, &null),
                    (alone, &cond),
                    (reader.logits(&tokens, &t, &other), &other),
                ];
                for (got, cond) in pairs {
                    let want = model.logits(&tokens, &t, cond);
                    let apart = (&got - &want).abs().max().double_value(&[]);
                    assert!(apart < 2e-5 * want.abs().max().double_value(&[]).max(1.0), "{apart}");
                }
            }
        }
    }
}

/// A denoiser that reads nothing ahead.
struct Plain<'a>(&'a Paella);

impl Denoiser for Plain<'_> {
    fn logits(&self, tokens: &Tensor, t: &Tensor, cond: &Cond) -> Tensor {
        self.0.logits(tokens, t, cond)
    }
}

#[test]
fn a_run_has_the_tokens_of_passes_that_read_the_text_each_time() {
    let _turn = exclusive();
    let (_vars, model) = denoiser(&[Block::C, Block::T, Block::A], true);
    let (cond, null) = (Cond::text(randn(&[2, 4, 9])), Cond::text(randn(&[2, 4, 9])));
    let schedule =
        SampleConfig { guided_steps: 4, steps: 6, renoise_steps: 5, ..SampleConfig::default() }
            .schedule();
    let noise = random_tokens(&[2, 4, 4], 19, Device::Cpu);
    let run = |model: &dyn Denoiser| {
        tch::manual_seed(9);
        let chance = &Greedy;
        Sampler { model, cond: &cond, null: &null, noise: &noise, chance, region: None }
            .run(&noise, &schedule)
    };
    assert_eq!(run(&model), run(&Plain(&model)));
}
