//! `scripts/setup.py` in a separate clone and cache, without a network.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const LIBRARIES: [&str; 6] = [
    "torch/lib/libtorch_cpu.so",
    "torch/lib/libc10.so",
    "torch/lib/libtorch.so",
    "torch/include/torch/csrc/api/include/torch/torch.h",
    "nvidia/cu13/lib/libcudart.so.13",
    "nvidia/cu13/lib/libcupti.so.13",
];

/// A clone with only the files that the set-up reads, and an empty cache.
struct Clone {
    dir: TempDir,
}

impl Clone {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        fs::create_dir_all(dir.path().join("scripts")).unwrap();
        let scripts = ["setup.py", "libtorch_cache.py", "libtorch_check.py"];
        for name in
            scripts.map(|s| format!("scripts/{s}")).iter().chain([&"Cargo.toml".to_string()])
        {
            fs::copy(here.join(name), dir.path().join(name)).unwrap();
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn cached(&self) -> PathBuf {
        self.path("cache/paella/libtorch-2.11.0-cpu")
    }

    /// Runs the set-up. Returns success and its output. The package index is a closed port.
    fn setup(&self, variables: &[(&str, &str)]) -> (bool, String) {
        let mut command = Command::new("python3");
        command.arg(self.path("scripts/setup.py")).env("XDG_CACHE_HOME", self.path("cache"));
        for name in
            ["LIBTORCH", "LIBTORCH_USE_PYTORCH", "LIBTORCH_BYPASS_VERSION_CHECK", "PIP_FIND_LINKS"]
        {
            command.env_remove(name);
        }
        command.envs([
            ("PAELLA_LIBTORCH", "cpu"),
            ("PIP_INDEX_URL", "http://127.0.0.1:9"),
            ("PIP_RETRIES", "1"),
        ]);
        let output = command.envs(variables.iter().copied()).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// The smallest file accepted as a shared library: an ELF header without content.
fn library(path: &Path) {
    let mut bytes = [0; 64];
    bytes[..4].copy_from_slice(b"\x7fELF");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_whole_install_is_adopted_linked_and_then_checked() {
    let clone = Clone::new();
    LIBRARIES.iter().for_each(|name| library(&clone.cached().join(name)));
    let (ok, said) = clone.setup(&[]);
    assert!(ok && said.contains("without a manifest, whole"), "{said}");
    assert_eq!(fs::read_link(clone.path("libtorch")).unwrap(), clone.cached());
    let (ok, said) = clone.setup(&[]);
    assert!(ok && said.starts_with("libtorch 2.11.0 (cpu)") && said.lines().count() == 1, "{said}");

    fs::write(clone.cached().join(LIBRARIES[1]), "short").unwrap();
    let (ok, said) = clone.setup(&[]);
    assert!(!ok, "{said}");
    assert!(said.contains("torch/lib/libc10.so has 5 bytes, expected 64 bytes"), "{said}");
    assert!(
        said.contains("error: the package index cannot be reached: Connection refused"),
        "{said}"
    );
    assert!(said.contains("in: http://127.0.0.1:9\n  hint: check the network"), "{said}");
    let left: Vec<_> =
        fs::read_dir(clone.path("cache/paella")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "the install and the lock: {left:?}");
}

#[test]
fn your_own_libtorch_is_linked_and_stays() {
    let clone = Clone::new();
    let own = clone.path("own");
    library(&own.join("lib/libtorch_cpu.so"));
    library(&own.join("lib/libc10.so"));
    fs::write(own.join("build-version"), "2.9.1+cpu\n").unwrap();
    let (ok, said) = clone.setup(&[("LIBTORCH", own.to_str().unwrap()), ("PAELLA_LIBTORCH", "")]);
    assert!(ok && said.contains("expected libtorch 2.11.0, got 2.9.1+cpu"), "{said}");
    assert!(said.contains("LIBTORCH_BYPASS_VERSION_CHECK=1"), "{said}");
    assert_eq!(fs::read_link(clone.path("libtorch/torch")).unwrap(), own);
    let (ok, said) = clone.setup(&[("PAELLA_LIBTORCH", "")]);
    assert!(ok && said.contains("found at ./libtorch"), "{said}");

    fs::write(own.join("lib/libc10.so"), "short").unwrap();
    let (ok, said) = clone.setup(&[("PAELLA_LIBTORCH", "")]);
    assert!(!ok && said.contains("error: the library cannot be read"), "{said}");
}

#[test]
fn an_unknown_build_is_refused_before_any_download() {
    let clone = Clone::new();
    let (ok, said) = clone.setup(&[("LIBTORCH", "/nowhere")]);
    assert!(
        !ok && said
            .starts_with("error: no lib/libtorch_cpu.so in your libtorch\n  in: LIBTORCH=/nowhere"),
        "{said}"
    );
    let (ok, said) = clone.setup(&[("PAELLA_LIBTORCH", "rocm")]);
    assert!(!ok && said.starts_with("error: expected `cpu` or `cuda`, got `rocm`"), "{said}");
    symlink(clone.path("gone"), clone.path("libtorch")).unwrap();
    fs::write(clone.path("cache"), "a file").unwrap();
    let (ok, said) = clone.setup(&[]);
    assert!(!ok && said.starts_with("error: cannot write to the cache"), "{said}");
}

/// What `make dist` packs runs in a place of its own: program, model, lessons and configs from the archive, libtorch by its link.
#[test]
fn the_archive_for_machines_without_rust_runs_elsewhere() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().unwrap();
    let target = Path::new(env!("CARGO_BIN_EXE_paella")).ancestors().nth(2).unwrap();
    let packed = Command::new(here.join("scripts/dist.sh"))
        .args([dir.path().to_str().unwrap(), "--folder"])
        .env("CARGO_TARGET_DIR", target)
        .output()
        .unwrap();
    assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
    let folder = dir.path().join(concat!("paella-", env!("CARGO_PKG_VERSION"), "-x86_64-linux"));

    // the set-up of an archive asks for no Rust: here it stops at the closed port
    let out = Command::new("sh")
        .arg(folder.join("install.sh"))
        .env("XDG_CACHE_HOME", dir.path().join("cache"))
        .envs([("PAELLA_LIBTORCH", "cpu"), ("PIP_INDEX_URL", "http://127.0.0.1:9")])
        .envs([("PIP_RETRIES", "1"), ("PIP_FIND_LINKS", ""), ("CARGO", "none")])
        .env_remove("LIBTORCH")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && said.contains("the package index"), "{said}");

    symlink(fs::canonicalize(here.join("libtorch")).unwrap(), folder.join("libtorch")).unwrap();
    let run = |args: &[&str]| {
        let mut paella = Command::new(folder.join("paella"));
        for name in ["LD_LIBRARY_PATH", "PAELLA_HOME", "PAELLA_ASSETS"] {
            paella.env_remove(name);
        }
        let out = paella.args(args).current_dir(dir.path()).output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{args:?}: {said}{}", String::from_utf8_lossy(&out.stderr));
        said
    };
    run(&["sample", "red apple, 3d emoji", "--seed", "1", "--out", "a.png"]);
    assert!(fs::metadata(dir.path().join("a.png")).unwrap().len() > 1000);
    let assets = folder.join("lib/paella/assets").display().to_string();
    assert!(run(&["doctor"]).contains(&assets), "its own data, not the clone's");
    assert!(run(&["lesson"]).contains("8. "));
}
