//! The folder of one running kernel: evcxr's workspace, the socket, a link to the standard library's sources.

use crate::place::{HOST, Prepared, Tools};
use crate::trouble::{Result, Trouble};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Name of such folders, with the process number behind it.
const NAME: &str = "paella-kernel-";

/// Variables as they were before `announce` set them.
static BEFORE: Mutex<Vec<(&str, Option<OsString>)>> = Mutex::new(Vec::new());

#[derive(Clone)]
pub struct Workplace {
    pub folder: PathBuf,
    pub prepared: Prepared,
}

impl Workplace {
    /// A new folder for this process. Folders of dead kernels are removed.
    ///
    /// Errors: the folder cannot be made.
    pub fn claim(prepared: Prepared) -> Result<Self> {
        let parent = std::env::temp_dir();
        sweep(&parent);
        let folder = parent.join(format!("{NAME}{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder); // an earlier process of this number
        std::fs::create_dir_all(&folder).map_err(|e| Trouble::file(&e, &folder))?;
        Ok(Self { folder, prepared })
    }

    /// A folder for one purpose beside those of the kernel of this process, which stay as they are.
    ///
    /// Errors: the folder cannot be made.
    pub fn beside(prepared: Prepared, purpose: &str) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("{NAME}{}-{purpose}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder); // an earlier process of this number
        std::fs::create_dir_all(&folder).map_err(|e| Trouble::file(&e, &folder))?;
        Ok(Self { folder, prepared })
    }

    /// The prepared workspace, or an empty one if there is none or it cannot be copied.
    ///
    /// Errors: the folder cannot be made.
    pub fn fill(&self) -> Result<()> {
        let workspace = self.workspace();
        if copy(&self.prepared.template(), &workspace).is_err() {
            let _ = std::fs::remove_dir_all(&workspace); // half of a workspace is worse than none
        }
        std::fs::create_dir_all(&workspace).map_err(|e| Trouble::file(&e, &workspace))
    }

    /// Tell evcxr and its rust-analyzer where things are. They read it from the environment.
    pub fn announce(&self, tools: &Tools) {
        let set = |name: &'static str, value: &Path| {
            BEFORE
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((name, std::env::var_os(name)));
            // SAFETY: called before any thread is started.
            unsafe { std::env::set_var(name, value) };
        };
        set("EVCXR_TMPDIR", &self.workspace());
        set("EVCXR_CONFIG_DIR", &self.prepared.config());
        set("RUST_SRC_PATH", &self.sources());
        for (name, value) in environment(&self.prepared, tools) {
            set(name, &value);
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let first = [self.prepared.tools().join("bin"), tools.sysroot.join("bin")];
        if let Ok(path) =
            std::env::join_paths(first.into_iter().chain(std::env::split_paths(&path)))
        {
            set("PATH", Path::new(&path));
        }
    }

    /// The process that `command` starts has the environment from before `announce`.
    pub fn as_before(&self, command: &mut Command) {
        for (name, value) in BEFORE.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
    }

    /// How evcxr starts the evaluator: through its guard.
    pub fn guard(&self) -> Command {
        let program = std::env::current_exe().unwrap_or_else(|_| "paella-kernel".into());
        let mut command = Command::new(program);
        command.arg("guard").arg(self.prepared.library()).arg(self.socket());
        command.env("LD_LIBRARY_PATH", self.prepared.library_path());
        hide(&mut command, &self.prepared);
        if std::env::var_os("OMP_WAIT_POLICY").is_none() {
            command.env("OMP_WAIT_POLICY", "PASSIVE"); // as `paella` does: waiting threads sleep
        }
        command
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join("bus")
    }

    /// Where cargo puts compiled cells.
    pub fn outputs(&self) -> PathBuf {
        self.workspace().join("target").join(HOST).join("debug")
    }

    pub fn workspace(&self) -> PathBuf {
        self.folder.join("workspace")
    }

    /// A link to the standard library that rust-analyzer reads.
    pub fn sources(&self) -> PathBuf {
        self.folder.join("rust-src")
    }

    pub fn remove(&self) {
        let _ = std::fs::remove_dir_all(&self.folder); // the next kernel sweeps what is left
    }
}

/// Remove the folders of kernels that have ended.
fn sweep(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name.strip_prefix(NAME).and_then(|rest| rest.split('-').next());
        let process = number.and_then(|number| number.parse::<u32>().ok());
        if process.is_some_and(|number| !Path::new(&format!("/proc/{number}")).exists()) {
            let _ = std::fs::remove_dir_all(entry.path()); // another user's stays
        }
    }
}

/// Copy a folder with its times: cargo compares them.
pub fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(entry.path())?, &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
            let modified = entry.metadata()?.modified()?;
            std::fs::File::options().write(true).open(&target)?.set_modified(modified)?;
        }
    }
    Ok(())
}

/// What a process needs to find the programs first, in whatever way it looks for the tools.
fn environment(prepared: &Prepared, tools: &Tools) -> Vec<(&'static str, PathBuf)> {
    let bin = prepared.tools().join("bin");
    vec![
        ("PAELLA_RECALL", prepared.folder.clone()),
        ("PAELLA_SYSROOT", tools.sysroot.clone()),
        ("RUSTC", bin.join("rustc")),
        ("CARGO", bin.join("cargo")),
        ("RUSTUP_TOOLCHAIN", prepared.tools()), // rustup's own way
    ]
}

/// The process that `command` starts meets the tools themselves.
fn hide(command: &mut Command, prepared: &Prepared) {
    let own = prepared.tools().join("bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Ok(others) =
        std::env::join_paths(std::env::split_paths(&path).filter(|part| *part != own))
    {
        command.env("PATH", others);
    }
    for name in ["PAELLA_RECALL", "RUSTC", "CARGO", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(name);
    }
}
