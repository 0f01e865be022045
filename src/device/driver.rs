//! What NVIDIA's driver and libraries say of themselves, asked without linking any of them.

use std::ffi::{CStr, c_char, c_void};

/// A card and what drives it. A field is None if its library is missing or does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Driver {
    /// Of the driver itself, such as `580.95.05`.
    pub version: Option<String>,
    /// The newest CUDA that the driver knows, as 1000 major + 10 minor.
    pub cuda: Option<i32>,
    /// The CUDA that the loaded libtorch was built for, as above; None for a libtorch without CUDA.
    pub built_for: Option<i32>,
    /// NCCL, as 10000 major + 100 minor + patch.
    pub nccl: Option<i32>,
}

/// A function of a library, by name; a library of no name is the program with all that it has loaded for everybody.
fn find(library: Option<&CStr>, symbol: &CStr) -> Option<*mut c_void> {
    // SAFETY: C strings; a library that is opened stays loaded.
    unsafe {
        let handle = match library {
            Some(name) => libc::dlopen(name.as_ptr(), libc::RTLD_NOW),
            None => libc::RTLD_DEFAULT,
        };
        if library.is_some() && handle.is_null() {
            return None;
        }
        let found = libc::dlsym(handle, symbol.as_ptr());
        (!found.is_null()).then_some(found)
    }
}

/// The answer of a function that writes one number and returns 0.
fn number(library: Option<&CStr>, symbol: &CStr) -> Option<i32> {
    type Ask = unsafe extern "C" fn(*mut i32) -> i32;
    let mut answer = 0;
    // SAFETY: cuDriverGetVersion, cudaRuntimeGetVersion and ncclGetVersion are of this type.
    let code = unsafe {
        let ask = std::mem::transmute::<*mut c_void, Ask>(find(library, symbol)?);
        ask(&mut answer)
    };
    (code == 0 && answer > 0).then_some(answer)
}

/// The driver's version, as its management library gives it.
fn version() -> Option<String> {
    type Init = unsafe extern "C" fn() -> i32;
    type Get = unsafe extern "C" fn(*mut c_char, u32) -> i32;
    let library = Some(c"libnvidia-ml.so.1");
    let mut text = [0u8; 96];
    // SAFETY: nvmlInit_v2 and nvmlSystemGetDriverVersion are of these types; the latter writes at most the length given.
    let code = unsafe {
        let init = std::mem::transmute::<*mut c_void, Init>(find(library, c"nvmlInit_v2")?);
        let name = c"nvmlSystemGetDriverVersion";
        let get = std::mem::transmute::<*mut c_void, Get>(find(library, name)?);
        if init() != 0 { 1 } else { get(text.as_mut_ptr().cast(), text.len() as u32) }
    };
    let text = CStr::from_bytes_until_nul(&text).ok()?.to_str().ok()?;
    (code == 0 && !text.is_empty()).then(|| text.to_string())
}

impl Driver {
    /// Ask; libtorch's CUDA half must have been loaded before.
    pub fn here() -> Self {
        Self {
            version: version(),
            cuda: number(Some(c"libcuda.so.1"), c"cuDriverGetVersion"),
            built_for: cuda_half().then(|| number(None, c"cudaRuntimeGetVersion")).flatten(),
            nccl: number(None, c"ncclGetVersion"),
        }
    }

    /// What to do where libtorch sees no GPU.
    pub fn remedy(&self) -> String {
        match (self.cuda, self.built_for) {
            (None, _) => "for GPUs: NVIDIA's driver and the libtorch with CUDA; training on the CPU works without".into(),
            (Some(_), None) => "there is a driver: `PAELLA_LIBTORCH=cuda make setup` fetches the libtorch with CUDA".into(),
            // within a major version newer libraries run on older drivers
            (Some(driver), Some(built_for)) if driver / 1000 < built_for / 1000 => format!(
                "driver {} knows CUDA {}, this libtorch is built for {}: install driver {} or newer, or build against `torch=={}+cu{}` from https://download.pytorch.org/whl (LIBTORCH_USE_PYTORCH=1)",
                self.version.as_deref().unwrap_or("(version unknown)"),
                dotted(driver),
                dotted(built_for),
                least(built_for),
                crate::torch::version(),
                older(driver),
            ),
            _ => "driver and libtorch fit: are there cards (`nvidia-smi`), and does CUDA_VISIBLE_DEVICES hide them?".into(),
        }
    }
}

fn cuda_half() -> bool {
    std::fs::read_to_string("/proc/self/maps").is_ok_and(|maps| maps.contains("libtorch_cuda"))
}

/// 13020 -> `13.2`.
pub fn dotted(cuda: i32) -> String {
    format!("{}.{}", cuda / 1000, cuda % 1000 / 10)
}

/// The oldest driver for a major version of CUDA.
///
/// Source:  NVIDIA, CUDA Compatibility, table of minor version compatibility.
fn least(cuda: i32) -> &'static str {
    match cuda / 1000 {
        13.. => "580",
        12 => "525",
        _ => "450",
    }
}

/// The CUDA, without its dot, of the wheels for a driver that knows `cuda`.
fn older(cuda: i32) -> &'static str {
    if cuda >= 12_080 { "128" } else { "126" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn driver(cuda: Option<i32>, built_for: Option<i32>) -> Driver {
        Driver { version: Some("570.12".into()), cuda, built_for, nccl: None }
    }

    #[test]
    fn a_driver_that_is_too_old_names_one_that_is_not() {
        let remedy = driver(Some(12_080), Some(13_000)).remedy();
        for part in ["570.12", "12.8", "13.0", "driver 580", "cu128"] {
            assert!(remedy.contains(part), "{part}: {remedy}");
        }
        assert!(driver(Some(12_040), Some(13_000)).remedy().contains("cu126"));
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(driver(None, None).remedy().contains("NVIDIA's driver"));
        assert!(driver(Some(13_000), None).remedy().contains("make setup"));
        assert!(driver(Some(13_020), Some(13_000)).remedy().contains("CUDA_VISIBLE_DEVICES"));
        assert_eq!(dotted(13_020), "13.2");
    }
}
