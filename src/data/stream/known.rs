//! Precomputed outputs of the frozen networks, stored as a member of the shard: `KEY.safetensors`.
//!
//! Letters: h x w tokens, L bytes of text, D width of a text vector.

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use tch::{Kind, Tensor};

use crate::{Error, Result};

/// File ending of the member.
pub const ENDING: &str = crate::data::groups::KNOWN;

/// Precomputed tensors of a sample, on the CPU.
#[derive(Debug)]
pub struct Known {
    /// (h, w) i64.
    pub tokens: Tensor,
    /// The caption's vectors (L, D) f32. Stored as 16-bit floats.
    pub text: Option<Tensor>,
}

/// Packs tokens (h, w) and text (L, D) into the member's bytes.
pub fn pack(tokens: &Tensor, text: Option<&Tensor>) -> Result<Vec<u8>> {
    let tokens = tokens.to_kind(Kind::Int);
    let text = text.map(|text| text.to_kind(Kind::Half));
    let stored = [("tokens", Dtype::I32, Some(&tokens)), ("text", Dtype::F16, text.as_ref())];
    let mut raw = Vec::new();
    for (name, dtype, xs) in stored.iter().filter_map(|(n, d, xs)| Some((*n, *d, (*xs)?))) {
        let mut bytes = vec![0u8; xs.numel() * xs.kind().elt_size_in_bytes()];
        xs.contiguous().f_copy_data_u8(&mut bytes, xs.numel())?;
        let shape: Vec<usize> = xs.size().iter().map(|&n| n as usize).collect();
        raw.push((name, dtype, shape, bytes));
    }
    let failed = |e: safetensors::SafeTensorError| Error::data(e.to_string(), "", "");
    let views = raw.iter().map(|(name, dtype, shape, bytes)| {
        TensorView::new(*dtype, shape.clone(), bytes).map(|view| (*name, view))
    });
    let views: Vec<_> = views.collect::<std::result::Result<_, _>>().map_err(failed)?;
    safetensors::serialize(views, None).map_err(failed)
}

/// Unpacks the bytes of a member.
///
/// Errors: damaged bytes, or bytes that `pack` did not make.
pub fn unpack(bytes: &[u8]) -> std::result::Result<Known, String> {
    let broken = || "the tokens cannot be read".to_string();
    let all = SafeTensors::deserialize(bytes).map_err(|_| broken())?;
    let read = |name: &str, dtype: Dtype, kind: Kind| {
        let view = all.tensor(name).ok().filter(|view| view.dtype() == dtype)?;
        let size: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
        Tensor::f_from_data_size(view.data(), &size, kind).ok().filter(|xs| xs.dim() == 2)
    };
    let tokens = read("tokens", Dtype::I32, Kind::Int).ok_or_else(broken)?;
    let text = read("text", Dtype::F16, Kind::Half).map(|xs| xs.to_kind(Kind::Float));
    Ok(Known { tokens: tokens.to_kind(Kind::Int64), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_and_damage_is_reported() {
        let tokens = Tensor::from_slice(&[1i64, 40_000, 3, 4, 5, 6]).view([2, 3]);
        let text = Tensor::from_slice(&[0.5f32, -2.0]).view([1, 2]);
        let bytes = pack(&tokens, Some(&text)).expect("packed");
        let known = unpack(&bytes).expect("whole");
        assert_eq!((known.tokens, known.text), (tokens.copy(), Some(text)));
        assert!(unpack(&pack(&tokens, None).expect("packed")).expect("whole").text.is_none());
        assert!(unpack(&bytes[..bytes.len() - 1]).is_err());
        assert!(unpack(b"").is_err());
    }
}
