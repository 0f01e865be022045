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
    fn paella_multinomial(
        probs: *mut C_tensor,
        by_column: bool,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
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

/// One draw from each row of probabilities: probs (N, K) -> (N) i64. The same random numbers give what libtorch's
/// `multinomial` gives. Numbers go along the rows; on a CPU `by_column` takes them down the columns, as libtorch does where
/// probs lie column by column in memory.
///
/// Panics: as tch's, where probabilities are no numbers.
pub fn multinomial(probs: &Tensor, by_column: bool) -> Tensor {
    if !takes(probs) {
        return probs.multinomial(1, true).squeeze_dim(1);
    }
    let probs = probs.as_ptr().cast_mut();
    // SAFETY: as above.
    let drawn = owned("draws", |out| unsafe { paella_multinomial(probs, by_column, out) });
    drawn.unwrap_or_else(|e| panic!("{e}"))
}

/// The tensor that a call of the shim writes.
fn owned(place: &str, call: impl FnOnce(*mut *mut C_tensor) -> *mut c_char) -> Result<Tensor> {
    let mut out = std::ptr::null_mut();
    checked(call(&mut out), place)?;
    // SAFETY: without a message `out` is an owned tensor.
    Ok(unsafe { Tensor::from_ptr(out) })
}
