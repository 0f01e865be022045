//! The folder of one running kernel: evcxr's workspace, the socket, a link to the standard library's sources.

use crate::place::{HOST, Prepared, Tools};
use crate::trouble::{Result, Trouble};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Name of such folders, with the process number behind it.
const NAME: &str = "paella-kernel-";

/// The level of optimisation that evcxr begins with, and the same level in other letters.
pub const LEVELS: [&str; 2] = ["0", "+0"];

/// Of cargo.
const INCREMENTAL: &str = "CARGO_INCREMENTAL";

#[derive(Clone)]
pub struct Workplace {
    pub folder: PathBuf,
    pub prepared: Prepared,
}

impl Workplace {
    /// A fresh folder for this process; what dead kernels left is removed.
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

    /// The prepared workspace, or an empty one where there is none yet.
    ///
    /// Errors: it cannot be copied.
    pub fn fill(&self) -> Result<()> {
        let made = match self.prepared.template().is_dir() {
            true => copy(&self.prepared.template(), &self.workspace()),
            false => std::fs::create_dir_all(self.workspace()),
        };
        made.map_err(|e| Trouble::file(&e, &self.folder))
    }

    /// Tell evcxr and its rust-analyzer where things are. They read it from the environment.
    pub fn announce(&self, tools: &Tools) {
        let set = |name: &str, value: &Path| {
            // SAFETY: called before any thread is started.
            unsafe { std::env::set_var(name, value) };
        };
        set("EVCXR_TMPDIR", &self.workspace());
        set("EVCXR_CONFIG_DIR", &self.prepared.folder.join("evcxr"));
        set("RUST_SRC_PATH", &self.sources());
        // The tools that remember, for whatever way to look for one; the last is rustup's.
        let remembering = self.prepared.tools();
        if std::env::var_os(INCREMENTAL).is_none() {
            set(INCREMENTAL, Path::new("0")); // a cell is small: what rustc saves costs more than it spares
        }
        set("PAELLA_RECALL", &self.prepared.folder);
        set("PAELLA_SYSROOT", &tools.sysroot);
        set("RUSTC", &remembering.join("bin/rustc"));
        set("CARGO", &remembering.join("bin/cargo"));
        set("RUSTUP_TOOLCHAIN", &remembering);
        let first = [remembering.join("bin"), tools.sysroot.join("bin")];
        if let Ok(path) = std::env::join_paths(first.into_iter().chain(path())) {
            set("PATH", Path::new(&path));
        }
    }

    /// How evcxr starts the evaluator: through its guard.
    pub fn guard(&self) -> Command {
        let program = std::env::current_exe().unwrap_or_else(|_| "paella-kernel".into());
        let mut command = Command::new(program);
        command.arg("guard").arg(self.prepared.library()).arg(self.socket());
        command.env("LD_LIBRARY_PATH", self.prepared.library_path());
        // What a cell starts meets the tools themselves.
        let own = self.prepared.tools().join("bin");
        if let Ok(others) = std::env::join_paths(path().filter(|part| *part != own)) {
            command.env("PATH", others);
        }
        for name in ["PAELLA_RECALL", "RUSTC", "CARGO", "RUSTUP_TOOLCHAIN", INCREMENTAL] {
            command.env_remove(name);
        }
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

    fn workspace(&self) -> PathBuf {
        self.folder.join("workspace")
    }

    fn sources(&self) -> PathBuf {
        self.folder.join("rust-src")
    }

    /// rust-analyzer is to read nothing of the standard library.
    pub fn analyse_little(&self) {
        self.point(&self.prepared.folder.join("rust-src/none"));
    }

    /// rust-analyzer is to know the standard library too, once it reads the workspace.
    pub fn analyse_all(&self) {
        self.point(&self.prepared.folder.join("rust-src/std"));
    }

    /// Have rust-analyzer read the workspace anew at its next look: it does when `Cargo.toml` has changed. To cargo the
    /// change is none.
    pub fn read_anew(&self) {
        let file = self.workspace().join("Cargo.toml");
        let [before, after] = LEVELS.map(|level| format!("opt-level = {level}\n"));
        let changed = std::fs::read_to_string(&file)
            .and_then(|text| std::fs::write(&file, text.replace(&before, &after)));
        if let Err(error) = changed {
            eprintln!("error: {}", Trouble::file(&error, &file));
        }
    }

    fn point(&self, to: &Path) {
        let link = self.sources();
        let _ = std::fs::remove_file(&link); // there is none at first
        if let Err(error) = std::os::unix::fs::symlink(to, &link) {
            eprintln!("error: {}", Trouble::file(&error, &link));
        }
    }

    pub fn remove(&self) {
        let _ = std::fs::remove_dir_all(&self.folder); // the next kernel sweeps what is left
    }
}

/// The folders in which programs are looked for.
fn path() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect::<Vec<_>>().into_iter()
}

/// Remove the folders of kernels that are no more.
fn sweep(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(NAME).and_then(|number| number.parse::<u32>().ok());
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
