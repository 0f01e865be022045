//! Distances between two sets of pictures, given as features of some network.
//!
//! Letters: N and M pictures of the two sets, e width of a feature.

use crate::error::Result;
use tch::{Kind, Tensor};

/// Fréchet distance between the normal distributions of two sets: 0 for equal ones. It grows with few pictures: sets
/// should be larger than e, and of the same sizes wherever two distances are compared.
///
/// Formula: |mu1 - mu2|^2 + trace(S1 + S2 - 2 sqrt(S1 S2)), mu the means and S the covariances.
/// Shapes:  a (N, e), b (M, e) -> a number; N and M at least 2.
/// Source:  mseitzer/pytorch-fid `calculate_frechet_distance`.
/// Differs: trace sqrt(S1 S2) from the eigenvalues of sqrt(S1) S2 sqrt(S1), which is symmetric.
/// Errors:  features that are not finite.
pub fn frechet(a: &Tensor, b: &Tensor) -> Result<f64> {
    let _no_grad = tch::no_grad_guard();
    let [(mu1, s1), (mu2, s2)] = [moments(a)?, moments(b)?];
    let (values, vectors) = s1.f_linalg_eigh("L")?;
    // rounding can put the smallest ones below 0
    let root = (&vectors * values.clamp_min(0.0).sqrt()).f_matmul(&vectors.tr())?; // sqrt(S1)
    let product = root.f_matmul(&s2)?.f_matmul(&root)?;
    let cross = product.f_linalg_eigvalsh("L")?.clamp_min(0.0).sqrt().sum(Kind::Double);
    let apart = (mu1 - mu2).square().sum(Kind::Double);
    Ok((apart + s1.trace() + s2.trace() - cross * 2.0).double_value(&[]))
}

/// Mean (e) and unbiased covariance (e, e) of features (N, e), f64.
fn moments(features: &Tensor) -> Result<(Tensor, Tensor)> {
    let xs = features.to_kind(Kind::Double);
    let mu = xs.mean_dim(&[0i64][..], false, Kind::Double);
    let centred = &xs - &mu;
    let covariance = centred.tr().f_matmul(&centred)? / (xs.size()[0] - 1) as f64;
    Ok((mu, covariance))
}

/// Kernel distance: the squared maximum mean discrepancy, whose expectation is 0 for equal distributions, also with few
/// pictures. It can be below 0.
///
/// Formula: mean k(a, a') + mean k(b, b') - 2 mean k(a, b) over pairs of different pictures, k(x, y) = (x y / e + 1)^3.
/// Shapes:  a (N, e), b (M, e) -> a number; N and M at least 2.
/// Source:  Binkowski et al. 2018, "Demystifying MMD GANs" (KID).
/// Differs: one estimate over all pictures, not the mean of estimates over random subsets.
pub fn kernel(a: &Tensor, b: &Tensor) -> Result<f64> {
    let _no_grad = tch::no_grad_guard();
    let [a, b] = [a, b].map(|xs| xs.to_kind(Kind::Double));
    let similar = |x: &Tensor, y: &Tensor| -> Result<Tensor> {
        Ok((x.f_matmul(&y.tr())? / x.size()[1] as f64 + 1.0).pow_tensor_scalar(3))
    };
    let within = |x: &Tensor| -> Result<Tensor> {
        let (all, n) = (similar(x, x)?, x.size()[0]);
        Ok((all.sum(Kind::Double) - all.trace()) / (n * (n - 1)) as f64)
    };
    let between = similar(&a, &b)?.mean(Kind::Double) * 2.0;
    Ok((within(&a)? + within(&b)? - between).double_value(&[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(n: usize, point: fn(f64) -> [f64; 3]) -> Tensor {
        let rows: Vec<f64> = (0..n).flat_map(|i| point(i as f64)).collect();
        Tensor::from_slice(&rows).view([n as i64, 3])
    }

    /// Expected values: pytorch-fid's formula with `scipy.linalg.sqrtm` (NumPy 2.4, SciPy 1.16), and the unbiased polynomial
    /// MMD in NumPy, for these two sets.
    ///
    /// ```python
    /// diff, root = a.mean(0) - b.mean(0), linalg.sqrtm(np.cov(a.T).dot(np.cov(b.T)))
    /// diff.dot(diff) + np.trace(np.cov(a.T)) + np.trace(np.cov(b.T)) - 2 * np.trace(root)
    /// ```
    #[test]
    fn distances_are_those_of_independent_programs() {
        let a = set(12, |i| [(i * 1.3).sin(), (i * 0.7).cos() + 0.1 * i, (i * i).sin()]);
        let b = set(9, |i| [(i * 1.1).cos() * 2.0, (i * 0.5).sin() + 1.0, (i * i + 1.0).cos()]);
        let [ab, ba] = [frechet(&a, &b), frechet(&b, &a)].map(|d| d.expect("finite"));
        assert!((ab - 1.3881612880114123).abs() < 1e-9, "{ab}");
        assert!((ab - ba).abs() < 1e-9 && frechet(&a, &a).expect("finite").abs() < 1e-9);
        let distance = kernel(&a, &b).expect("the same width");
        assert!((distance - 0.9032465578482292).abs() < 1e-9, "{distance}");
    }

    #[test]
    fn fewer_pictures_than_features_give_a_distance_too() {
        let a = Tensor::from_slice(&[0f64, 0.0, 0.0, 1.0, 1.0, 1.0]).view([2, 3]);
        let moved = &a + 2.0;
        let distance = frechet(&a, &moved).expect("finite");
        assert!((distance - 12.0).abs() < 1e-6, "{distance}");
    }
}
