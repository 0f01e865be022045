//! A denoiser that has read its conditions: what the A blocks make of them is the same in all passes of a run. With
//! guidance both guesses go through in one batch.
//!
//! Letters: B pictures, h x w tokens, K codes, S condition vectors, c channels.

use super::blocks::{AttnBlock, Context};
use super::key_values::KeyValues;
use super::level::Level;
use super::{Cond, Denoiser, Paella};
use tch::{Kind, Tensor};

/// A condition that has been read: (B, S, c_cond), and its keys and values.
#[derive(Debug)]
struct Read {
    cond: Tensor,
    key_values: KeyValues,
}

/// A denoiser for passes with two given conditions. Others it reads as they come.
#[derive(Debug)]
pub struct Reader<'a> {
    model: &'a Paella,
    known: [&'a Cond; 2],
    read: Vec<Read>,
}

impl<'a> Reader<'a> {
    pub fn new(model: &'a Paella, cond: &'a Cond, null: &'a Cond) -> Self {
        let _no_grad = tch::no_grad_guard();
        let _bf16 = model.in_bf16();
        let [a, b] = [cond, null].map(|cond| model.embed_cond(cond)); // (B, S, c_cond) each
        // one batch twice as large, not two: weights are read once
        let together =
            a.size() == b.size() && [cond, null].iter().all(|it| it.attn_weights.is_none());
        let all = if together { vec![Tensor::cat(&[a, b], 0)] } else { vec![a, b] };
        let read = |cond: Tensor| {
            let each = model.readers().map(|block| block.read(&cond)).collect();
            Read { key_values: KeyValues::new(each), cond }
        };
        Self { model, known: [cond, null], read: all.into_iter().map(read).collect() }
    }

    /// Logits of one condition that has been read.
    fn pass(&self, tokens: &Tensor, t: &Tensor, read: &Read, given: &Cond) -> Tensor {
        let t_embed = &self.model.embed_t(t); // (B, c_r)
        let attn_weights = given.attn_weights.as_ref();
        let key_values = Some(&read.key_values);
        let (cond, record) = (&read.cond, None);
        let context = Context { t_embed, cond, key_values, attn_weights, record, train: false };
        let _bf16 = self.model.in_bf16();
        self.model.unet(tokens, &context).to_kind(Kind::Float)
    }
}

impl Denoiser for Reader<'_> {
    fn logits(&self, tokens: &Tensor, t: &Tensor, cond: &Cond) -> Tensor {
        // the very conditions that were read; equal ones elsewhere would have to be compared number by number
        let known = self.known.iter().position(|known| std::ptr::eq(*known, cond));
        let Some(at) = known else { return self.model.logits(tokens, t, cond) };
        if let Some(read) = self.read.get(at).filter(|_| self.read.len() == 2) {
            return self.pass(tokens, t, read, cond);
        }
        let b = tokens.size()[0];
        let half = |xs: &Tensor| xs.narrow(0, at as i64 * b, b);
        let both = &self.read[0]; // (2 B, ..): with text, then without
        let each = both.key_values.each().iter().map(half).collect();
        let read = Read { cond: half(&both.cond), key_values: KeyValues::new(each) };
        self.pass(tokens, t, &read, cond)
    }

    fn guidance_logits(
        &self,
        tokens: &Tensor,
        t: &Tensor,
        cond: &Cond,
        null: &Cond,
    ) -> (Tensor, Tensor) {
        let known = std::ptr::eq(self.known[0], cond) && std::ptr::eq(self.known[1], null);
        if !known || self.read.len() == 2 {
            return (self.logits(tokens, t, cond), self.logits(tokens, t, null));
        }
        // both guesses look at the same tokens
        let twice = |xs: &Tensor| Tensor::cat(&[xs, xs], 0); // (2 B, ..)
        let logits = self.pass(&twice(tokens), &twice(t), &self.read[0], cond); // (2 B, K, h, w)
        let b = tokens.size()[0];
        (logits.narrow(0, 0, b), logits.narrow(0, b, b)) // views: nothing is copied
    }
}

impl Paella {
    /// The A blocks, in the order of a pass.
    fn readers(&self) -> impl Iterator<Item = &AttnBlock> {
        self.down.iter().chain(&self.up).flat_map(Level::readers)
    }
}
