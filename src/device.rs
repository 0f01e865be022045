//! Chooses the device, and derives one seed for all draws of a step.

use crate::error::{Error, Result};
use crate::torch;
use serde::{Deserialize, Serialize};
use std::ffi::{CStr, c_char, c_void};
use std::sync::Once;
use tch::Device;

pub mod driver;

/// The device a run asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceChoice {
    /// The first GPU if there is one, else the CPU.
    #[default]
    Auto,
    Cpu,
    /// The GPU with this number.
    Cuda(usize),
}

impl std::str::FromStr for DeviceChoice {
    type Err = Error;

    /// Parses `auto`, `cpu`, `cuda` or `cuda:1`.
    fn from_str(text: &str) -> Result<Self> {
        let unknown =
            || Error::device(format!("unknown device `{text}`"), "", "auto, cpu, cuda or cuda:N");
        match text.to_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            other => {
                let number = other.strip_prefix("cuda:").and_then(|number| number.parse().ok());
                number.map(Self::Cuda).ok_or_else(unknown)
            }
        }
    }
}

impl DeviceChoice {
    /// The device itself.
    ///
    /// Errors: the requested GPU does not exist.
    pub fn open(self) -> Result<Device> {
        let count = gpus();
        match self {
            Self::Auto if count > 0 => Ok(Device::Cuda(0)),
            Self::Auto | Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(n) if (n as i64) < count => Ok(Device::Cuda(n)),
            Self::Cuda(n) => Err(Error::device(
                format!("no GPU {n}: libtorch sees {count}"),
                "",
                "`paella doctor` says what is missing",
            )),
        }
    }
}

/// Number of GPUs that libtorch can use. The first call loads libtorch's CUDA library if it is installed.
pub fn gpus() -> i64 {
    static LOAD: Once = Once::new();
    LOAD.call_once(|| {
        torch::load_cuda();
    });
    tch::Cuda::device_count()
}

/// The driver's name for GPU `number`, such as `NVIDIA H200`. None without a driver.
pub fn gpu_name(number: usize) -> Option<String> {
    type Init = unsafe extern "C" fn(u32) -> i32;
    type Name = unsafe extern "C" fn(*mut c_char, i32, i32) -> i32;
    let mut name = [0u8; 256];
    // SAFETY: the driver's library stays loaded. cuInit and cuDeviceGetName have had these types since CUDA 2.0, write
    // at most the given length, and return 0 on success.
    unsafe {
        let driver = libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_NOW);
        let find = |symbol: &CStr| {
            let found =
                if driver.is_null() { driver } else { libc::dlsym(driver, symbol.as_ptr()) };
            (!found.is_null()).then_some(found)
        };
        let (init, get) = (find(c"cuInit")?, find(c"cuDeviceGetName")?);
        let init = std::mem::transmute::<*mut c_void, Init>(init);
        let get = std::mem::transmute::<*mut c_void, Name>(get);
        let number = i32::try_from(number).ok()?;
        if init(0) != 0 || get(name.as_mut_ptr().cast(), name.len() as i32, number) != 0 {
            return None;
        }
    }
    CStr::from_bytes_until_nul(&name).ok()?.to_str().ok().map(String::from)
}

/// Waits until a GPU has finished its queued work. Returns at once for the CPU.
pub fn wait(device: Device) {
    if let Device::Cuda(number) = device {
        tch::Cuda::synchronize(number as i64);
    }
}

/// Makes OpenMP's waiting threads sleep instead of spin, unless `OMP_WAIT_POLICY` is already set.
///
/// Spinning makes a step several times slower on a machine that does other work too. OpenMP reads the variable when it
/// is loaded, before `main`, so the program restarts itself once.
pub fn let_threads_sleep() {
    use std::os::unix::process::CommandExt;
    const VARIABLE: &str = "OMP_WAIT_POLICY";
    if std::env::var_os(VARIABLE).is_none()
        && let Ok(program) = std::env::current_exe()
    {
        let mut again = std::process::Command::new(program);
        again.args(std::env::args_os().skip(1)).env(VARIABLE, "PASSIVE");
        let _ = again.exec(); // returns only on failure: then threads spin
    }
}

/// Makes the C library keep freed memory for the next tensor, up to 2 GB of it, instead of handing it back to the kernel.
///
/// By default every tensor above 32 MB gets pages of its own from the kernel, which clears each when it is touched first: a fifth of
/// the processor time of a training step on small networks. Other C libraries than glibc have no such switch.
pub fn keep_freed_memory() {
    // SAFETY: changes limits of the allocator only; allowed at any time.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
    }
}

/// Bytes of memory that programs could take now. None where the system does not tell.
pub fn free_memory() -> Option<usize> {
    meminfo("MemAvailable:")
}

/// An entry of /proc/meminfo, in bytes. Linux only.
pub fn meminfo(name: &str) -> Option<usize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kib| kib << 10)
}

/// Gives memory that was freed back to the kernel, against [`keep_freed_memory`].
pub fn hand_back_freed_memory() {
    // SAFETY: gives back pages that no allocation uses; allowed at any time.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Seeds all draws of step `step` of a run. The draws depend on `seed` and `step` only, so a resumed run draws the
/// same.
pub fn seed_step(seed: u64, step: u64) {
    // SplitMix64, so that neighbouring steps have unrelated streams
    let mut z = seed.wrapping_add(step.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    tch::manual_seed((z ^ (z >> 31)) as i64);
}
