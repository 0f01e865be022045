//! CUDA graphs: kernels recorded once and launched again in one go. A network of many small kernels is limited by the time
//! of their launches; a replay has one.

use super::{checked, cuda_library};
use crate::error::{Error, Result};
use std::ffi::{CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tch::Tensor;

unsafe extern "C" {
    fn paella_graph_load(library: *const c_char) -> *mut c_char;
    fn paella_graph_enter(graph: *mut *mut c_void) -> *mut c_char;
    fn paella_graph_begin(graph: *mut c_void) -> *mut c_char;
    fn paella_graph_end(graph: *mut c_void) -> *mut c_char;
    fn paella_graph_leave(graph: *mut c_void) -> *mut c_char;
    fn paella_graph_replay(graph: *mut c_void) -> *mut c_char;
    fn paella_graph_free(graph: *mut c_void);
}

/// Runs before the recording: libraries find their kernels and workspaces, which cannot be recorded.
const WARM_UP: usize = 2;

/// A recorded function of tensors that stay where they are.
#[derive(Debug)]
pub struct CudaGraph {
    raw: *mut c_void,
    output: Tensor,
}

impl CudaGraph {
    /// Records `run`, which must read and write GPU tensors only, without waiting for the device. It runs a few times.
    ///
    /// Errors: a program without CUDA's half of the shim; what CUDA does not let record.
    pub fn record(run: impl Fn() -> Tensor) -> Result<Self> {
        let library = CString::new(cuda_library()).unwrap_or_default();
        let mut raw = std::ptr::null_mut();
        // SAFETY: a C string, and a place for the graph.
        checked(unsafe { paella_graph_load(library.as_ptr()) }, "CUDA graph")?;
        checked(unsafe { paella_graph_enter(&mut raw) }, "CUDA graph")?;
        let recorded = Self::between(raw, &run);
        // SAFETY: the graph from above, alive; also after a recording that failed.
        let left = checked(unsafe { paella_graph_leave(raw) }, "CUDA graph");
        match recorded.and_then(|output| left.map(|()| output)) {
            Ok(output) => Ok(Self { raw, output }),
            Err(error) => {
                // SAFETY: nobody else has it.
                unsafe { paella_graph_free(raw) };
                Err(error)
            }
        }
    }

    /// The warm-up and the recording, on the graph's own stream.
    fn between(raw: *mut c_void, run: &impl Fn() -> Tensor) -> Result<Tensor> {
        (0..WARM_UP).for_each(|_| drop(run()));
        // SAFETY: a live graph, on whose stream this thread is.
        checked(unsafe { paella_graph_begin(raw) }, "CUDA graph")?;
        // tch's calls panic where libtorch throws: a recording that cannot be is still to be ended
        let output = catch_unwind(AssertUnwindSafe(run));
        // SAFETY: as above.
        let ended = checked(unsafe { paella_graph_end(raw) }, "CUDA graph");
        let hint = "`replay: false` under `train.precision`";
        output
            .map_err(|_| Error::device("this pass cannot be recorded", "CUDA graph", hint))
            .and_then(|xs| ended.map(|()| xs))
    }

    /// Launches all of it with what the inputs hold now. The output is a tensor of the graph's own: the next replay
    /// overwrites it.
    ///
    /// Errors: CUDA's.
    pub fn replay(&self) -> Result<&Tensor> {
        // SAFETY: recorded and alive.
        checked(unsafe { paella_graph_replay(self.raw) }, "CUDA graph")?;
        Ok(&self.output)
    }
}

impl Drop for CudaGraph {
    fn drop(&mut self) {
        // SAFETY: made by `record`, and nobody else has it.
        unsafe { paella_graph_free(self.raw) };
    }
}
