//! The kernelspec: how Jupyter finds and starts this kernel.

use crate::info::DISPLAY_NAME;
use crate::place::Tools;
use crate::prepare;
use crate::trouble::{Result, Trouble};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Name of the folder, and of the kernel in notebooks.
const NAME: &str = "paella";

/// Prepare the kernel and add it to Jupyter's list: for the user, or below a prefix (a virtual environment).
///
/// Errors: as `prepare::ensure`; the folder cannot be written.
pub fn install(args: &[&str]) -> Result<()> {
    let folder = folder(args)?;
    prepare::ensure(&mut |line| eprintln!("{line}"))?;
    let tools = Tools::find()?;
    let program =
        std::env::current_exe().map_err(|e| Trouble::file(&e, Path::new("paella-kernel")))?;
    let spec = json!({
        "argv": [program, "run", "{connection_file}"],
        "display_name": DISPLAY_NAME,
        "language": "rust",
        "interrupt_mode": "message",
        "env": { "PAELLA_SYSROOT": tools.sysroot },
        "metadata": { "debugger": false },
    });
    std::fs::create_dir_all(&folder).map_err(|e| Trouble::file(&e, &folder))?;
    let text = serde_json::to_string_pretty(&spec).unwrap_or_default();
    std::fs::write(folder.join("kernel.json"), text).map_err(|e| Trouble::file(&e, &folder))?;
    println!("installed: {DISPLAY_NAME} in {}", folder.display());
    Ok(())
}

/// Remove the kernelspec. The prepared kernel stays in the cache.
///
/// Errors: the folder cannot be removed.
pub fn uninstall(args: &[&str]) -> Result<()> {
    let folder = folder(args)?;
    if !folder.exists() {
        println!("not installed: {}", folder.display());
        return Ok(());
    }
    std::fs::remove_dir_all(&folder).map_err(|e| Trouble::file(&e, &folder))?;
    println!("removed: {}", folder.display());
    Ok(())
}

/// Where the kernelspec goes.
fn folder(args: &[&str]) -> Result<PathBuf> {
    let data = match args {
        [] | ["--user"] => user_data()?,
        ["--prefix", prefix] => std::path::absolute(prefix)
            .map_err(|e| Trouble::file(&e, Path::new(prefix)))?
            .join("share/jupyter"),
        _ => {
            return Err(Trouble::new(
                "expected --user or --prefix DIR",
                args.join(" "),
                "without both: --user",
            ));
        }
    };
    Ok(data.join("kernels").join(NAME))
}

/// The user's Jupyter folder, as Jupyter itself finds it.
fn user_data() -> Result<PathBuf> {
    let given =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let share = || given("HOME").map(|home| home.join(".local/share"));
    given("JUPYTER_DATA_DIR")
        .or_else(|| given("XDG_DATA_HOME").or_else(share).map(|folder| folder.join("jupyter")))
        .ok_or_else(|| Trouble::new("HOME is not set", "environment", "--prefix DIR"))
}
