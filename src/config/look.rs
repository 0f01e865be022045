//! Finds what a config names and this machine lacks, and what it leaves out.

use super::run::RunConfig;
use crate::data::home;
use crate::model::PaellaConfig;
use crate::near::no_file;
use ron_faults::{Checks, Fault};

impl RunConfig {
    /// A fault for each file, folder, group and style that does not exist, with its field as the place.
    pub fn look(&self) -> Vec<Fault> {
        let mut found = Checks::default();
        found.part("data", self.data.look());
        [found.faults(), self.look_at_weights()].concat()
    }

    /// A fault for each file of weights that does not exist.
    pub fn look_at_weights(&self) -> Vec<Fault> {
        let mut found = Checks::default();
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
            for fault in gone.iter().flat_map(|path| no_file(path, "FILE").faults().to_vec()) {
                found.unless(false, field, fault.what, &fault.hint);
            }
        }
        found.faults()
    }

    /// Says that the denoiser has the default sizes, and which configs have smaller ones. None: it has other sizes.
    pub fn sizes_left_out(&self) -> Option<&'static str> {
        (self.model == PaellaConfig::default()).then_some(
            "`model` has the default sizes, those of the published 1 B model; \
             smaller ones: configs/emoji-64.ron, configs/emoji-32.ron, configs/smoke.ron",
        )
    }
}
