//! Finds what a config names and this machine lacks, and what it leaves out.

use super::run::RunConfig;
use crate::data::home;
use crate::model::PaellaConfig;
use crate::near::no_file;
use crate::weights;
use ron_faults::{Checks, Fault};

impl RunConfig {
    /// A fault for each file, folder, group and style that does not exist, with its field as the place.
    pub fn look(&self) -> Vec<Fault> {
        let mut found = Checks::default();
        found.part("data", self.data.look());
        [found.faults(), self.look_at_weights()].concat()
    }

    /// A fault for each file of weights that does not exist, is cut off or holds something else.
    pub fn look_at_weights(&self) -> Vec<Fault> {
        let mut found = Checks::default();
        let weights = &self.weights;
        let files = [
            ("weights.tokenizer", &weights.tokenizer),
            ("weights.text", &weights.text),
            ("weights.clip", &weights.clip),
            ("weights.prior", &weights.prior),
            ("weights.denoiser", &weights.denoiser),
            ("weights.vgg", &weights.vgg),
            ("weights.lpips", &weights.lpips),
        ];
        for (field, path) in files {
            let Some(path) = path else { continue };
            let error = match home(path).is_file() {
                false => Some(no_file(path, "FILE")),
                // the header is enough to know another kind of file, and one that is cut off
                true => weights::glance(&home(path)).err().map(|error| {
                    let what = |what: &str| format!("{}: {what}", path.display());
                    error.map(|fault| Fault { what: what(&fault.what), ..fault })
                }),
            };
            for fault in error.iter().flat_map(|error| error.faults().to_vec()) {
                found.unless(false, field, fault.what, &fault.hint);
            }
        }
        found.faults()
    }

    /// Says that the denoiser has the default sizes, and which configs have smaller ones. None: it has other sizes.
    pub fn sizes_left_out(&self) -> Option<&'static str> {
        let model = PaellaConfig { bf16: false, ..self.model.clone() };
        (model == PaellaConfig::default()).then_some(
            "`model` has the default sizes, those of the published 1 B model; \
             smaller ones: configs/emoji-64.ron, configs/emoji-32.ron, configs/smoke.ron",
        )
    }
}
