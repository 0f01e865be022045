//! Loads and runs a compiled cell, and reports its panics to the kernel.
#![allow(clippy::print_stdout)] // evcxr reads it

use crate::bus::emit;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use paella::lab::watch::stop_asked;
use paella_wire::Event;
use std::cell::Cell;
use std::ffi::{CStr, OsStr, c_void};
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What evcxr calls in a cell: the variables go in and come out.
type Entry = extern "C" fn(*mut c_void) -> *mut c_void;

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// The variables that cells leave for each other. Only compiled cells know their types.
pub struct Cells {
    variables: *mut c_void,
}

impl Cells {
    pub fn new() -> Self {
        Self { variables: std::ptr::null_mut() }
    }

    /// Run one line of evcxr's: `LOAD_AND_RUN <library> <function>`. A cell that was stopped while it was compiled is not
    /// run: to evcxr it has panicked before its first line.
    ///
    /// Errors: the line is another one, or the library cannot be loaded.
    pub fn run(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.trim_end().splitn(3, ' ').collect();
        let ["LOAD_AND_RUN", path, name] = words.as_slice() else {
            return Err(format!("expected LOAD_AND_RUN, got {line:?}"));
        };
        if stop_asked() {
            println!("EVCXR_PANIC_NOTIFICATION");
            return Ok(());
        }
        if !self.variables.is_null() {
            emit(&Event::Running); // the first run is the prelude, or `lab` alone: no cell of the person's
        }
        // SAFETY: evcxr has just compiled this library; its entry has this type and takes the pointer it gave before.
        unsafe {
            let library =
                Library::open(Some(*path), RTLD_NOW | RTLD_LOCAL).map_err(|e| format!("{e:?}"))?;
            let entry = *library.get::<Entry>(name.as_bytes()).map_err(|e| format!("{e:?}"))?;
            std::mem::forget(library); // its code may be in variables and threads
            RUNNING.set(true);
            self.variables = entry(self.variables);
            RUNNING.set(false);
        }
        let _ = std::io::stdout().flush();
        Ok(())
    }
}

impl Default for Cells {
    fn default() -> Self {
        Self::new()
    }
}

/// The source of a compiled cell, as it calls itself.
const SOURCE: &str = "src/lib.rs";

/// Calls on the stack that are looked at.
const CALLS: usize = 128;

/// Where in the cell a panic of a library was caused: the first call on the stack that stands in the cell's own source.
///
/// The place is read by `addr2line`, which belongs to the tools that a cell is linked with. Rust's own backtrace knows only
/// those libraries that were loaded when it was asked for the first time.
fn own_line() -> Option<(String, u32)> {
    let workspace = std::env::var_os("EVCXR_TMPDIR").map(PathBuf::from)?;
    let mut calls = [std::ptr::null_mut(); CALLS];
    // SAFETY: fills at most as many entries as there are.
    let count = unsafe { libc::backtrace(calls.as_mut_ptr(), CALLS as i32) };
    let calls = calls.iter().take(usize::try_from(count).ok()?);
    let in_cells: Vec<(PathBuf, usize)> = calls
        .filter_map(|call| library_of(*call))
        .filter(|at| at.0.starts_with(&workspace))
        .collect();
    let library = &in_cells.first()?.0;
    let places = in_cells.iter().filter(|at| at.0 == *library);
    let answer = Command::new("addr2line")
        .args(["-i", "-e"])
        .arg(library)
        .args(places.map(|(_, place)| format!("{place:#x}")))
        .output()
        .ok()?;
    let own = workspace.join(SOURCE);
    let lines = String::from_utf8_lossy(&answer.stdout).into_owned();
    lines.lines().find_map(|place| {
        let (file, line) = place.rsplit_once(':')?;
        let line = line.split(' ').next()?.parse().ok()?; // some are followed by a remark
        (Path::new(file) == own).then_some((SOURCE.into(), line))
    })
}

/// The library of a call on the stack, and the place of the call in it.
fn library_of(call: *mut c_void) -> Option<(PathBuf, usize)> {
    let before = call.wrapping_byte_sub(1); // a call returns behind itself, maybe to the next line
    let mut info = MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: asks about an address; what is read is filled in if the answer is not 0, and names a loaded library.
    let (name, base) = unsafe {
        if libc::dladdr(before, info.as_mut_ptr()) == 0 {
            return None;
        }
        let info = info.assume_init();
        (CStr::from_ptr((!info.dli_fname.is_null()).then_some(info.dli_fname)?), info.dli_fbase)
    };
    Some((PathBuf::from(OsStr::from_bytes(name.to_bytes())), before as usize - base as usize))
}

/// Time after which an unfinished line is sent too.
const UNFINISHED: Duration = Duration::from_millis(50);

/// From now on, send printed text without waiting for the end of its line.
pub fn flush_often() {
    std::thread::spawn(|| {
        loop {
            std::thread::sleep(UNFINISHED);
            let _ = std::io::stdout().flush(); // a kernel that is gone ends this process
        }
    });
}

/// Report panics of cells to the kernel. Panics of commands stay quiet: the session turns them into errors.
pub fn report_panics() {
    paella::lab::turn::quiet_panics();
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        quiet(info);
        let payload = info.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
        let text = text.to_string();
        let thread = std::thread::current().name().unwrap_or("a thread").to_string();
        let (file, line) = info.location().map_or(("", 0), |l| (l.file(), l.line()));
        if RUNNING.get() {
            let place = || (file.to_string(), line);
            let (file, line) =
                if file == SOURCE { place() } else { own_line().unwrap_or_else(place) };
            emit(&Event::Panic { text, file, line });
        } else if thread != "main" {
            emit(&Event::Stderr { text: format!("{thread} panicked: {text}\n") });
        }
    }));
}
