//! A command whose standard output is a shard, and which leaves nothing behind: neither when nobody reads on, nor when
//! this process is killed.

use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs its first argument, and ends the whole group of processes when it is told to terminate. It waits for a command in
/// the background, for a shell does not listen while it waits for one in the foreground.
const KEEPER: &str = "trap 'kill -KILL 0' TERM; sh -c \"$0\" & wait $!";

/// Milliseconds between two looks at whether the bytes are still wanted.
const TICK_MS: libc::c_int = 50;

/// A command's standard output; an error at its end if the command failed. To be used by the thread that started it: the
/// command ends with that thread.
pub struct Pipe {
    keeper: Child,
    /// Set when nobody wants the bytes any more.
    stop: Arc<AtomicBool>,
    /// How it ended; once known, its group is gone.
    ended: Option<ExitStatus>,
}

impl Pipe {
    pub fn start(command: &str, stop: &Arc<AtomicBool>) -> io::Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", KEEPER, command]).stdin(Stdio::null()).stdout(Stdio::piped());
        shell.process_group(0);
        let parent = std::process::id();
        // SAFETY: between fork and exec only two system calls are made.
        unsafe { shell.pre_exec(move || end_with(parent)) };
        shell.spawn().map(|keeper| Self { keeper, stop: stop.clone(), ended: None })
    }

    /// Wait for bytes, or for the end.
    ///
    /// Errors: nobody wants them any more.
    fn wait(&self, out: &ChildStdout) -> io::Result<()> {
        let mut wanted = libc::pollfd { fd: out.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        while !self.stop.load(Ordering::Relaxed) {
            // SAFETY: one open file, and a place for the answer.
            match unsafe { libc::poll(&mut wanted, 1, TICK_MS) } {
                1.. => return Ok(()),
                0 => {}
                _ => match io::Error::last_os_error() {
                    e if e.kind() == io::ErrorKind::Interrupted => {}
                    e => return Err(e),
                },
            }
        }
        Err(io::Error::other("nobody wants it any more"))
    }

    /// Wait for the end, then end whatever the command has left in its group.
    fn finish(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.ended {
            return Ok(status);
        }
        let id = self.keeper.id();
        // SAFETY: a place for the answer. The keeper is not taken from the table of processes yet, so its number and that
        // of its group are nobody else's.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        while unsafe { libc::waitid(libc::P_PID, id, &mut info, libc::WEXITED | libc::WNOWAIT) } < 0
        {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        self.kill();
        let status = self.keeper.wait()?;
        self.ended = Some(status);
        Ok(status)
    }

    /// End all processes of the group.
    fn kill(&self) {
        // SAFETY: the group of a child that has not been waited for.
        unsafe { libc::kill(-(self.keeper.id() as libc::pid_t), libc::SIGKILL) };
    }
}

/// Be told to terminate when the thread ends that started this process; do not begin if that is over already.
fn end_with(parent: u32) -> io::Result<()> {
    // SAFETY: plain system calls; nothing is allocated.
    let told = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) };
    match told {
        0 if unsafe { libc::getppid() } as u32 == parent => Ok(()),
        0 => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(out) = &self.keeper.stdout else { return Ok(0) };
        self.wait(out)?;
        let got = self.keeper.stdout.as_mut().map_or(Ok(0), |out| out.read(buffer))?;
        if got == 0 && !buffer.is_empty() {
            let status = self.finish()?;
            if !status.success() {
                return Err(io::Error::other(format!("the command failed: {status}")));
            }
        }
        Ok(got)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if self.ended.is_none() {
            drop(self.keeper.stdout.take());
            self.kill();
            let _ = self.keeper.wait();
        }
    }
}
