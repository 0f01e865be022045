//! A command whose standard output is a shard. Its processes end with the reader and with this process, even if this
//! process is killed.

use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shell script that runs its first argument and kills its whole process group on SIGTERM. The command runs in the
/// background, because a shell does not handle signals while it waits for a foreground command.
const KEEPER: &str = "trap 'kill -KILL 0' TERM; sh -c \"$0\" & wait $!";

/// Milliseconds between two checks whether the bytes are still wanted.
const TICK_MS: libc::c_int = 50;

/// A command's standard output, with an error at its end if the command failed. Use it on the thread that started it:
/// the command ends with that thread.
pub struct Pipe {
    keeper: Child,
    /// Set when the bytes are no longer wanted.
    stop: Arc<AtomicBool>,
    /// How the command ended. Once it is set, the process group is gone.
    ended: Option<ExitStatus>,
}

impl Pipe {
    /// Starts a command. Setting `stop` ends it.
    pub fn start(command: &str, stop: &Arc<AtomicBool>) -> io::Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", KEEPER, command]).stdin(Stdio::null()).stdout(Stdio::piped());
        shell.process_group(0);
        let parent = std::process::id();
        // SAFETY: between fork and exec only two system calls are made.
        unsafe { shell.pre_exec(move || end_with(parent)) };
        shell.spawn().map(|keeper| Self { keeper, stop: stop.clone(), ended: None })
    }

    /// Waits for bytes or for the end.
    ///
    /// Errors: the bytes are no longer wanted.
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

    /// Waits for the end of the command, then kills everything left in its process group.
    fn finish(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.ended {
            return Ok(status);
        }
        let id = self.keeper.id();
        // SAFETY: a place for the answer. The keeper is not reaped yet, so its process ID and its group's ID cannot be
        // reused.
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

    /// Kills all processes of the group.
    fn kill(&self) {
        // SAFETY: the group of a child that has not been waited for.
        unsafe { libc::kill(-(self.keeper.id() as libc::pid_t), libc::SIGKILL) };
    }
}

/// Asks for SIGTERM when the thread that started this process ends. Fails if the parent has already ended.
fn end_with(parent: u32) -> io::Result<()> {
    // SAFETY: plain system calls; nothing is allocated.
    let code = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) };
    match code {
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
