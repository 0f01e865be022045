//! Starts the ranks of a group as processes of this machine, with the variables that users can set by hand.

use paella::dist::{DistConfig, Launch, World};
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tch::Device;

/// Processes with their ranks.
pub struct Ranks(Vec<(usize, Child)>);

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn start(mut command: Command, rank: usize, size: usize, port: u16) -> (usize, Child) {
    command
        .env("RANK", rank.to_string())
        .env("WORLD_SIZE", size.to_string())
        .env("LOCAL_RANK", rank.to_string())
        .env("MASTER_ADDR", "127.0.0.1")
        .env("MASTER_PORT", port.to_string())
        .env("GLOO_SOCKET_IFNAME", "lo")
        .env("OMP_NUM_THREADS", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    (rank, command.spawn().unwrap())
}

impl Ranks {
    /// Runs `paella train CONFIG --out OUT MORE` on `size` ranks. A single rank gets no variables.
    pub fn train(size: usize, config: &Path, out: &Path, more: &[&str]) -> Self {
        Self::train_some(&(0..size).collect::<Vec<_>>(), size, config, out, more)
    }

    /// Starts only some of the ranks.
    pub fn train_some(
        ranks: &[usize],
        size: usize,
        config: &Path,
        out: &Path,
        more: &[&str],
    ) -> Self {
        let port = free_port();
        let one = |rank: &usize| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_paella"));
            command.arg("train").arg(config).arg("--out").arg(out).args(more);
            start(command, *rank, size, port)
        };
        Self(ranks.iter().map(one).collect())
    }

    pub fn kill(&mut self, rank: usize) {
        self.of(rank).kill().unwrap();
    }

    pub fn signal(&mut self, rank: usize, name: &str) {
        let id = self.of(rank).id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    /// The first line of what a rank prints to its error output.
    pub fn first_line(&mut self, rank: usize) -> String {
        let mut line = String::new();
        let said = self.of(rank).stderr.as_mut().unwrap();
        BufReader::new(said).read_line(&mut line).unwrap();
        line
    }

    /// The exit code of a rank, and what it printed to its error output.
    pub fn code(&mut self, rank: usize) -> (Option<i32>, String) {
        let code = self.of(rank).wait().unwrap().code();
        let mut said = String::new();
        self.of(rank).stderr.as_mut().unwrap().read_to_string(&mut said).unwrap();
        (code, said)
    }

    /// The signal that ended a rank.
    pub fn ended_by(&mut self, rank: usize) -> Option<i32> {
        self.of(rank).wait().unwrap().signal()
    }

    fn of(&mut self, rank: usize) -> &mut Child {
        self.0.iter_mut().find(|(known, _)| *known == rank).map(|(_, child)| child).unwrap()
    }

    /// Waits until `done`. All processes must stay alive.
    pub fn wait_for(&mut self, mut done: impl FnMut() -> bool) {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < Duration::from_secs(180), "nothing happens");
            for (rank, child) in &mut self.0 {
                assert_eq!(child.try_wait().unwrap(), None, "rank {rank} has ended");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn succeed(self) {
        for (rank, child) in self.0 {
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            let shown = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "rank {rank}: {said}\n{shown}");
        }
    }

    /// All ranks except `broken`, which is killed, must fail. Returns the non-empty error outputs.
    pub fn fail(self, broken: usize) -> Vec<String> {
        let (mut said, mut late) = (Vec::new(), None);
        for (rank, child) in self.0 {
            if rank == broken {
                late = Some(child);
                continue;
            }
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(1), "rank {rank}: {output:?}");
            said.push(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        if let Some(mut child) = late {
            let _ = child.kill();
            child.wait().unwrap();
        }
        // only errors count; warnings of gloo and c10d are ignored
        said.into_iter().filter(|text| text.contains("error")).collect()
    }
}

/// Runs the ignored test `name` in `size` processes of this test binary.
pub fn child(name: &str, size: usize) -> Ranks {
    let port = free_port();
    let one = |rank: usize| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", name, "--ignored", "--nocapture"]);
        start(command, rank, size, port)
    };
    Ranks((0..size).map(one).collect())
}

/// The group for which this process was started.
pub fn world() -> World {
    let launch = Launch::from_env(|name| std::env::var(name).ok()).unwrap().unwrap();
    let config = DistConfig { timeout_s: 60, bucket_mb: 1, ..DistConfig::default() };
    World::join(&launch, &config, Device::Cpu).unwrap_or_else(|e| panic!("{e}"))
}
