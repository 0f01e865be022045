//! Weights of the parts that condition a run: how much the attention to each of them counts.
//!
//! Letters: S condition vectors in all, in the order of [`PARTS`].

use super::Cond;
use crate::error::{Error, Result};
use std::str::FromStr;
use tch::{Kind, Tensor};

/// The parts of a condition: the vectors of the text's bytes, CLIP's vector of the text, CLIP's vectors of pictures.
pub const PARTS: [&str; 3] = ["text", "clip_text", "clip_image"];

/// Factors for the attention to the parts of a condition. Attention is multiplied after its softmax.
///
/// Source: `attn_weights` of the denoiser in Paella v3.
#[derive(Clone, Debug, PartialEq)]
pub enum PartWeights {
    /// One for each of [`PARTS`]. None: 1.
    Named([Option<f64>; 3]),
    /// For the last condition vectors, as the reference has them.
    Tail(Vec<f64>),
}

/// How weights are written.
const FORM: &str = "`weights=\"text=1.2 clip_text=1 clip_image=0.4\"`, or the factors of the last condition vectors: `weights=1,0.4`";

impl FromStr for PartWeights {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = |what: String| Err(Error::command(what, "", FORM));
        let words: Vec<&str> = text.split([',', ' ']).filter(|word| !word.is_empty()).collect();
        if words.is_empty() {
            return refused("no weights are given".into());
        }
        let number = |text: &str| text.parse().ok().filter(|factor| (0.0..=100.0).contains(factor));
        let tail: Option<Vec<f64>> = words.iter().map(|word| number(word)).collect();
        if let Some(tail) = tail {
            return Ok(Self::Tail(tail));
        }
        let mut named = [None; 3];
        for word in words {
            let (name, factor) = word.split_once('=').unwrap_or((word, ""));
            let Some(at) = PARTS.iter().position(|part| *part == name) else {
                return refused(format!("`{name}` is no part: {}", PARTS.join(", ")));
            };
            let Some(factor) = number(factor) else {
                return refused(format!("`{factor}` is no weight for {name}: 0 to 100"));
            };
            if named[at].replace(factor).is_some() {
                return refused(format!("`{name}` is given twice"));
            }
        }
        Ok(Self::Named(named))
    }
}

impl PartWeights {
    /// What there is to say about these weights for a condition whose parts have these lengths.
    ///
    /// Errors: more factors than vectors.
    pub fn remarks(&self, lengths: [i64; 3]) -> Result<Vec<String>> {
        let s: i64 = lengths.iter().sum();
        match self {
            Self::Tail(tail) if tail.len() as i64 > s => {
                let what = format!("{} weights for {s} condition vectors", tail.len());
                let hint = format!("at most {s}; the last one is for the last vector");
                Err(Error::command(what, "", hint))
            }
            Self::Tail(_) => Ok(Vec::new()),
            Self::Named(factors) => {
                let absent = |i: usize| factors[i].filter(|_| lengths[i] == 0);
                let said = |i| {
                    let (part, why) = (PARTS[i], if i == 1 { "no CLIP" } else { "no picture" });
                    absent(i).map(|x| {
                        format!("`{part}={x}` has no effect: {why} conditions these pictures")
                    })
                };
                Ok((0..3).filter_map(said).collect())
            }
        }
    }

    /// The condition with these weights, beside those that it has. `seq`: vectors of one CLIP vector.
    pub fn weigh(&self, cond: Cond, seq: i64) -> Cond {
        let lengths = cond.lengths(seq);
        let own = match self {
            Self::Tail(tail) => tail.clone(),
            Self::Named(factors) => {
                let parts = lengths.iter().zip(factors);
                parts.flat_map(|(n, x)| vec![x.unwrap_or(1.0); *n as usize]).collect()
            }
        };
        if own.iter().all(|factor| *factor == 1.0) {
            return cond; // nothing is re-weighted: the fused attention as ever
        }
        let own = Tensor::from_slice(&own).to_kind(Kind::Float).to_device(cond.byt5.device());
        let all = lengths.iter().sum::<i64>();
        let filled = |xs: &Tensor| {
            let before = Tensor::ones([all - xs.size()[0]], (Kind::Float, xs.device()));
            Tensor::cat(&[&before, xs], 0) // (S)
        };
        let factors = match &cond.attn_weights {
            Some(others) => filled(&own) * filled(others),
            None => own,
        };
        Cond { attn_weights: Some(factors), ..cond }
    }
}

impl std::fmt::Display for PartWeights {
    /// As weights are written.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<String> = match self {
            Self::Tail(tail) => tail.iter().map(f64::to_string).collect(),
            Self::Named(factors) => {
                let parts = PARTS.iter().zip(factors);
                parts.filter_map(|(part, x)| x.map(|x| format!("{part}={x}"))).collect()
            }
        };
        write!(f, "{}", words.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cond() -> Cond {
        let zeros = |size: &[i64]| Tensor::zeros(size, (Kind::Float, tch::Device::Cpu));
        let clip_image = vec![zeros(&[1, 8])];
        Cond { clip: Some(zeros(&[1, 8])), clip_image, ..Cond::text(zeros(&[1, 3, 4])) }
    }

    fn factors(text: &str, cond: Cond) -> Option<Vec<f32>> {
        let weights: PartWeights = text.parse().expect(text);
        assert_eq!(weights.to_string().parse::<PartWeights>(), Ok(weights.clone()));
        weights.weigh(cond, 2).attn_weights.map(|xs| Vec::try_from(&xs).expect("flat"))
    }

    #[test]
    fn each_part_has_its_factor_and_the_tail_counts_from_the_end() {
        let named = factors("text=1.5 clip_image=0.5", cond());
        assert_eq!(named, Some(vec![1.5, 1.5, 1.5, 1.0, 1.0, 0.5, 0.5]));
        assert_eq!(factors("0.5,2", cond()), Some(vec![0.5, 2.0]));
        assert_eq!(factors("text=1, clip_text=1", cond()), None);
        // beside the factors of a mixture
        let mixed = Cond { attn_weights: Some(Tensor::from_slice(&[0.5f32; 4])), ..cond() };
        assert_eq!(factors("clip_text=3", mixed), Some(vec![1.0, 1.0, 1.0, 1.5, 1.5, 0.5, 0.5]));
    }

    #[test]
    fn a_weight_for_an_absent_part_is_said_and_odd_ones_are_refused() {
        let said = |text: &str| text.parse::<PartWeights>().expect(text).remarks([5, 0, 0]);
        let all = said("text=2 clip_text=1 clip_image=0.4").expect("good weights");
        assert_eq!(all.len(), 2);
        assert!(all[0].contains("`clip_text=1` has no effect: no CLIP"), "{all:?}");
        assert!(all[1].contains("`clip_image=0.4` has no effect: no picture"), "{all:?}");
        assert_eq!(said("text=2"), Ok(vec![]));
        assert!(said("1,1,1,1,1,1").expect_err("too many").to_string().contains("at most 5"));
        for odd in
            ["", "text", "text=-1", "text=NaN", "txt=1", "text=1 text=2", "1,text=2", "1,101"]
        {
            let error = odd.parse::<PartWeights>().expect_err(odd).to_string();
            assert!(error.contains("clip_image=0.4"), "{odd}: {error}");
        }
    }
}
