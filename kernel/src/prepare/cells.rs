//! How a cell is compiled: against the cells' library, without optimisation, in one go.

use crate::files::write;
use crate::place::Prepared;
use crate::prepare::trick::{Trick, Without};
use crate::trouble::{Result, Trouble};
use std::path::{Path, PathBuf};

/// At hand in every cell.
const USES: &str = "use paella::lab::{Lab, Pick, SampleRequest, watch::Quiet};
use paella::{RgbImage, Show, Slot, display, input, progress};
use tch::{Device, IndexOp, Kind, Tensor, nn};
";

/// cargo's setting for incremental files.
const INCREMENTAL: &str = "CARGO_INCREMENTAL";

/// Line numbers, so that a panic below a cell is reported at the cell's own line. cargo takes them away for evcxr.
const LINES: [&str; 2] = ["-Cdebuginfo=line-tables-only", "-Cstrip=none"];

/// The level of optimisation of cells. Code of the cells' library is shared at the same level only.
pub fn level(without: &Without) -> &'static str {
    if without.has(Trick::Unoptimised) { "2" } else { "0" }
}

/// Write what runs before the first cell, and evcxr's settings. `native` holds folders of libtorch's libraries, or of empty
/// ones.
///
/// Errors: a file cannot be written.
pub fn prelude(prepared: &Prepared, native: &[PathBuf], without: &Without) -> Result<()> {
    let config = prepared.config();
    std::fs::create_dir_all(&config).map_err(|e| Trouble::file(&e, &config))?;
    let settings = format!("[evcxr]\nopt_level = \"{}\"\n", level(without));
    write(&config.join("evcxr.toml"), &settings)?;
    let facade = prepared.folder.join("facade");
    let dep =
        |name: &str| format!(":dep {name} = {{ path = \"{}\" }}\n", facade.join(name).display());
    let mut text = format!(":build_env RUSTFLAGS={}\n", flags(prepared, native));
    if !without.has(Trick::Whole) && std::env::var_os(INCREMENTAL).is_none() {
        text += &format!(":build_env {INCREMENTAL}=0\n"); // writing them takes longer than it saves
    }
    text += &(dep("paella") + &dep("tch") + USES);
    write(&prepared.prelude(), &text)
}

/// rustc's flags for a cell.
fn flags(prepared: &Prepared, native: &[PathBuf]) -> String {
    let folder = |kind: &str, path: &Path| format!("-L{kind}={}", path.display());
    let library = format!("paella_notebook={}", prepared.library().display());
    let [own, others] =
        [&prepared.folder, &prepared.metadata()].map(|path| folder("dependency", path));
    let mut flags = vec!["-Cprefer-dynamic".into(), "--extern".into(), library, own, others];
    flags.extend(LINES.map(String::from));
    flags.extend(native.iter().map(|path| folder("native", path)));
    flags.join(" ")
}
