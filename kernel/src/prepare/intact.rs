//! Whether a prepared kernel is still as it was when it was prepared: a file may have been deleted or cut since.

use crate::files::write;
use crate::place::Prepared;
use crate::trouble::Result;

/// Files that a kernel is made of, below the folder of the prepared kernel. Those of the standard library stand for all, and
/// so does the template's manifest. A trick that is left out has none, which is a length too.
const NEEDED: [&str; 14] = [
    "libpaella_notebook.so",
    "library-path",
    "prelude",
    "evcxr/evcxr.toml",
    "facade/paella/Cargo.toml",
    "facade/paella/src/lib.rs",
    "facade/tch/src/lib.rs",
    "rust-src/none/core/src/lib.rs",
    "rust-src/std/core/src/lib.rs",
    "rust-src/std/alloc/src/lib.rs",
    "rust-src/std/std/src/lib.rs",
    "template/Cargo.toml",
    "tools/bin/cargo",
    "tools/bin/rustc",
];

/// In the folder of what is prepared.
const FILE: &str = "lengths";

/// Keep the length of each file.
///
/// Errors: the file of lengths cannot be written.
pub fn remember(prepared: &Prepared) -> Result<()> {
    write(&prepared.folder.join(FILE), &lengths(prepared))
}

/// Whether each file is there, as long as it was.
pub fn is(prepared: &Prepared) -> bool {
    std::fs::read_to_string(prepared.folder.join(FILE)).is_ok_and(|kept| kept == lengths(prepared))
}

fn lengths(prepared: &Prepared) -> String {
    let length = |file: &str| std::fs::metadata(prepared.folder.join(file)).map(|data| data.len());
    let line = |file: &str| format!("{file} {:?}\n", length(file).ok());
    let count = |folder: &str| {
        let files = std::fs::read_dir(prepared.folder.join(folder)).map_or(0, Iterator::count);
        format!("{folder} {files}\n")
    };
    NEEDED.map(line).concat() + &["metadata", "stubs"].map(count).concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deleted_and_cut_files_are_seen() {
        let folder = std::env::temp_dir().join(format!("paella-intact-{}", std::process::id()));
        let prepared = Prepared { folder: folder.clone() };
        for file in NEEDED.map(|file| folder.join(file)) {
            std::fs::create_dir_all(file.parent().unwrap_or(&folder)).expect("a folder is made");
            std::fs::write(file, "content").expect("a file is written");
        }
        assert!(!is(&prepared), "nothing is kept yet");
        assert!(remember(&prepared).is_ok() && is(&prepared));
        let library = prepared.library();
        std::fs::write(&library, "cut").expect("a file is written");
        assert!(!is(&prepared));
        std::fs::write(&library, "content").expect("a file is written");
        assert!(is(&prepared));
        std::fs::remove_dir_all(folder.join("rust-src/std")).expect("a folder is removed");
        assert!(!is(&prepared));
        std::fs::remove_dir_all(folder).expect("a folder is removed");
    }
}
