//! The line to the kernel: events go out between what a cell prints, requests come in.

use paella_wire::{Event, MARK, Request, decode, encode};
use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};

/// Lines from a file descriptor.
pub struct Lines {
    file: File,
    buffer: Vec<u8>,
}

impl Lines {
    /// Takes the descriptor over.
    pub(crate) fn of(descriptor: RawFd) -> Self {
        // SAFETY: the kernel made it for this process, and nothing else here uses it.
        Self { file: unsafe { File::from_raw_fd(descriptor) }, buffer: Vec::new() }
    }

    /// The next line without its end; `None` when the other side is gone.
    pub(crate) fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let mut part = [0u8; 4096];
            match self.file.read(&mut part) {
                Ok(0) => return None,
                Ok(n) => self.buffer.extend(&part[..n]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => return None,
            }
        }
    }

    /// Whether a whole line has been read already.
    fn has_line(&self) -> bool {
        self.buffer.contains(&b'\n')
    }
}

thread_local! {
    /// Where requests come in. Cells read answers to their questions from it too.
    static REQUESTS: RefCell<Option<Lines>> = const { RefCell::new(None) };
}

/// Read requests from this descriptor from now on.
pub(crate) fn open(descriptor: RawFd) {
    REQUESTS.set(Some(Lines::of(descriptor)));
}

/// Send one event; what the cell has printed before goes first.
pub fn emit(event: &Event) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(format!("{MARK}{}", encode(event)).as_bytes()); // the kernel may be gone
    let _ = out.flush();
}

/// The next request; `None` when the kernel is gone.
///
/// Errors: the line holds no request. The kernel has been told.
pub(crate) fn request() -> Option<Result<Request, ()>> {
    let line = REQUESTS.with_borrow_mut(|lines| lines.as_mut().and_then(Lines::line))?;
    Some(decode(&line).map_err(|text| emit(&Event::Refused { text })))
}

/// Wait for a line of `cells` or a request: whether there is one of each. Requests go first.
pub(crate) fn wait(cells: &Lines) -> (bool, bool) {
    if REQUESTS.with_borrow(|lines| lines.as_ref().is_some_and(Lines::has_line)) {
        return (false, true);
    }
    let requests =
        REQUESTS.with_borrow(|lines| lines.as_ref().map_or(-1, |lines| lines.file.as_raw_fd()));
    let poll = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut both = [poll(cells.file.as_raw_fd()), poll(requests)];
    // SAFETY: two initialised entries; an interrupted call reports nothing and is made again.
    let ready = unsafe { libc::poll(both.as_mut_ptr(), 2, -1) };
    (ready > 0 && both[0].revents != 0, ready > 0 && both[1].revents != 0)
}
