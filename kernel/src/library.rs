//! The library of the cells: compiled by cargo, kept with all that a cell is compiled and linked against.

use crate::files::{take, write};
use crate::place::{self, HOST, Prepared, Tools};
use crate::trouble::{Result, Trouble};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The empty library, among those that cells are linked with.
const EMPTY: &str = "empty.so";

/// What cargo made.
pub struct Built {
    pub library: PathBuf,
    /// Metadata of every crate below the library: the compiler asks for it.
    metadata: BTreeSet<PathBuf>,
    /// Where libtorch lies.
    native: BTreeSet<PathBuf>,
    /// Source folder of the `tch` crate.
    pub tch: PathBuf,
}

/// Compile the library and read from cargo's messages where everything is.
///
/// Errors: cargo does not run, or the library does not compile.
pub fn build(tools: &Tools) -> Result<Built> {
    let source = place::source();
    let fault = |text: String| {
        let hint = "`make setup` in that folder; PAELLA_SOURCE names another one";
        Trouble::new(text, source.display().to_string(), hint)
    };
    let output = Command::new(&tools.cargo)
        .args(["rustc", "-p", "paella-notebook", "--lib", "--locked"])
        .args(["--message-format=json-render-diagnostics", "--", "-Cprefer-dynamic"])
        .env("RUSTC", &tools.rustc)
        .current_dir(&source)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| fault(format!("cargo does not run: {e}")))?;
    if !output.status.success() {
        return Err(fault("the library of the cells does not compile, see above".into()));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    read_messages(messages).ok_or_else(|| fault("cargo does not say where the library is".into()))
}

fn read_messages(messages: impl Iterator<Item = Value>) -> Option<Built> {
    let (mut library, mut tch) = (None, None);
    let (mut metadata, mut native) = (BTreeSet::new(), BTreeSet::new());
    let paths = |value: &Value| -> Vec<PathBuf> {
        let list = value.as_array().into_iter().flatten();
        list.filter_map(|path| path.as_str().map(PathBuf::from)).collect()
    };
    for message in messages {
        match message["reason"].as_str() {
            Some("compiler-artifact") => {
                let files = paths(&message["filenames"]);
                let ends = |file: &PathBuf, end: &str| file.extension().is_some_and(|e| e == end);
                let is_macro = message["target"]["kind"][0] == "proc-macro";
                let end = if is_macro { "so" } else { "rmeta" };
                metadata.extend(files.iter().filter(|file| ends(file, end)).cloned());
                let source = message["target"]["src_path"].as_str().map(Path::new);
                match message["target"]["name"].as_str() {
                    Some("paella_notebook") => {
                        library = files.into_iter().find(|file| ends(file, "so"))
                    }
                    Some("tch") => {
                        tch = source.and_then(|path| path.ancestors().nth(2)).map(Path::to_path_buf)
                    }
                    _ => {}
                }
            }
            Some("build-script-executed") => {
                let text = |path: &PathBuf| path.to_string_lossy().into_owned();
                let searched = paths(&message["linked_paths"]);
                let searched =
                    searched.iter().map(text).map(|path| path.trim_start_matches("native=").into());
                native.extend(
                    searched.filter(|path: &PathBuf| path.join("libtorch_cpu.so").is_file()),
                );
            }
            _ => {}
        }
    }
    Some(Built { library: library?, metadata, native, tch: tch? })
}

impl Built {
    /// Take over what cells are compiled against.
    ///
    /// Errors: a file cannot be copied, or there is no C compiler.
    pub fn keep(&self, prepared: &Prepared, tools: &Tools) -> Result<()> {
        let metadata = prepared.folder.join("metadata");
        let _ = std::fs::remove_dir_all(&metadata); // there is none at first
        std::fs::create_dir_all(&metadata).map_err(|e| Trouble::file(&e, &metadata))?;
        for file in &self.metadata {
            take(file, &metadata.join(file.file_name().unwrap_or_default()))?;
        }
        take(&self.library, &prepared.library())?;
        // Without its debug information it is half as long, should cells be linked with it.
        let _ = Command::new("strip").arg("-g").arg(prepared.library()).status(); // only shorter
        let rust = tools.sysroot.join("lib/rustlib").join(HOST).join("lib");
        let nvidia = self.native.iter().filter_map(|lib| lib.ancestors().nth(2));
        let nvidia = nvidia.map(|folder| folder.join("nvidia/cu13/lib")).filter(|lib| lib.is_dir());
        let folders: Vec<PathBuf> =
            self.native.iter().cloned().chain(nvidia).chain([rust]).collect();
        let own = [prepared.folder.clone()];
        let lines: Vec<String> =
            folders.iter().chain(&own).map(|path| path.display().to_string()).collect();
        write(&prepared.folder.join("library-path"), &lines.join("\n"))?;
        let stubs = prepared.folder.join("stubs");
        self.stubs(&stubs)?;
        let face = stubs.join(self.library.file_name().unwrap_or_default());
        let found = match only_metadata(&self.library, &stubs.join(EMPTY), &face, tools) {
            true => face,
            false => prepared.library(), // as good, and slower
        };
        let flags = format!(
            "-Ccodegen-units=1 -Cprefer-dynamic --extern paella_notebook={} -Ldependency={} -Ldependency={} -Lnative={}",
            found.display(),
            found.with_file_name("").display(),
            metadata.display(),
            stubs.display()
        );
        write(&prepared.folder.join("flags"), &flags)
    }

    /// Empty libraries of the names that libtorch's have. Cells are linked with all of them and find in the evaluator what
    /// they call: the linker would read 78,000 symbols for nothing.
    fn stubs(&self, folder: &Path) -> Result<()> {
        let _ = std::fs::remove_dir_all(folder); // there is none at first
        std::fs::create_dir_all(folder).map_err(|e| Trouble::file(&e, folder))?;
        let empty = folder.join(EMPTY);
        let linked = Command::new("cc")
            .args(["-shared", "-nostdlib", "-x", "c", "/dev/null", "-o"])
            .arg(&empty)
            .status();
        if !linked.is_ok_and(|status| status.success()) {
            let hint = "cells are linked with it: install gcc or clang";
            return Err(Trouble::new("the C compiler does not run", "cc", hint));
        }
        for native in &self.native {
            let files = std::fs::read_dir(native).map_err(|e| Trouble::file(&e, native))?;
            for name in files.flatten().map(|file| file.file_name()) {
                if Path::new(&name).extension().is_some_and(|ending| ending == "so") {
                    take(&empty, &folder.join(name))?;
                }
            }
        }
        Ok(())
    }
}

/// Write `face`, an empty library with the part of `library` that rustc reads. The linker would read 30,000 symbols of the
/// library itself. Whether that is done.
fn only_metadata(library: &Path, empty: &Path, face: &Path, tools: &Tools) -> bool {
    let own = tools.sysroot.join("lib/rustlib").join(HOST).join("bin/rust-objcopy");
    let (part, rest) = (face.with_extension("rustc"), face.with_extension("rest"));
    let done = [own, PathBuf::from("objcopy")].into_iter().any(|program| {
        let moved = |what: &str, from: &Path, to: &Path| {
            let mut command = Command::new(&program);
            command.env("LD_LIBRARY_PATH", tools.sysroot.join("lib")).stderr(Stdio::null());
            command.arg(format!("{what}=.rustc={}", part.display())).args([from, to]);
            command.status().is_ok_and(|status| status.success())
        };
        moved("--dump-section", library, &rest) && moved("--add-section", empty, face)
    });
    let _ = [part, rest].map(std::fs::remove_file); // there may be none
    done
}
