//! What is done once, in a process of its own, while the kernel is prepared: evcxr reads the environment.

use crate::engine;
use crate::files::remove;
use crate::place::Tools;
use crate::trouble::{Result, Trouble};
use crate::workplace::Workplace;
use paella_wire::{Event, decode};
use std::io::{BufRead, BufReader};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// In the process that `template` starts: do in the workspace of that folder what every kernel does at its start.
///
/// Errors: the first cells do not compile, or the library cannot be loaded.
pub fn run(folder: &str, sysroot: &str) -> Result<()> {
    let missing = || Trouble::new("rustc does not run", sysroot, "");
    let tools = Tools::at(Path::new(sysroot)).ok_or_else(missing)?;
    let place = Workplace { folder: folder.into(), prepared: tools.prepared() };
    place.announce(&tools);
    let socket = place.socket();
    let listener = UnixListener::bind(&socket).map_err(|e| Trouble::file(&e, &socket))?;
    std::thread::spawn(move || listener.incoming().flatten().for_each(overhear));
    engine::rehearse(&place).map_err(|text| Trouble::new(text, "the first cells", ""))?;
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
