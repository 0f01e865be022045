//! The codebook: maps a latent to the index of its nearest code vector.
//!
//! Letters: K codes of width c, B pictures, h x w positions.

use crate::model::init::{Init, VarBuilder};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// K code vectors.
///
/// Source:  pabloppp/pytorch-tools `VectorQuantize`.
#[derive(Debug)]
pub struct Codebook {
    pub weight: Tensor, // (K, c)
}

/// The result of quantisation.
#[derive(Debug)]
pub struct Quantized {
    /// The nearest codes (B, c, h, w). Gradients pass straight through to the latents.
    pub codes: Tensor,
    pub tokens: Tensor, // (B, h, w) i64
    /// Pulls codes towards latents: mean (q - sg(z))^2.
    pub codebook_loss: Tensor,
    /// Pulls latents towards codes: mean (z - sg(q))^2.
    pub commitment_loss: Tensor,
}

impl Codebook {
    pub fn new(p: &VarBuilder, codebook_size: i64, c_latent: i64) -> Self {
        let fill = Init::Uniform(1.0 / codebook_size as f64);
        Self { weight: (p / "codebook").var("weight", &[codebook_size, c_latent], fill) }
    }

    /// latents (N, c) -> index of the nearest code (N) i64, by squared distance.
    pub fn nearest(&self, latents: &Tensor) -> Tensor {
        let _no_grad = tch::no_grad_guard();
        let norms = self.weight.square().sum_dim_intlist(&[1i64][..], false, Kind::Float); // (K)
        (norms - latents.matmul(&self.weight.tr()) * 2.0).argmin(1, false)
    }

    /// tokens (B, h, w) i64 -> codes (B, c, h, w).
    pub fn lookup(&self, tokens: &Tensor) -> Tensor {
        Tensor::embedding(&self.weight, tokens, -1, false, false).permute([0, 3, 1, 2])
    }

    /// latents (B, c, h, w) -> codes, tokens and both losses.
    pub fn quantize(&self, latents: &Tensor) -> Quantized {
        let (b, c, h, w) = latents.size4().expect("latents are (B, c, h, w)");
        let rows = latents.permute([0, 2, 3, 1]).reshape([-1, c]);
        let tokens = self.nearest(&rows).view([b, h, w]);
        let codes = self.lookup(&tokens);
        Quantized {
            codebook_loss: (&codes - latents.detach()).square().mean(Kind::Float),
            commitment_loss: (latents - codes.detach()).square().mean(Kind::Float),
            codes: latents + (codes - latents).detach(),
            tokens,
        }
    }
}

/// Where codes that nothing chose start anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Revive {
    /// At any latent of the batch.
    #[default]
    Any,
    /// At latents far from every code: the chance rises with the squared distance, as k-means++ has it. Where most of a
    /// picture is flat ground, any latent is mostly ground again.
    Far,
}

impl Codebook {
    /// Fits the codes to latents (N, c) by k-means with `rounds` iterations. Unused codes then become random latents.
    pub fn fit(&self, latents: &Tensor, rounds: usize, revive: Revive) {
        let _no_grad = tch::no_grad_guard();
        let (k, n) = (self.weight.size()[0], latents.size()[0]);
        let picks = Tensor::randint(n, [k], (Kind::Int64, latents.device()));
        self.weight.shallow_clone().copy_(&latents.index_select(0, &picks));
        for _ in 0..rounds {
            let nearest = self.nearest(latents);
            let counts = nearest.bincount::<Tensor>(None, k).to_kind(Kind::Float).unsqueeze(1); // (K, 1)
            let sums = self.weight.zeros_like().index_add(0, &nearest, latents);
            let means = sums / counts.clamp_min(1.0);
            self.weight.shallow_clone().copy_(&means.where_self(&counts.gt(0.0), &self.weight));
            if revive == Revive::Far {
                self.replace(&counts.eq(0.0).view(-1), latents, revive);
            }
        }
        let unused = self.nearest(latents).bincount::<Tensor>(None, k).eq(0);
        self.replace(&unused, latents, revive);
    }

    /// Replaces codes where `dead` (K,) bool is true by random rows of `latents` (N, c).
    pub fn replace(&self, dead: &Tensor, latents: &Tensor, revive: Revive) {
        let _no_grad = tch::no_grad_guard();
        let (k, n) = (self.weight.size()[0], latents.size()[0]);
        let picks = match revive {
            Revive::Any => Tensor::randint(n, [k], (Kind::Int64, latents.device())),
            Revive::Far => (self.distances(latents) + 1e-9).multinomial(k, true),
        };
        let fresh = latents.index_select(0, &picks);
        self.weight.shallow_clone().copy_(&fresh.where_self(&dead.unsqueeze(1), &self.weight));
    }

    /// Squared distances to the nearest code: (N, c) -> (N).
    fn distances(&self, latents: &Tensor) -> Tensor {
        let codes = self.weight.index_select(0, &self.nearest(latents));
        (latents - codes).square().sum_dim_intlist(&[1i64][..], false, Kind::Float)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, nn};

    #[test]
    fn a_codes_own_vector_is_its_index() {
        tch::manual_seed(0);
        let vars = nn::VarStore::new(Device::Cpu);
        let codebook = Codebook::new(&VarBuilder::root(&vars), 50, 4);
        let tokens = Tensor::randint(50, [2, 3, 4], (Kind::Int64, Device::Cpu));
        let again = codebook.quantize(&codebook.lookup(&tokens)).tokens;
        assert_eq!(again, tokens);
    }
}
