//! Locates the data that ships with the crate.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The folder of shipped data: `$PAELLA_ASSETS`, else the first that exists of `assets` in `$PAELLA_HOME`, beside the program,
/// and in the crate's source.
///
/// Errors: none of these is a folder, or `$PAELLA_ASSETS` is set to something that is not a folder.
pub fn assets_dir() -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
    let named = std::env::var_os("PAELLA_ASSETS").filter(|value| !value.is_empty());
    let places = crate::files::at_home("assets").into_iter().chain([source]);
    choose(named.map(PathBuf::from), places.collect())
}

fn choose(named: Option<PathBuf>, places: Vec<PathBuf>) -> Result<PathBuf> {
    if let Some(folder) = named {
        let hint =
            "unset PAELLA_ASSETS, or let it name the folder that holds `emoji` and `fashion`";
        let what = || format!("PAELLA_ASSETS is not a folder: `{}`", folder.display());
        return if folder.is_dir() {
            Ok(folder)
        } else {
            Err(Error::data(what(), "PAELLA_ASSETS", hint))
        };
    }
    let tried: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    places.into_iter().find(|place| place.is_dir()).ok_or_else(|| {
        let hint = "set PAELLA_ASSETS to the crate's `assets` folder";
        Error::data("the shipped data is not here", tried.join(", "), hint)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_folder_goes_first_and_must_hold() {
        let folder = tempfile::tempdir().expect("a folder");
        let (here, none) = (folder.path().to_path_buf(), folder.path().join("none"));
        assert_eq!(choose(Some(here.clone()), vec![none.clone()]), Ok(here.clone()));
        assert_eq!(choose(None, vec![none.clone(), here.clone()]), Ok(here.clone()));
        let error = choose(Some(none.clone()), vec![here]).expect_err("not a folder");
        assert!(error.to_string().contains("PAELLA_ASSETS"), "{error}");
        let error = choose(None, vec![none]).expect_err("nowhere");
        assert!(error.to_string().contains("none"), "{error}");
    }

    #[test]
    fn the_source_tree_has_them() {
        let folder = assets_dir().expect("shipped");
        assert!(folder.join("emoji/emoji-val-00000.tar.gz").is_file());
    }
}
