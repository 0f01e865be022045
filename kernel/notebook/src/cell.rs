//! Loads and runs a compiled cell, and reports its panics to the kernel.

use crate::bus::emit;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use paella_wire::Event;
use std::cell::Cell;
use std::ffi::c_void;
use std::io::Write;
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

    /// Run one line of evcxr's: `LOAD_AND_RUN <library> <function>`.
    ///
    /// Errors: the line is another one, or the library cannot be loaded.
    pub fn run(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.trim_end().splitn(3, ' ').collect();
        let ["LOAD_AND_RUN", path, name] = words.as_slice() else {
            return Err(format!("expected LOAD_AND_RUN, got {line:?}"));
        };
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
            emit(&Event::Panic { text, file: file.into(), line });
        } else if thread != "main" {
            emit(&Event::Stderr { text: format!("{thread} panicked: {text}\n") });
        }
    }));
}
