//! What is built once and used by every kernel: the library of the cells, the packages that lead to it, the standard
//! library's signatures, and a workspace in which all of that is compiled.

use crate::expand;
use crate::facade;
use crate::files::{remove, take, write};
use crate::library;
use crate::place::{self, Prepared, Tools};
use crate::trim;
use crate::trouble::{Result, Trouble};
use crate::workplace::{LEVELS, Workplace, copy};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Parts of the standard library that types come from.
const STD: [&str; 3] = ["core", "alloc", "std"];

/// Stands in for cargo and rustc; built beside this program.
const RECALL: &str = "paella-recall";

/// What is prepared for the Rust of today; `None` where it is missing or made for another one.
pub fn find(tools: &Tools) -> Option<Prepared> {
    let prepared = tools.prepared();
    (prepared.stamp()? == tools.stamp()).then_some(prepared)
}

/// Prepare what is missing, and the library again if its sources have changed. `tell` hears what goes on.
///
/// Errors: a tool is missing or fails.
pub fn ensure(tell: &mut dyn FnMut(&str)) -> Result<Prepared> {
    let tools = Tools::find()?;
    let prepared = tools.prepared();
    let folder = &prepared.folder;
    std::fs::create_dir_all(folder).map_err(|e| Trouble::file(&e, folder))?;
    tell("building the library of the cells (a minute or two the first time)");
    let built = library::build(&tools)?;
    if find(&tools).is_some() && same(&built.library, &prepared) {
        tell("the kernel is prepared");
        return Ok(prepared);
    }
    remove(&folder.join("stamp"))?;
    built.keep(&prepared, &tools)?;
    tell("writing the sources that completion reads");
    sources(&tools, &prepared, &built.tch)?;
    recall(&prepared)?;
    tell("compiling a first cell");
    template(&tools, &prepared)?;
    write(&folder.join("built"), &identity(&built.library))?;
    write(&folder.join("stamp"), &tools.stamp())?;
    tell("the kernel is prepared");
    Ok(prepared)
}

fn same(library: &Path, prepared: &Prepared) -> bool {
    std::fs::read_to_string(prepared.folder.join("built"))
        .is_ok_and(|text| text == identity(library))
}

/// Length and time of a file, to see whether it is another one.
fn identity(path: &Path) -> String {
    let data = std::fs::metadata(path).ok();
    format!("{:?}", data.map(|data| (data.len(), data.modified().ok())))
}

/// The tools that remember, without any memory.
fn recall(prepared: &Prepared) -> Result<()> {
    let own = std::env::current_exe().map_err(|e| Trouble::file(&e, Path::new("paella-kernel")))?;
    let bin = prepared.tools().join("bin");
    std::fs::create_dir_all(&bin).map_err(|e| Trouble::file(&e, &bin))?;
    for tool in ["cargo", "rustc", "rustup"] {
        take(&own.with_file_name(RECALL), &bin.join(tool))?;
    }
    let _ = std::fs::remove_dir_all(prepared.folder.join("answers")); // there are none at first
    Ok(())
}

/// What runs before the first cell.
pub fn prelude(prepared: &Prepared) -> String {
    let flags = std::fs::read_to_string(prepared.folder.join("flags")).unwrap_or_default();
    let facade = prepared.folder.join("facade");
    let dep =
        |name: &str| format!(":dep {name} = {{ path = \"{}\" }}\n", facade.join(name).display());
    format!(":build_env RUSTFLAGS={flags}\n{}{}{USES}", dep("paella"), dep("tch"))
}

const USES: &str = "use paella::lab::{Lab, Pick, SampleRequest, watch::Quiet};
use paella::{Show, Slot, display, input, progress};
use tch::{Device, IndexOp, Kind, Tensor, nn};
";

/// Signatures of the standard library, and the packages `paella` and `tch`.
fn sources(tools: &Tools, prepared: &Prepared, tch: &Path) -> Result<()> {
    let rust = prepared.folder.join("rust-src");
    let _ = std::fs::remove_dir_all(&rust); // there is none at first
    let none = rust.join("none/core/src");
    std::fs::create_dir_all(&none).map_err(|e| Trouble::file(&e, &none))?;
    write(&none.join("lib.rs"), "")?;
    let library = standard_library(tools)?;
    for part in STD {
        trim::folder(
            &library.join(part).join("src"),
            &rust.join("std").join(part).join("src"),
            true,
        )?;
    }
    without_hashbrown(&rust.join("std/std/src"))?;
    STD.iter().try_for_each(|part| expand::folder(&rust.join("std").join(part).join("src")))?;
    let config = prepared.folder.join("evcxr");
    std::fs::create_dir_all(&config).map_err(|e| Trouble::file(&e, &config))?;
    write(&config.join("evcxr.toml"), &format!("[evcxr]\nopt_level = \"{}\"\n", LEVELS[0]))?;
    facade::write(&prepared.folder.join("facade"), tch)
}

/// `HashMap` rests on a crate that does not come with Rust's sources; empty types of its names are all that inference needs.
fn without_hashbrown(std: &Path) -> Result<()> {
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|e| Trouble::file(&e, path));
    for file in ["collections/hash/map.rs", "collections/hash/set.rs"].map(|file| std.join(file)) {
        let text = read(&file)?;
        let text = text.replace("use hashbrown::", "use crate::hashbrown::");
        write(&file, &text.replace("err: hashbrown::", "err: crate::hashbrown::"))?;
    }
    let root = std.join("lib.rs");
    write(&root, &(read(&root)? + include_str!("hashbrown.stub")))
}

/// Rust's own sources, fetched by rustup where they are missing.
fn standard_library(tools: &Tools) -> Result<PathBuf> {
    let library = tools.sysroot.join("lib/rustlib/src/rust/library");
    if !library.join("core").is_dir() {
        let _ = Command::new("rustup")
            .args(["component", "add", "rust-src"])
            .current_dir(place::source())
            .status();
    }
    if library.join("core").is_dir() {
        return Ok(library);
    }
    let hint = "`rustup component add rust-src`, then `paella kernel install` again";
    Err(Trouble::new(
        "the sources of Rust's standard library are missing",
        library.display().to_string(),
        hint,
    ))
}

/// A workspace in which the packages are compiled; kernels copy it.
fn template(tools: &Tools, prepared: &Prepared) -> Result<()> {
    let _ = std::fs::remove_dir_all(prepared.template()); // there is none at first
    let mut place = Workplace::claim(prepared.clone())?;
    place.folder = place.folder.join("prepare"); // a kernel that prepares has its own workspace beside it
    place.fill()?;
    let program =
        std::env::current_exe().map_err(|e| Trouble::file(&e, Path::new("paella-kernel")))?;
    // In a process of its own: evcxr reads the environment.
    let status = Command::new(program)
        .arg("warm")
        .arg(&place.folder)
        .arg(&tools.sysroot)
        .env("PAELLA_LEARN", "yes")
        .status();
    let done = status.is_ok_and(|status| status.success());
    let workspace = place.folder.join("workspace");
    let kept = if done { copy(&workspace, &prepared.template()) } else { Ok(()) };
    place.remove();
    kept.map_err(|e| Trouble::file(&e, &prepared.template()))?;
    if done {
        Ok(())
    } else {
        Err(Trouble::new("the first cell does not compile", "", "see above"))
    }
}
