//! The evaluator: loads the library of the cells and hands over to it.

use crate::guard::die_with_the_parent;
use crate::trouble::{Result, Trouble};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

/// Runs cells and commands until the kernel is gone.
///
/// Errors: the library cannot be loaded.
pub fn run(library: &str, bus: &str) -> Result<()> {
    die_with_the_parent();
    let hint = "`paella-kernel prepare` builds it again";
    let fault = |e: &dyn std::fmt::Debug| Trouble::new(format!("{e:?}"), library, hint);
    let bus: i32 = bus.parse().map_err(|e| fault(&e))?;
    // SAFETY: sets a flag of an open descriptor. Processes that cells start do not have it.
    unsafe { libc::fcntl(bus, libc::F_SETFD, libc::FD_CLOEXEC) };
    let cells = take_standard_input().map_err(|e| fault(&e))?;
    // SAFETY: the library is the one that `prepare` built, and its entry has this type.
    unsafe {
        let library =
            Library::open(Some(library), RTLD_NOW | RTLD_GLOBAL).map_err(|e| fault(&e))?;
        type Entry = extern "C" fn(i32, i32);
        let entry = *library.get::<Entry>(b"paella_evaluate").map_err(|e| fault(&e))?;
        std::mem::forget(library);
        entry(cells, bus);
    }
    Ok(())
}

/// Move evcxr's pipe to another descriptor. A cell that reads standard input finds the end of a file, not the next cell.
fn take_standard_input() -> std::io::Result<i32> {
    // SAFETY: plain system calls on descriptors of this process.
    unsafe {
        let cells = libc::fcntl(0, libc::F_DUPFD_CLOEXEC, 3);
        let nothing = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY);
        if cells < 0 || nothing < 0 || libc::dup2(nothing, 0) < 0 {
            return Err(std::io::Error::last_os_error());
        }
        libc::close(nothing);
        Ok(cells)
    }
}
