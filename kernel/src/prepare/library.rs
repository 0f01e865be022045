//! The library of the cells: compiled by cargo, kept with the metadata that a cell is compiled against.

use crate::files::{take, write};
use crate::place::{self, HOST, Prepared, Tools};
use crate::trouble::{Result, Trouble};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The library that cargo built, and what belongs to it.
pub struct Built {
    library: PathBuf,
    /// Metadata of every crate below the library: the compiler asks for it.
    metadata: BTreeSet<PathBuf>,
    /// Folders of libtorch's libraries.
    pub native: BTreeSet<PathBuf>,
    /// Source folder of the `tch` crate.
    pub tch: PathBuf,
}

/// Compile the library and read from cargo's messages where everything is. With `shared` it holds code that most cells
/// need: trick `shared`.
///
/// Errors: cargo does not run, or the library does not compile.
pub fn build(tools: &Tools, shared: bool) -> Result<Built> {
    let source = place::source();
    let fault = |text: String| {
        let hint = "`make setup` in that folder; PAELLA_SOURCE names another one";
        Trouble::new(text, source.display().to_string(), hint)
    };
    let output = Command::new(&tools.cargo)
        .args(["rustc", "-p", "paella-notebook", "--lib", "--locked"])
        .args(["--message-format=json-render-diagnostics", "--", "-Cprefer-dynamic"])
        .args((!shared).then_some("--cfg=unshared"))
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
    /// Take over what cells are compiled against, and what the evaluator needs.
    ///
    /// Errors: a file cannot be copied.
    pub fn keep(&self, prepared: &Prepared, tools: &Tools) -> Result<()> {
        let metadata = prepared.metadata();
        let _ = std::fs::remove_dir_all(&metadata); // there is none at first
        std::fs::create_dir_all(&metadata).map_err(|e| Trouble::file(&e, &metadata))?;
        for file in &self.metadata {
            take(file, &metadata.join(file.file_name().unwrap_or_default()))?;
        }
        take(&self.library, &prepared.library())?;
        let rust = tools.sysroot.join("lib/rustlib").join(HOST).join("lib");
        let nvidia = self.native.iter().filter_map(|lib| lib.ancestors().nth(2));
        let nvidia = nvidia.map(|folder| folder.join("nvidia/cu13/lib")).filter(|lib| lib.is_dir());
        let own = [rust, prepared.folder.clone()];
        let folders = self.native.iter().cloned().chain(nvidia).chain(own);
        let lines: Vec<String> = folders.map(|path| path.display().to_string()).collect();
        write(&prepared.folder.join("library-path"), &lines.join("\n"))
    }

    /// Whether the library is still the one that `remember` has seen.
    pub fn is_kept(&self, prepared: &Prepared) -> bool {
        let kept = std::fs::read_to_string(prepared.folder.join("built"));
        kept.is_ok_and(|text| text == self.identity())
    }

    /// Errors: the file cannot be written.
    pub fn remember(&self, prepared: &Prepared) -> Result<()> {
        write(&prepared.folder.join("built"), &self.identity())
    }

    /// Length and time of the library, to see whether it is another one.
    fn identity(&self) -> String {
        let data = std::fs::metadata(&self.library).ok();
        format!("{:?}", data.map(|data| (data.len(), data.modified().ok())))
    }
}
