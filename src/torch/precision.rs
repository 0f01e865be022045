//! Autocast to bf16, TF32, memory layouts and peak memory.

use super::checked;
use crate::error::Result;
use std::ffi::c_char;
use tch::{Device, Kind, Tensor, nn};
use torch_sys::C_tensor;

unsafe extern "C" {
    fn paella_autocast(on_device: *mut C_tensor, on: bool, was: *mut bool) -> *mut c_char;
    fn paella_layer_norm(xs: *mut C_tensor, eps: f64, out: *mut *mut C_tensor) -> *mut c_char;
    fn paella_tf32(on: bool) -> *mut c_char;
    fn paella_peak_memory(device: i32, bytes: *mut i64) -> *mut c_char;
}

/// Runs matrix products and convolutions of this thread in bf16 until it is dropped. Within another one it changes nothing.
///
/// Source:  `torch.autocast(device, dtype=torch.bfloat16)`.
pub struct Autocast {
    on_device: Tensor,
    was: bool,
}

impl Autocast {
    /// Starts autocast to bf16. Returns None if `on` is false, and everything stays f32.
    pub fn bf16(on: bool, device: Device) -> Result<Option<Self>> {
        if !on {
            return Ok(None);
        }
        let mut guard = Self { on_device: Tensor::empty([0], (Kind::Float, device)), was: false };
        guard.was = guard.switch(true, false)?;
        Ok(Some(guard))
    }

    /// Enters (`on`) or leaves, where `was` says whether the one outside goes on. Returns whether it was on.
    fn switch(&self, on: bool, mut was: bool) -> Result<bool> {
        // SAFETY: a live tensor and a place for the answer.
        let message = unsafe { paella_autocast(self.on_device.as_ptr().cast_mut(), on, &mut was) };
        checked(message, "autocast").map(|()| was)
    }
}

impl Drop for Autocast {
    fn drop(&mut self) {
        let _ = self.switch(false, self.was);
    }
}

/// Layer norm over the last dimension of bf16 values: bf16 -> bf16, the sums in f32. Autocast would make two copies in f32 and
/// round the result with the next product, to the same values.
pub fn layer_norm_bf16(xs: &Tensor, eps: f64) -> Result<Tensor> {
    let mut out = std::ptr::null_mut();
    // SAFETY: a live tensor; `out` receives an owned tensor when no message is returned.
    checked(
        unsafe { paella_layer_norm(xs.as_ptr().cast_mut(), eps, &mut out) },
        "layer norm in bf16",
    )?;
    // SAFETY: as above.
    Ok(unsafe { Tensor::from_ptr(out) })
}

/// Stores the weights of products and convolutions in bf16, as autocast hands them to every product: the same values, half the
/// memory, no casts. Such a network samples; it cannot be trained any more.
pub fn products_in_bf16(vars: &nn::VarStore, keep: impl Fn(&str) -> bool) {
    let _no_grad = tch::no_grad_guard();
    for (name, mut xs) in vars.variables() {
        if xs.kind() == Kind::Float && !keep(&name) {
            xs.set_data(&xs.to_kind(Kind::BFloat16));
        }
    }
}

/// Sets whether a GPU's f32 products may round their inputs to TF32. No effect on the CPU.
pub fn tf32(on: bool) -> Result<()> {
    // SAFETY: sets two flags.
    checked(unsafe { paella_tf32(on) }, "tf32")
}

/// Stores convolution weights channels-last. Their outputs, and what follows, then have that layout too.
pub fn channels_last(vars: &nn::VarStore) {
    let _no_grad = tch::no_grad_guard();
    for (_, mut xs) in vars.variables() {
        if xs.dim() == 4 && xs.size()[2..] != [1, 1] {
            xs.set_data(&xs.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]));
        }
    }
}

/// Peak memory in bytes: of tensors on a GPU, since the last call; of the whole process on the CPU, since its start.
/// None if the system does not report it.
pub fn peak_memory(device: Device) -> Option<u64> {
    match device {
        Device::Cuda(n) => {
            let mut bytes = 0;
            // SAFETY: a place for the answer.
            checked(unsafe { paella_peak_memory(n as i32, &mut bytes) }, "memory").ok()?;
            u64::try_from(bytes).ok()
        }
        _ => {
            let status = std::fs::read_to_string("/proc/self/status").ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_bf16_inside_and_gradients_f32() {
        let w = Tensor::ones([4, 4], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let xs = Tensor::full([2, 4], 1.0 + 1.0 / 512.0, (Kind::Float, Device::Cpu));
        let ys = {
            let _autocast = Autocast::bf16(true, Device::Cpu).expect("the CPU can");
            xs.matmul(&w)
        };
        assert_eq!(ys.kind(), Kind::BFloat16);
        assert_eq!(xs.matmul(&w).kind(), Kind::Float);
        let outer = Autocast::bf16(true, Device::Cpu).expect("the CPU can");
        drop(Autocast::bf16(true, Device::Cpu).expect("within another"));
        assert_eq!(xs.matmul(&w).kind(), Kind::BFloat16);
        drop(outer);
        assert_eq!(xs.matmul(&w).kind(), Kind::Float);
        ys.to_kind(Kind::Float).sum(Kind::Float).backward();
        assert_eq!(w.grad().kind(), Kind::Float);
        assert!(Autocast::bf16(false, Device::Cpu).expect("off").is_none());
        assert!(peak_memory(Device::Cpu).is_some_and(|bytes| bytes > 1 << 20));
    }
}
