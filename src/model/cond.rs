//! What a picture should show, as vectors.
//!
//! Letters: B pictures, S text vectors.

use tch::{Kind, Tensor};

/// What the picture should show: the conditions of one batch.
#[derive(Debug)]
pub struct Cond {
    /// Text vectors (B, S, byt5_embd) f32.
    pub byt5: Tensor,
    /// CLIP text embedding (B, clip_embd) f32.
    pub clip: Option<Tensor>,
    /// CLIP image embeddings, each (B, clip_embd) f32.
    pub clip_image: Vec<Tensor>,
    /// Factors (n) for the attention to the last n condition vectors.
    pub attn_weights: Option<Tensor>,
}

impl Cond {
    pub fn text(byt5: Tensor) -> Self {
        Self { byt5, clip: None, clip_image: Vec::new(), attn_weights: None }
    }

    /// Conditions of `count` pictures on the way from the first of two pictures to the second, in equal parts.
    pub fn between(&self, count: i64) -> Self {
        let mix = |xs: &Tensor| {
            let part = Tensor::linspace(0.0, 1.0, count, (Kind::Float, xs.device())); // (count,)
            let column: Vec<i64> = (0..xs.dim()).map(|i| if i == 0 { count } else { 1 }).collect();
            xs.narrow(0, 0, 1).lerp_tensor(&xs.narrow(0, 1, 1), &part.view(&column[..])) // (count, ..)
        };
        Self {
            byt5: mix(&self.byt5),
            clip: self.clip.as_ref().map(mix),
            clip_image: self.clip_image.iter().map(mix).collect(),
            attn_weights: self.attn_weights.as_ref().map(Tensor::shallow_clone),
        }
    }

    /// Conditions of several pictures, one behind the other. They have the same parts, of the same lengths.
    pub fn joined(all: &[Self]) -> Self {
        let cat = |part: &dyn Fn(&Self) -> Option<Tensor>| {
            let parts: Option<Vec<Tensor>> = all.iter().map(part).collect();
            parts.map(|parts| Tensor::cat(&parts, 0))
        };
        let image = |i: usize| cat(&|one| one.clip_image.get(i).map(Tensor::shallow_clone));
        Self {
            byt5: cat(&|one| Some(one.byt5.shallow_clone())).expect("every condition has a text"),
            clip: cat(&|one| one.clip.as_ref().map(Tensor::shallow_clone)),
            clip_image: (0..all[0].clip_image.len()).filter_map(image).collect(),
            attn_weights: all[0].attn_weights.as_ref().map(Tensor::shallow_clone),
        }
    }

    /// Number of vectors that the denoiser makes of each part: text, CLIP's text, pictures. It makes `seq` of one CLIP vector.
    pub fn lengths(&self, seq: i64) -> [i64; 3] {
        let count = |n: usize| n as i64 * seq;
        [self.byt5.size()[1], count(self.clip.iter().len()), count(self.clip_image.len())]
    }

    /// One condition for `count` pictures: the mean of those of several, with these weights above 0.
    pub fn mixed(&self, weights: &[f64], count: i64) -> Self {
        let sum: f64 = weights.iter().sum();
        let mix = |xs: &Tensor| {
            let parts = weights.iter().enumerate();
            let parts: Vec<Tensor> =
                parts.map(|(i, weight)| xs.narrow(0, i as i64, 1) * (weight / sum)).collect();
            let mut size = xs.size();
            size[0] = count;
            parts.into_iter().reduce(|a, b| a + b).expect("some weights").expand(size, false)
        };
        Self {
            byt5: mix(&self.byt5),
            clip: self.clip.as_ref().map(mix),
            clip_image: self.clip_image.iter().map(mix).collect(),
            attn_weights: self.attn_weights.as_ref().map(Tensor::shallow_clone),
        }
    }
}
