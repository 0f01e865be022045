//! Properties of the method that hold for any model.

use crate::train::exclusive;
use paella::model::{Cond, Denoiser};
use paella::noise::{add_noise, draw_mask, loss_weight, random_tokens, uniform};
use paella::sample::{Chance, Greedy, Random, Region, SampleConfig, Sampler};
use proptest::prelude::*;
use tch::{Device, Kind, Tensor};

/// A denoiser that knows the picture, whatever the noise.
struct Oracle {
    answer: Tensor, // (B, h, w)
    num_labels: i64,
}

impl Denoiser for Oracle {
    fn logits(&self, _tokens: &Tensor, _t: &Tensor, _cond: &Cond) -> Tensor {
        self.answer.one_hot(self.num_labels).movedim_int(-1, 1).to_kind(Kind::Float) * 1e4
    }
}

fn cond() -> Cond {
    Cond::text(Tensor::zeros([1, 1, 1], (Kind::Float, Device::Cpu)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_model_that_knows_the_answer_is_followed(
        b in 1i64..3, h in 1i64..6, w in 1i64..6, k in 2i64..40, steps in 1i64..9, greedy: bool,
        cfg in 0.5f64..6.0, warm in 0.1f64..2.0,
    ) {
        let _turn = exclusive();
        let size = [b, h, w];
        let model = Oracle { answer: random_tokens(&size, k, Device::Cpu), num_labels: k };
        let noise = random_tokens(&size, k, Device::Cpu);
        let config = SampleConfig { cfg_scale: (cfg, 1.0), temperature: (warm, 0.1), ..SampleConfig::default() };
        let chance: &dyn Chance = if greedy { &Greedy } else { &Random };
        let (cond, null) = (cond(), cond());
        let sampler = Sampler { model: &model, cond: &cond, null: &null, noise: &noise, chance, region: None };
        let made = sampler.run(&noise, &config.with_steps(steps).schedule());
        prop_assert_eq!(made, model.answer);
    }

    #[test]
    fn noise_replaces_exactly_where_the_mask_is(h in 1i64..9, w in 1i64..9, t in 0.0f64..=1.0, min_val in 0.0f64..=1.0) {
        let _turn = exclusive();
        let (tokens, noise) = (random_tokens(&[1, h, w], 50, Device::Cpu), random_tokens(&[1, h, w], 50, Device::Cpu) + 50);
        let ratio = Tensor::from_slice(&[t as f32]);
        let mask = draw_mask(&uniform(&[1, h, w], Device::Cpu), &ratio);
        let noised = add_noise(&tokens, &noise, &mask);
        prop_assert_eq!(noised.ge(50), mask.shallow_clone());
        let weight = loss_weight(&mask, &ratio, min_val);
        prop_assert!(weight.min().double_value(&[]) >= min_val - 1e-6 && weight.max().double_value(&[]) <= 1.0 + 1e-6);
    }

    #[test]
    fn shuffling_pixels_undoes_unshuffling(p in 1i64..4, h in 1i64..4, w in 1i64..4, c in 1i64..4) {
        let _turn = exclusive();
        let xs = Tensor::rand([2, c, h * p, w * p], (Kind::Float, Device::Cpu));
        prop_assert_eq!(xs.pixel_unshuffle(p).pixel_shuffle(p), xs);
    }

    #[test]
    fn a_schedule_goes_down_to_its_end(steps in 1i64..40, start in 0.0f64..=1.0, end in 0.0f64..=1.0) {
        let config = SampleConfig { t_start: start, t_end: start.min(end), ..SampleConfig::default() }.with_steps(steps);
        let schedule = config.schedule();
        prop_assert_eq!(schedule.len() as i64, steps);
        prop_assert!(schedule.windows(2).all(|pair| pair[1].t <= pair[0].t && pair[0].t_next == pair[1].t));
        prop_assert_eq!(schedule[schedule.len() - 1].t_next, 0.0);
    }
}

#[test]
fn inpainting_keeps_what_is_outside_the_mask() {
    let _turn = exclusive();
    let size = [1, 6, 6];
    let model = Oracle { answer: random_tokens(&size, 9, Device::Cpu), num_labels: 9 };
    let original = random_tokens(&size, 9, Device::Cpu);
    let noise = random_tokens(&size, 9, Device::Cpu);
    let mask = Tensor::rand(size, (Kind::Float, Device::Cpu)).lt(0.5);
    let (cond, null) = (cond(), cond());
    let region = Some(Region { mask: &mask, original: &original });
    let sampler =
        Sampler { model: &model, cond: &cond, null: &null, noise: &noise, chance: &Random, region };
    let made = sampler.run(&noise, &SampleConfig::default().schedule());
    assert_eq!(made, model.answer.where_self(&mask, &original));
}
