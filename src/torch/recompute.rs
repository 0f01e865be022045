//! Activation checkpointing: saves memory by computing twice.

use super::{checked, pointers};
use crate::error::Result;
use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tch::Tensor;
use torch_sys::C_tensor;

type Run = extern "C" fn(*mut c_void, *const *mut C_tensor, i64) -> *mut C_tensor;
type Drop = extern "C" fn(*mut c_void);

unsafe extern "C" {
    fn paella_recompute(
        tensors: *const *mut C_tensor,
        inputs: i64,
        n: i64,
        run: Run,
        drop: Drop,
        closure: *mut c_void,
        output: *mut *mut C_tensor,
    ) -> *mut c_char;
}

type Recomputed = Box<dyn Fn(&[Tensor]) -> Tensor + Send>;

/// Computes `part(inputs)` without keeping its activations. The backward pass runs `part` again with the same random
/// draws and the same autocast, and gives gradients to `inputs` and to `params`, the trained tensors that `part` uses.
///
/// Source:  `torch.utils.checkpoint`, `use_reentrant=True`.
/// Differs: parameters are passed in, so that DDP sees them; `part` may run on another thread while this one waits.
pub fn recompute(
    inputs: &[Tensor],
    params: &[Tensor],
    part: impl Fn(&[Tensor]) -> Tensor + Send + 'static,
) -> Result<Tensor> {
    let all: Vec<*mut C_tensor> = pointers(inputs).into_iter().chain(pointers(params)).collect();
    let part: Recomputed = Box::new(part);
    let closure = Box::into_raw(Box::new(part)).cast();
    let mut output = std::ptr::null_mut();
    // SAFETY: live tensors; the shim takes over the closure and drops it with the graph; `output` receives an owned
    // tensor when no message is returned.
    let message = unsafe {
        paella_recompute(
            all.as_ptr(),
            inputs.len() as i64,
            all.len() as i64,
            run,
            drop_part,
            closure,
            &mut output,
        )
    };
    checked(message, "recompute")?;
    // SAFETY: as above.
    Ok(unsafe { Tensor::from_ptr(output) })
}

extern "C" fn run(closure: *mut c_void, inputs: *const *mut C_tensor, n: i64) -> *mut C_tensor {
    // SAFETY: `recompute` made the closure; the shim lends n tensors, and new handles of them are made here.
    let (part, inputs) = unsafe {
        let inputs = std::slice::from_raw_parts(inputs, n as usize);
        let handles: Vec<Tensor> =
            inputs.iter().map(|&input| Tensor::clone_from_ptr(input)).collect();
        (&*closure.cast::<Recomputed>(), handles)
    };
    let output = catch_unwind(AssertUnwindSafe(|| part(&inputs)));
    output.map_or(std::ptr::null_mut(), |xs| std::mem::ManuallyDrop::new(xs).as_mut_ptr())
}

extern "C" fn drop_part(closure: *mut c_void) {
    // SAFETY: made by `recompute`, dropped once, by the shim.
    drop(unsafe { Box::from_raw(closure.cast::<Recomputed>()) });
}
