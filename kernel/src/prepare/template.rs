//! A rehearsed start, in a process of its own, and trick `template`: the workspace that it leaves, for kernels to copy.

use crate::files::remove;
use crate::place::{Prepared, Tools};
use crate::trouble::{Result, Trouble};
use crate::workplace::{Workplace, copy};
use paella_wire::{Event, decode};
use std::io::{BufRead, BufReader};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

/// Does what every kernel does at its start, up to a first variable.
pub type Rehearse = fn(&Workplace) -> std::result::Result<(), String>;

/// Rehearse a start, to see that the first cells compile; what cargo and rustc answer is kept. `after` gets the workspace.
///
/// Errors: the first cells do not compile; those of `after`.
pub fn rehearse(
    tools: &Tools,
    prepared: &Prepared,
    after: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let _ = std::fs::remove_dir_all(prepared.template()); // there is none at first
    let place = Workplace::beside(prepared.clone(), "prepare")?;
    let program =
        std::env::current_exe().map_err(|e| Trouble::file(&e, Path::new("paella-kernel")))?;
    // In a process of its own: evcxr reads the environment.
    let status = Command::new(program)
        .arg("rehearse")
        .args([&place.folder, &tools.sysroot])
        .env("PAELLA_LEARN", "yes")
        .status();
    let ended = match status.is_ok_and(|status| status.success()) {
        true => after(&place.workspace()),
        false => Err(Trouble::new("the first cell does not compile", "", "see above")),
    };
    place.remove();
    ended
}

/// Keep a workspace for kernels to copy.
///
/// Errors: a file cannot be copied.
pub fn keep(workspace: &Path, prepared: &Prepared) -> Result<()> {
    copy(workspace, &prepared.template()).map_err(|e| Trouble::file(&e, &prepared.template()))
}

/// In the process that [`rehearse`] starts: rehearse in the workspace of that folder.
///
/// Errors: the first cells do not compile, or the library cannot be loaded.
pub fn run(folder: &str, sysroot: &str, rehearse: Rehearse) -> Result<()> {
    let missing = || Trouble::new("rustc does not run", sysroot, "");
    let tools = Tools::at(Path::new(sysroot)).ok_or_else(missing)?;
    let place = Workplace { folder: folder.into(), prepared: tools.prepared() };
    place.announce(&tools);
    place.fill()?;
    let socket = place.socket();
    let listener = UnixListener::bind(&socket).map_err(|e| Trouble::file(&e, &socket))?;
    std::thread::spawn(move || listener.incoming().flatten().for_each(overhear));
    rehearse(&place).map_err(|text| Trouble::new(text, "the first cells", ""))?;
    for output in ["", "deps"].map(|part| place.outputs().join(part)) {
        for file in std::fs::read_dir(&output).into_iter().flatten().flatten() {
            if file.file_name().to_string_lossy().starts_with("libcode_") {
                remove(&file.path())?; // the cells that ran here
            }
        }
    }
    Ok(())
}

/// Print what an evaluator says: nothing, if all is well.
fn overhear(evaluator: UnixStream) {
    for line in BufReader::new(evaluator).lines().map_while(std::io::Result::ok) {
        match decode(&line) {
            Ok(Event::Stdout { text } | Event::Stderr { text } | Event::Panic { text, .. }) => {
                eprint!("{text}")
            }
            Ok(_) => {}
            Err(text) => eprintln!("error: {text}"),
        }
    }
}
