//! Networks that are used in turn: those that read texts and pictures give their memory back before the denoiser's weights
//! are read.

use super::{Network, Networks};
use crate::device::hand_back_freed_memory;
use crate::error::Result;
use crate::weights;
use crate::weights::fit::{Rules, fit};
use std::path::Path;
use tch::Tensor;

/// The networks whose work ends with the conditions.
const READERS: [Network; 3] = [Network::Text, Network::Clip, Network::Prior];

impl Networks {
    /// Whether the denoiser's weights can be read later: all of them are there. Until then its memory is untouched.
    ///
    /// Errors: the file cannot be read.
    pub(super) fn can_wait(&self, path: &Path, rules: &Rules) -> Result<bool> {
        let fit = fit(&self.denoiser_vars, &weights::map(path)?, rules);
        Ok(fit.is_exact() && fit.lacking.is_empty())
    }

    /// Ends the first turn: text encoder, CLIP and prior give their memory back, and the denoiser's weights are read if they
    /// wait. From now on these networks make pictures of conditions that are there, and read nothing more.
    ///
    /// Errors: the denoiser's weights cannot be read.
    pub fn end_reading(&mut self) -> Result<()> {
        for (_, mut xs) in
            READERS.iter().filter_map(|it| self.vars(*it)).flat_map(|it| it.variables())
        {
            let _no_grad = tch::no_grad_guard();
            xs.set_data(&Tensor::empty([0], (xs.kind(), xs.device())));
        }
        hand_back_freed_memory();
        self.in_turn = false;
        match self.waiting.take() {
            Some(path) => {
                self.fill_one(Network::Denoiser, &path, &Network::Denoiser.rules()).map(drop)
            }
            None => Ok(()),
        }
    }
}
