//! Operators that libtorch has slow on a CPU, or only as several passes over memory: f32, with gradients. What they gained
//! stands in docs/benchmarks.md.
//!
//! Letters: B pictures, C channels, H x W positions, N draws, K codes.

use super::checked;
use crate::error::Result;
use std::ffi::c_char;
use tch::Tensor;
use torch_sys::C_tensor;

unsafe extern "C" {
    fn paella_plain(xs: *mut C_tensor) -> bool;
    fn paella_gelu_norm(
        xs: *mut C_tensor,
        gamma: *mut C_tensor,
        beta: *mut C_tensor,
        dropout: f64,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    fn paella_depthwise(
        xs: *mut C_tensor,
        weight: *mut C_tensor,
        bias: *mut C_tensor,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    fn paella_scale_shift(
        xs: *mut C_tensor,
        ab: *mut C_tensor,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    fn paella_multinomial(probs: *mut C_tensor, out: *mut *mut C_tensor) -> *mut c_char;
}

/// Whether these operators take `xs`: f32 on the CPU, and no autocast.
pub fn takes(xs: &Tensor) -> bool {
    // SAFETY: a live tensor.
    unsafe { paella_plain(xs.as_ptr().cast_mut()) }
}

/// GELU, global response norm and dropout: xs (B, .., C), gamma and beta of C values -> (B, .., C). Dropout draws what
/// libtorch's would.
///
/// The memory of `xs` is used for the result where no gradient is kept: nobody may look at it afterwards.
pub fn gelu_response_norm(
    xs: Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    dropout: f64,
) -> Result<Tensor> {
    let [xs, gamma, beta] = [&xs, gamma, beta].map(|xs| xs.as_ptr().cast_mut());
    // SAFETY: live tensors, and a place for the answer.
    owned("response norm", |out| unsafe { paella_gelu_norm(xs, gamma, beta, dropout, out) })
}

/// Depthwise convolution that keeps the size, with an odd window and zeros around: xs (B, C, H, W), weight (C, 1, k, k),
/// bias (C) -> (B, C, H, W), channels last in memory.
pub fn depthwise(xs: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let [xs, weight, bias] = [xs, weight, bias].map(|xs| xs.as_ptr().cast_mut());
    // SAFETY: as above.
    owned("depthwise convolution", |out| unsafe { paella_depthwise(xs, weight, bias, out) })
}

/// xs (1 + a) + b: xs (B, C, H, W), a and b side by side (B, 2 C) -> (B, C, H, W), channels last in memory.
pub fn scale_shift(xs: &Tensor, ab: &Tensor) -> Result<Tensor> {
    let [xs, ab] = [xs, ab].map(|xs| xs.as_ptr().cast_mut());
    // SAFETY: as above.
    owned("scale and shift", |out| unsafe { paella_scale_shift(xs, ab, out) })
}

/// One draw from each row of probabilities: probs (N, K) -> (N) i64, on a CPU what `multinomial` draws from the same random
/// numbers.
///
/// Panics: as tch's, where probabilities are no numbers.
pub fn multinomial(probs: &Tensor) -> Tensor {
    if !takes(probs) {
        return probs.multinomial(1, true).squeeze_dim(1);
    }
    let probs = probs.as_ptr().cast_mut();
    // SAFETY: as above.
    let drawn = owned("draws", |out| unsafe { paella_multinomial(probs, out) });
    drawn.unwrap_or_else(|e| panic!("{e}"))
}

/// The tensor that a call of the shim writes.
fn owned(place: &str, call: impl FnOnce(*mut *mut C_tensor) -> *mut c_char) -> Result<Tensor> {
    let mut out = std::ptr::null_mut();
    checked(call(&mut out), place)?;
    // SAFETY: without a message `out` is an owned tensor.
    Ok(unsafe { Tensor::from_ptr(out) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

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
        let got =
            tch::no_grad(|| gelu_response_norm(xs[0].copy(), &xs[1], &xs[2], 0.0).expect("f32"));
        assert!((got - want).abs().max().double_value(&[]) < 1e-5);
    }

    #[test]
    fn a_channel_without_energy_has_gradients() {
        let xs = Tensor::zeros([1, 2, 2, 4], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let (gamma, beta) = (randn(&[1, 1, 1, 4]), randn(&[1, 1, 1, 4]));
        let ys = gelu_response_norm(xs.shallow_clone(), &gamma, &beta, 0.0).expect("f32");
        ys.sum(Kind::Float).backward();
        assert_eq!(xs.grad().isfinite().all().int64_value(&[]), 1);
    }

    #[test]
    fn the_depthwise_convolution_is_that_of_libtorch_with_gradients() {
        tch::manual_seed(2);
        for (b, c, h, w, k) in
            [(1, 2, 1, 1, 3), (2, 70, 5, 7, 3), (1, 130, 2, 3, 5), (3, 64, 4, 4, 1)]
        {
            let inputs = [randn(&[b, c, h, w]), randn(&[c, 1, k, k]), randn(&[c])];
            let fast = |xs: &[Tensor]| depthwise(&xs[0], &xs[1], &xs[2]).expect("f32");
            let plain = |xs: &[Tensor]| {
                xs[0].conv2d(&xs[1], Some(&xs[2]), [1, 1], [k / 2, k / 2], [1, 1], c)
            };
            same(&inputs, fast, plain);
            // channels last in memory, as the denoiser's are
            let last = inputs[0].permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
            same(&[last, inputs[1].copy(), inputs[2].copy()], fast, plain);
        }
    }

    #[test]
    fn scale_and_shift_are_those_of_libtorch_with_gradients() {
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
            let want = draw(&|| probs.multinomial(1, true).squeeze_dim(1));
            assert_eq!(draw(&|| multinomial(&probs)), want, "{n} x {k}");
        }
    }

    #[test]
    fn probabilities_that_are_no_numbers_are_refused_in_libtorchs_words() {
        let probs = Tensor::from_slice(&[f32::NAN, 1.0]).view([1, 2]);
        let refused =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| multinomial(&probs)));
        let said = refused.expect_err("refused").downcast::<String>().expect("a text");
        assert!(said.contains("probability tensor contains"), "{said}");
    }

    #[test]
    fn sixteen_bits_and_autocast_are_left_to_libtorch() {
        let xs = randn(&[2, 2]);
        assert!(
            takes(&xs) && !takes(&xs.to_kind(Kind::BFloat16)) && !takes(&xs.to_kind(Kind::Double))
        );
        let _autocast = crate::torch::precision::Autocast::bf16(true, Device::Cpu);
        assert!(!takes(&xs));
    }
}
