//! Saves and restores the state of libtorch's random generators.

use super::checked;
use crate::error::Result;
use std::ffi::c_char;
use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

unsafe extern "C" {
    fn paella_generator_state(on_device: *mut C_tensor, state: *mut *mut C_tensor) -> *mut c_char;
    fn paella_set_generator_state(on_device: *mut C_tensor, state: *mut C_tensor) -> *mut c_char;
}

/// A copy of the generators' states. Dropping it restores them, whatever was drawn or seeded meanwhile.
pub struct KeptChance {
    /// For each generator: an empty tensor on its device, and its state.
    states: Vec<(Tensor, Tensor)>,
}

impl KeptChance {
    /// Saves the generators of the CPU and of `device`.
    ///
    /// Errors: those of libtorch, such as a device that does not exist.
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
