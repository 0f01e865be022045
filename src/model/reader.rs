//! A denoiser that has read its conditions: what the A blocks make of them is the same in all passes of a run. With
//! guidance both guesses go through in one batch.
//!
//! Letters: B pictures, h x w tokens, K codes, S condition vectors, c channels.

use super::blocks::{AttnBlock, Context};
use super::level::Level;
use super::{Cond, Denoiser, Paella};
use std::cell::Cell;
use tch::Tensor;

/// Keys and values of a text (B, S, 2c) for each A block, handed out in the order of a pass.
#[derive(Debug)]
pub struct Texts {
    each: Vec<Tensor>,
    next: Cell<usize>,
}

impl Texts {
    /// Those of the next A block; after the last one of the first again.
    pub fn next(&self) -> Tensor {
        let at = self.next.get();
        self.next.set((at + 1) % self.each.len());
        self.each[at].shallow_clone()
    }
}

/// A condition that has been read: (B, S, c_cond), and its texts.
#[derive(Debug)]
struct Read {
    cond: Tensor,
    texts: Texts,
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
        let [a, b] = [cond, null].map(|cond| model.embed_cond(cond)); // (B, S, c_cond) each
        // one batch twice as large, not two: weights are read once
        let together =
            a.size() == b.size() && [cond, null].iter().all(|it| it.attn_weights.is_none());
        let all = if together { vec![Tensor::cat(&[a, b], 0)] } else { vec![a, b] };
        let read = |cond: Tensor| {
            let each = model.readers().map(|block| block.read(&cond)).collect();
            Read { texts: Texts { each, next: Cell::new(0) }, cond }
        };
        Self { model, known: [cond, null], read: all.into_iter().map(read).collect() }
    }

    /// Logits of one condition that has been read.
    fn pass(&self, tokens: &Tensor, t: &Tensor, read: &Read, given: &Cond) -> Tensor {
        let t_embed = &self.model.embed_t(t); // (B, c_r)
        let attn_weights = given.attn_weights.as_ref();
        let texts = Some(&read.texts).filter(|texts| !texts.each.is_empty());
        let context = Context { t_embed, cond: &read.cond, texts, attn_weights, train: false };
        self.model.unet(tokens, &context)
    }
}

impl Denoiser for Reader<'_> {
    fn logits(&self, tokens: &Tensor, t: &Tensor, cond: &Cond) -> Tensor {
        let known = self.known.iter().position(|known| std::ptr::eq(*known, cond));
        let Some(at) = known else { return self.model.logits(tokens, t, cond) };
        if let Some(read) = self.read.get(at).filter(|_| self.read.len() == 2) {
            return self.pass(tokens, t, read, cond);
        }
        let b = tokens.size()[0];
        let half = |xs: &Tensor| xs.narrow(0, at as i64 * b, b);
        let both = &self.read[0];
        let each = both.texts.each.iter().map(half).collect();
        let read = Read { cond: half(&both.cond), texts: Texts { each, next: Cell::new(0) } };
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
        let twice = |xs: &Tensor| Tensor::cat(&[xs, xs], 0); // (2 B, ..)
        let logits = self.pass(&twice(tokens), &twice(t), &self.read[0], cond); // (2 B, K, h, w)
        let b = tokens.size()[0];
        (logits.narrow(0, 0, b), logits.narrow(0, b, b))
    }
}

impl Paella {
    /// The A blocks, in the order of a pass.
    fn readers(&self) -> impl Iterator<Item = &AttnBlock> {
        self.down.iter().chain(&self.up).flat_map(Level::readers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::init::VarBuilder;
    use crate::model::{Block, LevelConfig, PaellaConfig};
    use crate::noise::random_tokens;
    use crate::sample::{Greedy, SampleConfig, Sampler};
    use tch::{Device, Kind, nn};

    /// A denoiser in which every weight counts; `layout` of its deeper level.
    fn denoiser(layout: &[Block], self_attn: bool) -> (nn::VarStore, Paella) {
        let level = |c_hidden, layout: &[Block]| LevelConfig {
            c_hidden,
            nhead: 2,
            blocks: 2,
            layout: layout.to_vec(),
            dropout: 0.0,
        };
        let config = PaellaConfig {
            c_in: 8,
            num_labels: 19,
            c_r: 6,
            c_cond: 12,
            levels: vec![level(10, &[Block::C, Block::T]), level(14, layout)],
            byt5_embd: 9,
            clip_embd: 5,
            clip_seq_len: 2,
            self_attn,
            ..PaellaConfig::default()
        };
        tch::manual_seed(3);
        let vars = nn::VarStore::new(Device::Cpu);
        let model = Paella::new(&VarBuilder::root(&vars), &config);
        tch::no_grad(|| {
            for (_, mut xs) in vars.variables() {
                let _ = xs.normal_(0.0, 0.3);
            }
        });
        (vars, model)
    }

    fn randn(size: &[i64]) -> Tensor {
        Tensor::randn(size, (Kind::Float, Device::Cpu))
    }

    #[test]
    fn conditions_that_were_read_once_give_the_guesses_of_every_pass() {
        use Block::{A, C, F, T};
        let cases: [(&[Block], bool); 3] =
            [(&[C, T, A], true), (&[A, F, A], false), (&[C, T], true)];
        for (layout, self_attn) in cases {
            let (_vars, model) = denoiser(layout, self_attn);
            let text = |s| Cond::text(randn(&[3, s, 9]));
            let clip =
                || Cond { clip: Some(randn(&[3, 5])), clip_image: vec![randn(&[3, 5])], ..text(4) };
            let weighed =
                || Cond { attn_weights: Some(Tensor::from_slice(&[0.5f32, 2.0])), ..text(4) };
            for (cond, null) in
                [(text(4), text(4)), (text(4), text(7)), (clip(), clip()), (weighed(), text(4))]
            {
                let _no_grad = tch::no_grad_guard();
                let reader = model.reader(&cond, &null).expect("it reads");
                for t in [0.9f32, 0.2] {
                    let tokens = random_tokens(&[3, 4, 6], 19, Device::Cpu);
                    let t = Tensor::from_slice(&[t, t, 0.5]);
                    let (a, b) = reader.guidance_logits(&tokens, &t, &cond, &null);
                    let alone = reader.logits(&tokens, &t, &cond); // the last passes of a plan may be without guidance
                    let other = text(5);
                    let pairs = [
                        (a, &cond),
                        (b, &null),
                        (alone, &cond),
                        (reader.logits(&tokens, &t, &other), &other),
                    ];
                    for (got, cond) in pairs {
                        let want = model.logits(&tokens, &t, cond);
                        let apart = (&got - &want).abs().max().double_value(&[]);
                        assert!(
                            apart < 2e-5 * want.abs().max().double_value(&[]).max(1.0),
                            "{apart}"
                        );
                    }
                }
            }
        }
    }

    /// A denoiser that reads nothing ahead.
    struct Plain<'a>(&'a Paella);

    impl Denoiser for Plain<'_> {
        fn logits(&self, tokens: &Tensor, t: &Tensor, cond: &Cond) -> Tensor {
            self.0.logits(tokens, t, cond)
        }
    }

    #[test]
    fn a_run_has_the_tokens_of_passes_that_read_the_text_each_time() {
        let (_vars, model) = denoiser(&[Block::C, Block::T, Block::A], true);
        let (cond, null) = (Cond::text(randn(&[2, 4, 9])), Cond::text(randn(&[2, 4, 9])));
        let plan =
            SampleConfig { guided_steps: 4, steps: 6, renoise_steps: 5, ..SampleConfig::default() }
                .plan();
        let noise = random_tokens(&[2, 4, 4], 19, Device::Cpu);
        let run = |model: &dyn Denoiser| {
            tch::manual_seed(9);
            let chance = &Greedy;
            Sampler { model, cond: &cond, null: &null, noise: &noise, chance, region: None }
                .run(&noise, &plan)
        };
        assert_eq!(run(&model), run(&Plain(&model)));
    }
}
