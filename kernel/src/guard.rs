//! The guard starts the evaluator and outlives it, so that the output of a dying cell is not lost.

use crate::split::{Piece, Splitter, whole_letters};
use crate::trouble::{Result, Trouble};
use paella_wire::{Event, encode};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

/// evcxr's line for a `?` that returns an error.
const FAILED: &[u8] = b"EVCXR_ERROR_OCCURRED";

/// Run the evaluator; `bus` is the kernel's socket.
///
/// Errors: the evaluator cannot be started or the kernel is gone.
pub fn run(library: &str, bus: &str) -> Result<()> {
    die_with_the_parent();
    // SAFETY: only sets a flag; an interrupt is for the evaluator alone.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
    let lost = |e: std::io::Error| Trouble::new(e.to_string(), bus, "");
    let kernel = UnixStream::connect(bus).map_err(lost)?;
    inherit(kernel.as_raw_fd());
    let mut evaluator = start(library, kernel.as_raw_fd()).map_err(lost)?;
    let pid = evaluator.id() as i32; // as the system's own type has it
    let mut guard = Guard::new(kernel, &mut evaluator)?;
    guard.tell(&Event::Hello { pid });
    guard.watch();
    let status = evaluator.wait().map_err(lost)?;
    guard.tell(&Event::Exit { text: status.to_string() });
    std::process::exit(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
}

fn start(library: &str, bus: i32) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(["evaluate", library, &bus.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// End this process when its parent ends.
pub fn die_with_the_parent() {
    // SAFETY: only sets a flag of this process.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Let the evaluator have this descriptor too.
fn inherit(descriptor: i32) {
    // SAFETY: clears a flag of an open descriptor.
    unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) };
}

struct Guard {
    kernel: UnixStream,
    out: ChildStdout,
    err: ChildStderr,
    splitter: Splitter,
    /// The beginning of a letter on stderr.
    cut: Vec<u8>,
    /// Readable once the evaluator has ended; -1 where the system has no such descriptors.
    process: i32,
}

impl Guard {
    fn new(kernel: UnixStream, evaluator: &mut Child) -> Result<Self> {
        let none = || Trouble::new("the evaluator has no output", "guard", "");
        let out = evaluator.stdout.take().ok_or_else(none)?;
        let err = evaluator.stderr.take().ok_or_else(none)?;
        // SAFETY: asks for a descriptor of a child that nobody has waited for yet.
        let process = unsafe { libc::syscall(libc::SYS_pidfd_open, evaluator.id(), 0) } as i32;
        Ok(Self { kernel, out, err, splitter: Splitter::default(), cut: Vec::new(), process })
    }

    /// Until both outputs are closed, or until the evaluator has ended and all that it wrote is passed on. A process that
    /// a cell has started may hold the outputs open for longer.
    fn watch(&mut self) {
        let mut part = vec![0u8; 1 << 16];
        let (mut out_open, mut err_open, mut ended) = (true, true, false);
        while out_open || err_open {
            let (out, err, over) = self.wait(out_open, err_open, ended);
            if ended && !out && !err {
                break;
            }
            ended |= over;
            if err {
                match self.err.read(&mut part) {
                    Ok(n) if n > 0 => self.stderr(&part[..n]),
                    _ => err_open = false,
                }
            }
            if out {
                match self.out.read(&mut part) {
                    Ok(n) if n > 0 => self.stdout(&part[..n]),
                    _ => out_open = false,
                }
            }
        }
        let rest = self.splitter.finish();
        rest.into_iter().for_each(|part| self.pass(part));
    }

    /// Wait for something on the open outputs, or for the end of the evaluator: which of the three there is. After the end
    /// there is no waiting.
    fn wait(&self, out: bool, err: bool, ended: bool) -> (bool, bool, bool) {
        let poll = |fd: i32, open: bool| libc::pollfd {
            fd: if open { fd } else { -1 },
            events: libc::POLLIN,
            revents: 0,
        };
        let (out, err) = (poll(self.out.as_raw_fd(), out), poll(self.err.as_raw_fd(), err));
        let mut all = [out, err, poll(self.process, !ended)];
        let patience = if ended { 0 } else { -1 };
        // SAFETY: three initialised entries; an interrupted call is made again by the loop.
        let ready = unsafe { libc::poll(all.as_mut_ptr(), 3, patience) } > 0;
        let [out, err, over] = all.map(|one| ready && one.revents != 0);
        (out, err, over)
    }

    fn stdout(&mut self, bytes: &[u8]) {
        for part in self.splitter.feed(bytes) {
            self.pass(part);
        }
    }

    fn pass(&mut self, part: Piece) {
        match part {
            Piece::Text(text) => self.tell(&Event::Stdout { text }),
            Piece::Message(message) => {
                self.drain_stderr();
                self.send(format!("{message}\n").as_bytes());
            }
            Piece::Line(line) => {
                if line.starts_with(FAILED) {
                    self.drain_stderr();
                    self.tell(&Event::Failed);
                }
                let mut evcxr = std::io::stdout().lock();
                let _ = evcxr.write_all(&line).and_then(|()| evcxr.flush()); // a kernel that is gone ends us anyway
            }
        }
    }

    fn stderr(&mut self, bytes: &[u8]) {
        self.cut.extend_from_slice(bytes);
        let whole = whole_letters(&self.cut);
        let text: Vec<u8> = self.cut.drain(..whole).collect();
        if !text.is_empty() {
            self.tell(&Event::Stderr { text: String::from_utf8_lossy(&text).into_owned() });
        }
    }

    /// Pass on everything written to stderr so far. It comes before the next message.
    fn drain_stderr(&mut self) {
        let mut part = [0u8; 1 << 16];
        loop {
            let mut waiting: libc::c_int = 0;
            // SAFETY: asks an open pipe how many bytes it holds.
            unsafe { libc::ioctl(self.err.as_raw_fd(), libc::FIONREAD, &mut waiting) };
            match (waiting > 0).then(|| self.err.read(&mut part)) {
                Some(Ok(n)) if n > 0 => self.stderr(&part[..n]),
                _ => return,
            }
        }
    }

    fn tell(&mut self, event: &Event) {
        self.send(encode(event).as_bytes());
    }

    fn send(&mut self, line: &[u8]) {
        let _ = self.kernel.write_all(line); // as above
    }
}
