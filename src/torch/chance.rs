//! Draws that leave no trace.

use super::checked;
use crate::error::Result;
use std::ffi::c_char;
use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

unsafe extern "C" {
    fn paella_generator_state(on_device: *mut C_tensor, state: *mut *mut C_tensor) -> *mut c_char;
    fn paella_set_generator_state(on_device: *mut C_tensor, state: *mut C_tensor) -> *mut c_char;
}

/// Libtorch's generators as they are now. When it is dropped they are so again, whatever was drawn or seeded meanwhile.
pub struct KeptChance {
    /// An empty tensor on the device of each generator, and its state.
    states: Vec<(Tensor, Tensor)>,
}

impl KeptChance {
    /// Those of the CPU and of `device`.
    ///
    /// Errors: libtorch's, such as a device that is not there.
    pub fn new(device: Device) -> Result<Self> {
        let mut devices = vec![Device::Cpu];
        if device != Device::Cpu {
            devices.push(device);
        }
        let states = devices.into_iter().map(|device| {
            let on_device = Tensor::empty([0], (Kind::Float, device));
            let mut state = std::ptr::null_mut();
            // SAFETY: a live tensor; `state` receives an owned tensor when no message is returned.
            checked(
                unsafe { paella_generator_state(on_device.as_ptr().cast_mut(), &mut state) },
                "generator",
            )?;
            // SAFETY: as above.
            Ok((on_device, unsafe { Tensor::from_ptr(state) }))
        });
        Ok(Self { states: states.collect::<Result<_>>()? })
    }
}

impl Drop for KeptChance {
    fn drop(&mut self) {
        for (on_device, state) in &self.states {
            let (on_device, state) = (on_device.as_ptr().cast_mut(), state.as_ptr().cast_mut());
            // SAFETY: two live tensors.
            let _ = checked(unsafe { paella_set_generator_state(on_device, state) }, "generator");
        }
    }
}
