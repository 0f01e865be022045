//! Rust owners for the C++ shim's process groups. This layer makes no decisions.

use crate::error::{Error, Result};
use crate::torch::{cuda_library, pointers, taken};
use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::{Once, OnceLock};
use std::time::Duration;
use tch::{Device, Tensor};
use torch_sys::C_tensor;

type Message = *mut c_char;
#[repr(C)]
struct RawStore {
    _opaque: [u8; 0],
}
#[repr(C)]
struct RawGroup {
    _opaque: [u8; 0],
}
#[repr(C)]
struct RawReducer {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    fn paella_before_the_end(tell: extern "C" fn(*const c_char));
    fn paella_store(
        host: *const c_char,
        port: c_int,
        serve: bool,
        size: c_int,
        ms: i64,
        prefix: *const c_char,
        out: *mut *mut RawStore,
    ) -> Message;
    fn paella_store_set(store: *mut RawStore, key: *const c_char, value: *const c_char) -> Message;
    fn paella_store_get(
        store: *mut RawStore,
        key: *const c_char,
        value: *mut *mut c_char,
    ) -> Message;
    fn paella_store_drop(store: *mut RawStore);
    fn paella_group(
        store: *mut RawStore,
        nccl: bool,
        library: *const c_char,
        rank: c_int,
        size: c_int,
        device: c_int,
        ms: i64,
        out: *mut *mut RawGroup,
    ) -> Message;
    fn paella_all_reduce(group: *mut RawGroup, tensor: *mut C_tensor) -> Message;
    fn paella_broadcast(group: *mut RawGroup, tensors: *const *mut C_tensor, n: i64) -> Message;
    fn paella_all_gather(
        group: *mut RawGroup,
        tensor: *mut C_tensor,
        outs: *const *mut C_tensor,
    ) -> Message;
    fn paella_group_drop(group: *mut RawGroup, broken: bool) -> Message;
    fn paella_reducer(
        group: *mut RawGroup,
        params: *const *mut C_tensor,
        names: *const *const c_char,
        n: i64,
        bucket_bytes: i64,
        out: *mut *mut RawReducer,
    ) -> Message;
    fn paella_reducer_forward(reducer: *mut RawReducer, sync: bool) -> Message;
    fn paella_reducer_backward(reducer: *mut RawReducer, loss: *mut C_tensor) -> Message;
    fn paella_reducer_buckets(
        reducer: *mut RawReducer,
        bytes: *mut i64,
        n: i64,
        count: *mut i64,
    ) -> Message;
    fn paella_reducer_drop(reducer: *mut RawReducer);
    fn free(pointer: *mut c_void);
}

/// Converts a message of the engine into an error.
fn checked(message: Message) -> Result<()> {
    taken(message).map_or(Ok(()), |text| Err(refused(&text)))
}

/// An engine error as this crate's error: the first line of the text.
pub fn refused(text: &str) -> Error {
    Error::dist(text.lines().next().unwrap_or_default(), "", "")
}

fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', " ")).unwrap_or_default()
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Text of the uncaught exception on a libtorch thread that is about to end the process.
static UNCAUGHT: OnceLock<String> = OnceLock::new();

extern "C" fn uncaught(why: *const c_char) {
    // SAFETY: the shim hands over a C string that lives through the call.
    let why = unsafe { CStr::from_ptr(why) }.to_string_lossy().into_owned();
    let _ = UNCAUGHT.set(why);
}

/// Installs a handler for uncaught exceptions, such as those of NCCL's watchdog. Afterwards `about_to_end` reports
/// them, and the process continues for two minutes.
pub fn hear_of_the_end() {
    static ONCE: Once = Once::new();
    // SAFETY: sets a handler.
    ONCE.call_once(|| unsafe { paella_before_the_end(uncaught) });
}

/// Why libtorch is about to end the process. None if it is not.
pub fn about_to_end() -> Option<&'static str> {
    UNCAUGHT.get().map(|why| why.lines().next().unwrap_or_default())
}

/// The address of the store: host and port, whether this process serves it, and the key prefix of this run.
pub struct Meeting<'a> {
    pub host: &'a str,
    pub port: u16,
    pub serve: bool,
    pub size: usize,
    pub prefix: &'a str,
}

/// Key-value store of small texts that all ranks can write and read.
pub struct Store(*mut RawStore);

// SAFETY: a shared pointer to c10d's TCPStore, which locks internally.
unsafe impl Send for Store {}

impl Store {
    /// Connects to the store, or serves it.
    pub fn open(at: &Meeting, timeout: Duration) -> Result<Self> {
        let (host, prefix) = (c_string(at.host), c_string(at.prefix));
        let mut out = std::ptr::null_mut();
        // SAFETY: C strings that live through the call; `out` receives an owned store when no message is returned.
        checked(unsafe {
            paella_store(
                host.as_ptr(),
                c_int::from(at.port),
                at.serve,
                at.size as c_int,
                millis(timeout),
                prefix.as_ptr(),
                &mut out,
            )
        })?;
        Ok(Self(out))
    }

    /// Sets a key.
    pub fn set(&self, key: &str, value: &str) -> Result<()> {
        let (key, value) = (c_string(key), c_string(value));
        // SAFETY: a live store and two C strings.
        checked(unsafe { paella_store_set(self.0, key.as_ptr(), value.as_ptr()) })
    }

    /// The value of a key. None if it is not set yet.
    pub fn get(&self, key: &str) -> Result<Option<String>> {
        let (key, mut value) = (c_string(key), std::ptr::null_mut());
        // SAFETY: a live store, a C string, a place for the answer.
        checked(unsafe { paella_store_get(self.0, key.as_ptr(), &mut value) })?;
        if value.is_null() {
            return Ok(None);
        }
        // SAFETY: the shim hands over a C string from strdup.
        let text = unsafe {
            let text = CStr::from_ptr(value).to_string_lossy().into_owned();
            free(value.cast());
            text
        };
        Ok(Some(text))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: owned, dropped once.
        unsafe { paella_store_drop(self.0) };
    }
}

/// A process group.
pub struct Group {
    /// Null after `leave`.
    raw: Cell<*mut RawGroup>,
    /// An exchange failed, so the connections are closed without a goodbye.
    pub broken: Cell<bool>,
    nccl: bool,
}

impl Group {
    /// Forms the group. All ranks call this. `nccl` selects NCCL on the GPU `device`, else Gloo, which takes tensors of CPU and
    /// GPU alike.
    pub fn form(
        store: &Store,
        nccl: bool,
        device: Device,
        (rank, size): (usize, usize),
        timeout: Duration,
    ) -> Result<Self> {
        let library = if nccl { c_string(&cuda_library()) } else { c_string("") };
        let gpu = if let Device::Cuda(number) = device { number as c_int } else { -1 };
        let mut out = std::ptr::null_mut();
        // SAFETY: a live store; `out` receives an owned group when no message is returned.
        checked(unsafe {
            paella_group(
                store.0,
                nccl,
                library.as_ptr(),
                rank as c_int,
                size as c_int,
                gpu,
                millis(timeout),
                &mut out,
            )
        })?;
        Ok(Self { raw: Cell::new(out), broken: Cell::new(false), nccl })
    }

    fn exchange(&self, act: impl FnOnce(*mut RawGroup) -> Message) -> Result<()> {
        if self.raw.get().is_null() {
            return Err(refused("the group has been left"));
        }
        checked(act(self.raw.get())).inspect_err(|_| self.broken.set(true))
    }

    /// Adds the tensors of all ranks; every rank holds the sum in `tensor`.
    pub fn all_reduce(&self, tensor: &Tensor) -> Result<()> {
        // SAFETY: a live group and tensor.
        self.exchange(|group| unsafe { paella_all_reduce(group, tensor.as_ptr().cast_mut()) })
    }

    /// Copies the `tensors` of rank 0 to all ranks.
    pub fn broadcast(&self, tensors: &[Tensor]) -> Result<()> {
        let all = pointers(tensors);
        // SAFETY: a live group and n live tensors.
        self.exchange(|group| unsafe { paella_broadcast(group, all.as_ptr(), all.len() as i64) })
    }

    /// Collects `tensor` from each of the `size` ranks. All have the same shape.
    pub fn all_gather(&self, tensor: &Tensor, size: usize) -> Result<Vec<Tensor>> {
        let outs: Vec<Tensor> = (0..size).map(|_| tensor.zeros_like()).collect();
        let all = pointers(&outs);
        // SAFETY: a live group and as many tensors as it has ranks.
        self.exchange(|group| unsafe {
            paella_all_gather(group, tensor.as_ptr().cast_mut(), all.as_ptr())
        })?;
        Ok(outs)
    }

    /// Leaves the group. With Gloo, exchanges of the other ranks then fail at once, because their connections are lost.
    /// NCCL would wait for an exchange that is stuck, so a broken GPU group is not closed and ends with the process.
    pub fn leave(&self) {
        let raw = self.raw.replace(std::ptr::null_mut());
        if !(raw.is_null() || self.nccl && self.broken.get()) {
            // SAFETY: owned, dropped once. Errors while leaving have no effect.
            let _ = checked(unsafe { paella_group_drop(raw, self.broken.get()) });
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The reducer of DistributedDataParallel.
pub struct RawReduction(*mut RawReducer);

impl RawReduction {
    /// Makes a reducer for the parameters, with buckets of `bucket_bytes`.
    pub fn new(group: &Group, params: &[(String, Tensor)], bucket_bytes: u64) -> Result<Self> {
        let names: Vec<CString> = params.iter().map(|(name, _)| c_string(name)).collect();
        let names: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        let tensors: Vec<_> = params.iter().map(|(_, xs)| xs.as_ptr().cast_mut()).collect();
        let mut out = std::ptr::null_mut();
        // SAFETY: a live group, n names and n tensors; `out` receives an owned reducer when no message is returned.
        group.exchange(|group| unsafe {
            paella_reducer(
                group,
                tensors.as_ptr(),
                names.as_ptr(),
                tensors.len() as i64,
                bucket_bytes as i64,
                &mut out,
            )
        })?;
        Ok(Self(out))
    }

    /// Call before a forward pass. `sync`: its backward pass exchanges gradients.
    pub fn forward(&self, sync: bool) -> Result<()> {
        // SAFETY: a live reducer.
        checked(unsafe { paella_reducer_forward(self.0, sync) })
    }

    /// Call before the backward pass that exchanges gradients.
    pub fn backward(&self, loss: &Tensor) -> Result<()> {
        // SAFETY: a live reducer and tensor.
        checked(unsafe { paella_reducer_backward(self.0, loss.as_ptr().cast_mut()) })
    }

    /// Bytes of each bucket.
    pub fn buckets(&self) -> Result<Vec<u64>> {
        let (mut bytes, mut count) = (vec![0i64; 4096], 0i64);
        // SAFETY: a live reducer and room for 4096 numbers.
        checked(unsafe {
            paella_reducer_buckets(self.0, bytes.as_mut_ptr(), bytes.len() as i64, &mut count)
        })?;
        Ok(bytes.into_iter().take(count as usize).map(|n| n as u64).collect())
    }
}

impl Drop for RawReduction {
    fn drop(&mut self) {
        // SAFETY: owned, dropped once, before its group (the owner holds both).
        unsafe { paella_reducer_drop(self.0) };
    }
}
