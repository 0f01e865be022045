//! Weights in 8 bits: whole numbers, and for each row of a matrix what they are multiplied by.

use super::Named;
use tch::{Kind, Tensor};

/// What the name of a matrix's factors ends with.
const SCALE: &str = ".scale";
/// The largest whole number of a row stands for its largest weight.
const LARGEST: f64 = 127.0;
/// Matrices with fewer numbers stay as they are.
const WORTH: usize = 1024;

/// Matrices and kernels (o, ..) as whole numbers (o, ..) i8 and factors (o) f32; everything else as it is. A weight moves by at
/// most a 254th of the largest of its row.
pub fn pack(tensors: Named) -> Named {
    let _no_grad = tch::no_grad_guard();
    let pack = |(name, xs): (String, Tensor)| {
        if xs.dim() < 2 || xs.numel() < WORTH || !xs.is_floating_point() {
            return vec![(name, xs)];
        }
        let rows = xs.to_kind(Kind::Float).flatten(1, -1); // (o, n)
        let scale = rows.abs().amax([1i64], true) / LARGEST; // (o, 1)
        let whole = (&rows / scale.clamp_min(f64::from(f32::MIN_POSITIVE))).round();
        let whole = whole.to_kind(Kind::Int8).view_as(&xs);
        vec![(format!("{name}{SCALE}"), scale.squeeze_dim(1)), (name, whole)]
    };
    tensors.into_iter().flat_map(pack).collect()
}

/// The opposite of [`pack`], in f32. Tensors that were not packed stay as they are.
pub fn unpack(mut tensors: Named) -> Named {
    let _no_grad = tch::no_grad_guard();
    let packed = |(name, xs): (&String, &Tensor)| {
        let scale = tensors.get(&format!("{name}{SCALE}"))?;
        let fits = xs.kind() == Kind::Int8 && scale.size().first() == xs.size().first();
        (fits && scale.dim() == 1).then(|| name.clone())
    };
    let names: Vec<String> = tensors.iter().filter_map(packed).collect();
    for name in names {
        let scale = tensors.remove(&format!("{name}{SCALE}"));
        if let (Some(scale), Some(xs)) = (scale, tensors.get_mut(&name)) {
            let rows = vec![-1i64].into_iter().chain(vec![1; xs.dim() - 1]).collect::<Vec<_>>();
            *xs = xs.to_kind(Kind::Float) * scale.view(rows.as_slice()); // (o, ..)
        }
    }
    tensors
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn weights_come_back_nearly_as_they_were() {
        let cpu = |kind| (kind, Device::Cpu);
        let weight = Tensor::randn([40, 5, 3, 3], cpu(Kind::Float)) * 0.2;
        let _ = weight.narrow(0, 7, 1).zero_();
        let all = Named::from([
            ("a.weight".into(), weight.copy()),
            ("a.bias".into(), Tensor::randn([2000], cpu(Kind::Half))),
            ("few.weight".into(), Tensor::randn([3, 3], cpu(Kind::Half))),
            ("count".into(), Tensor::zeros([2000, 2], cpu(Kind::Int64))),
            ("level.scale".into(), Tensor::ones([4], cpu(Kind::Float))),
        ]);
        let plain: Named = all.iter().map(|(name, xs)| (name.clone(), xs.copy())).collect();
        let packed = pack(all);
        assert_eq!(packed["a.weight"].kind(), Kind::Int8);
        assert_eq!(packed["a.weight.scale"].size(), [40]);
        assert_eq!(packed.len(), 6, "only the kernel is packed");
        let back = unpack(packed);
        assert_eq!(back.keys().collect::<Vec<_>>(), plain.keys().collect::<Vec<_>>());
        let moved = (&back["a.weight"] - &weight).abs().flatten(1, -1).amax([1i64], false);
        let most = weight.abs().flatten(1, -1).amax([1i64], false) / 254.0 * 1.001;
        assert!(bool::try_from(moved.le_tensor(&most).all()).expect("a truth"), "{moved:?}");
        for name in ["a.bias", "few.weight", "count", "level.scale"] {
            assert_eq!(back[name], plain[name], "{name}");
        }
    }
}
