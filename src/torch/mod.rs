//! Calls into the C++ shim for what tch lacks: fused AdamW, gradient norms, moving averages, loading CUDA on demand.
//! [`precision`]: autocast, TF32, memory. [`recompute`]: activations that are recomputed instead of kept. [`chance`]:
//! restoring generator states. [`profile`]: time by operator and kernel.
//! [`mapped`]: files as tensors, read from the disk as they are used.
//! [`graph`]: kernels recorded and launched again. [`cpu`]: operators that libtorch has slow on a CPU.

pub mod chance;
pub mod cpu;
pub mod graph;
pub mod mapped;
pub mod precision;
pub mod profile;
mod recompute;

pub use recompute::recompute;

use crate::error::{Error, Result};
use crate::files;
use std::ffi::{CStr, c_char, c_void};
use tch::{Device, TchError, Tensor};
use torch_sys::C_tensor;

unsafe extern "C" {
    fn paella_fused_adamw(
        params: *const *mut C_tensor,
        exp_avgs: *const *mut C_tensor,
        exp_avg_sqs: *const *mut C_tensor,
        steps: *const *mut C_tensor,
        n: i64,
        lr: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        eps: f64,
        factor: f64,
    ) -> *mut c_char;
    fn paella_grad_norm(p: *const *mut C_tensor, n: i64, norm: *mut *mut C_tensor) -> *mut c_char;
    fn paella_reset_grads(p: *const *mut C_tensor, n: i64) -> *mut c_char;
    fn paella_lerp(
        a: *const *mut C_tensor,
        b: *const *mut C_tensor,
        n: i64,
        weight: f64,
    ) -> *mut c_char;
    fn paella_pin_memory(xs: *mut C_tensor, out: *mut *mut C_tensor) -> *mut c_char;
    fn paella_load_cuda() -> bool;
    fn paella_torch_version() -> *const c_char;
    fn free(pointer: *mut c_void);
}

/// The library with the half of the shim that needs CUDA: `$PAELLA_CUDA`, else in `$PAELLA_HOME` or beside the program, else
/// where it was built. Empty if it was not built.
pub fn cuda_library() -> String {
    const NAME: &str = "libpaella_cuda.so";
    let named = std::env::var("PAELLA_CUDA").ok().filter(|path| !path.is_empty());
    let at_home = || files::at_home(NAME).into_iter().find(|path| path.is_file());
    let found = named.or_else(|| at_home().map(|path| path.display().to_string()));
    let built = env!("PAELLA_CUDA");
    found.unwrap_or(built.to_string())
}

/// Hyperparameters of one AdamW update.
#[derive(Clone, Copy, Debug)]
pub struct AdamWStep {
    pub lr: f64,
    pub betas: (f64, f64),
    pub eps: f64,
    pub weight_decay: f64,
    /// Gradients count this many times: below 1 where they are clipped.
    pub factor: f64,
}

/// One AdamW update of all `params` that have a gradient. All lists have the same length. Gradients may be scaled by it.
///
/// Source:  `at::_fused_adamw_`, as called by `torch.optim.AdamW(fused=True)`; f32 on the CPU has its own loop.
pub fn fused_adamw(
    params: &[Tensor],
    avgs: &[Tensor],
    sqs: &[Tensor],
    steps: &[Tensor],
    at: AdamWStep,
) -> Result<()> {
    assert!(params.len() == avgs.len() && params.len() == sqs.len() && params.len() == steps.len());
    let (p, m, v, s) = (pointers(params), pointers(avgs), pointers(sqs), pointers(steps));
    let AdamWStep { lr, betas: (beta1, beta2), eps, weight_decay, factor } = at;
    // SAFETY: four arrays of n live tensors each.
    let message = unsafe {
        paella_fused_adamw(
            p.as_ptr(),
            m.as_ptr(),
            v.as_ptr(),
            s.as_ptr(),
            p.len() as i64,
            lr,
            beta1,
            beta2,
            weight_decay,
            eps,
            factor,
        )
    };
    checked(message, "fused AdamW")
}

/// Total 2-norm of the gradients.
pub fn grad_norm(params: &[Tensor]) -> Result<f64> {
    let p = pointers(params);
    let mut norm = std::ptr::null_mut();
    // SAFETY: n live tensors; `norm` receives an owned tensor when no message is returned.
    checked(unsafe { paella_grad_norm(p.as_ptr(), p.len() as i64, &mut norm) }, "gradient norm")?;
    // SAFETY: as above.
    Ok(unsafe { Tensor::from_ptr(norm) }.double_value(&[]))
}

/// Removes all gradients. Zeroing them would not do: the next update skips a parameter only if it has no gradient.
pub fn reset_grads(params: &[Tensor]) -> Result<()> {
    let p = pointers(params);
    // SAFETY: n live tensors.
    checked(unsafe { paella_reset_grads(p.as_ptr(), p.len() as i64) }, "gradients")
}

/// averages += (values - averages) weight, elementwise. The lists have the same length and shapes.
pub fn lerp(averages: &[Tensor], values: &[Tensor], weight: f64) -> Result<()> {
    assert_eq!(averages.len(), values.len());
    let (a, b) = (pointers(averages), pointers(values));
    // SAFETY: two arrays of n live tensors.
    checked(
        unsafe { paella_lerp(a.as_ptr(), b.as_ptr(), a.len() as i64, weight) },
        "moving average",
    )
}

/// A copy of a CPU tensor in pinned memory, which a GPU can read directly.
///
/// Differs: tch passes a device; libtorch 2.11 prints a deprecation warning for that argument on every call.
pub fn pinned(xs: &Tensor) -> Result<Tensor> {
    let mut out = std::ptr::null_mut();
    // SAFETY: a live tensor; `out` receives an owned one when no message is returned.
    checked(unsafe { paella_pin_memory(xs.as_ptr().cast_mut(), &mut out) }, "pinned memory")?;
    // SAFETY: as above.
    Ok(unsafe { Tensor::from_ptr(out) })
}

/// A copy on the CPU without gradient, which uses no GPU memory.
pub fn copied(xs: &Tensor) -> Tensor {
    match xs.device() {
        Device::Cpu => xs.detach().copy(),
        _ => xs.detach().to_device(Device::Cpu),
    }
}

/// Version of libtorch, such as `2.11.0`.
pub fn version() -> String {
    // SAFETY: a constant C string.
    unsafe { CStr::from_ptr(paella_torch_version()) }.to_string_lossy().into_owned()
}

/// Loads libtorch's CUDA library if it is installed; otherwise does nothing.
///
/// Call it before any query about CUDA, because libtorch caches the first answer.
pub fn load_cuda() -> bool {
    // SAFETY: loads a shared object by name.
    unsafe { paella_load_cuda() }
}

pub(crate) fn pointers(tensors: &[Tensor]) -> Vec<*mut C_tensor> {
    tensors.iter().map(|tensor| tensor.as_ptr().cast_mut()).collect()
}

/// Converts the shim's message, if any, into an error.
pub(crate) fn checked(message: *mut c_char, place: &str) -> Result<()> {
    taken(message).map_or(Ok(()), |text| Err(Error::torch(&TchError::Torch(text), place)))
}

/// The text of a message from the shim. None on success.
pub(crate) fn taken(message: *mut c_char) -> Option<String> {
    if message.is_null() {
        return None;
    }
    // SAFETY: the shim hands over a C string from strdup.
    let text = unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        free(message.cast());
        text
    };
    Some(text)
}
