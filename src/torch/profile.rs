//! Libtorch's profiler: a Chrome trace of what ran, and which kernels took longest.

use super::checked;
use crate::error::{Error, Result};
use serde::Serialize;
use std::collections::HashMap;
use std::ffi::{CString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use tch::Device;

unsafe extern "C" {
    fn paella_profile_start(gpu: bool) -> *mut c_char;
    fn paella_profile_stop(path: *const c_char) -> *mut c_char;
    fn paella_release_memory() -> *mut c_char;
}

/// Time that all runs of one kernel took together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KernelTime {
    pub name: String,
    pub ms: f64,
    pub calls: usize,
}

/// Do `work` under the profiler and write `path`, a trace for chrome://tracing and Perfetto.
///
/// Errors: those of `work`; libtorch's, such as a file that cannot be written.
pub fn profiled<T>(device: Device, path: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let place = path.display().to_string();
    let file = CString::new(path.as_os_str().as_bytes())
        .map_err(|e| Error::device(e.to_string(), &place, "another name for the trace"))?;
    // SAFETY: starts a recorder of this thread.
    checked(unsafe { paella_profile_start(device.is_cuda()) }, "profiler")?;
    let done = work();
    if let Device::Cuda(number) = device {
        tch::Cuda::synchronize(number as i64);
    }
    // SAFETY: a C string that lives through the call; the recorder was started above.
    checked(unsafe { paella_profile_stop(file.as_ptr()) }, &place)?;
    done
}

/// The `count` kernels of a trace that took longest together: those of the GPU, or, where it has none, the operations of
/// the CPU, each without those that it called.
///
/// Errors: a file that is not such a trace.
pub fn longest(path: &Path, count: usize) -> Result<Vec<KernelTime>> {
    let wrong = |e: String| Error::device(e, path.display().to_string(), "is it a Chrome trace?");
    let text = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
    let trace: serde_json::Value =
        serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
    let events = trace["traceEvents"].as_array().ok_or_else(|| wrong("no events".into()))?;
    let mut runs = of_category(events, "kernel");
    if runs.is_empty() {
        runs = without_calls(of_category(events, "cpu_op"));
    }
    let mut sums: HashMap<&str, (f64, usize)> = HashMap::new();
    for run in &runs {
        let sum = sums.entry(run.name).or_default();
        *sum = (sum.0 + run.us, sum.1 + 1);
    }
    let mut all: Vec<KernelTime> = sums
        .into_iter()
        .map(|(name, (us, calls))| KernelTime { name: name.into(), ms: us / 1e3, calls })
        .collect();
    all.sort_by(|a, b| b.ms.total_cmp(&a.ms).then_with(|| a.name.cmp(&b.name)));
    all.truncate(count);
    Ok(all)
}

/// One event of a trace, times in microseconds.
#[derive(Clone, Copy)]
struct Run<'a> {
    name: &'a str,
    thread: &'a serde_json::Value,
    start: f64,
    end: f64,
    us: f64,
}

fn of_category<'a>(events: &'a [serde_json::Value], category: &str) -> Vec<Run<'a>> {
    let run = |event: &'a serde_json::Value| {
        let (start, us) = (event["ts"].as_f64()?, event["dur"].as_f64()?);
        Some(Run {
            name: event["name"].as_str()?,
            thread: &event["tid"],
            start,
            end: start + us,
            us,
        })
    };
    events.iter().filter(|event| event["cat"] == category).filter_map(run).collect()
}

/// Take from each operation the time of those that it called.
fn without_calls(mut runs: Vec<Run>) -> Vec<Run> {
    let key = |run: &Run| run.thread.to_string();
    runs.sort_by(|a, b| {
        let outer_first = a.start.total_cmp(&b.start).then(b.end.total_cmp(&a.end));
        key(a).cmp(&key(b)).then(outer_first)
    });
    let mut open: Vec<usize> = Vec::new();
    for i in 0..runs.len() {
        let around = |j: &usize| runs[*j].thread == runs[i].thread && runs[*j].end >= runs[i].end;
        while open.last().is_some_and(|j| !around(j)) {
            open.pop();
        }
        if let Some(&parent) = open.last() {
            runs[parent].us -= runs[i].end - runs[i].start;
        }
        open.push(i);
    }
    runs
}

/// Memory of the GPU that libtorch keeps for later tensors is given back; on the CPU there is none.
pub fn release_memory(device: Device) -> Result<()> {
    match device {
        // SAFETY: asks libtorch's allocator of GPU memory.
        Device::Cuda(_) => checked(unsafe { paella_release_memory() }, "memory"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Kind, Tensor};

    #[test]
    fn the_longest_operation_of_a_trace_is_the_product_that_was_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("trace.json");
        // so large that no pause of a busy machine makes another operation longer
        let xs = Tensor::ones([1200, 1200], (Kind::Float, Device::Cpu));
        let sum = profiled(Device::Cpu, &path, || {
            Ok((0..5).fold(xs.shallow_clone(), |ys, _| ys.matmul(&xs) / 1200.0))
        });
        assert!((sum.expect("computed").mean(Kind::Float).double_value(&[]) - 1.0).abs() < 1e-3);
        let kernels = longest(&path, 3).expect("a trace");
        assert_eq!((kernels[0].name.as_str(), kernels[0].calls), ("aten::mm", 5), "{kernels:?}");
        assert!(kernels.len() <= 3 && kernels[0].ms > 0.0);
    }

    #[test]
    fn calls_are_taken_from_their_caller_and_kernels_come_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("trace.json");
        let event = |cat: &str, name: &str, ts: f64, dur: f64| serde_json::json!({ "cat": cat, "name": name, "ts": ts, "dur": dur, "tid": 1 });
        let write = |events: Vec<serde_json::Value>| {
            let trace = serde_json::json!({ "traceEvents": events });
            std::fs::write(&path, trace.to_string()).expect("written");
        };
        let ops =
            || vec![event("cpu_op", "outer", 0.0, 3000.0), event("cpu_op", "inner", 500.0, 2000.0)];
        write(ops());
        let names = |count| {
            let all = longest(&path, count).expect("a trace");
            all.into_iter().map(|k| (k.name, k.ms)).collect::<Vec<_>>()
        };
        assert_eq!(names(9), [("inner".to_string(), 2.0), ("outer".to_string(), 1.0)]);
        write(ops().into_iter().chain([event("kernel", "gemm", 0.0, 10.0)]).collect());
        assert_eq!(names(9), [("gemm".to_string(), 0.01)]);
        std::fs::write(&path, "{}").expect("written");
        assert!(longest(&path, 1).is_err());
    }
}
