//! What a config names and is not there: data, weights. Of use before a run, where the run will be.

use super::run::RunConfig;
use crate::data::home;
use ron_faults::{Checks, Fault};

impl RunConfig {
    /// Faults of files, folders, groups and styles; the place of a fault is its field. Empty if all is there.
    pub fn look(&self) -> Vec<Fault> {
        let mut found = Checks::default();
        found.part("data", self.data.look());
        let weights = &self.weights;
        let files = [
            ("weights.tokenizer", &weights.tokenizer),
            ("weights.text", &weights.text),
            ("weights.clip", &weights.clip),
            ("weights.prior", &weights.prior),
            ("weights.denoiser", &weights.denoiser),
        ];
        for (field, path) in files {
            let gone = path.as_ref().filter(|path| !home(path).is_file());
            let what = gone.map(|path| format!("there is no file `{}`", path.display()));
            let hint = "paths start at the current folder";
            found.unless(gone.is_none(), field, what.unwrap_or_default(), hint);
        }
        found.faults()
    }
}
