//! Costs of the layers that all networks share, for one picture.

use super::{Cost, Kept};

fn kept(products: i64, full: i64) -> Kept {
    Kept { products, full, bytes: 0 }
}

/// Matrix product i -> o at `rows` positions, without bias.
pub fn product(i: i64, o: i64, rows: i64) -> Cost {
    Cost { params: i * o, flops: 2 * i * o * rows, kept: kept(i * rows, 0) }
}

/// Linear layer i -> o at `rows` positions, with bias.
pub fn linear(i: i64, o: i64, rows: i64) -> Cost {
    product(i, o, rows) + weights(o)
}

/// Weights that are added or multiplied elementwise.
pub fn weights(n: i64) -> Cost {
    Cost { params: n, ..Cost::default() }
}

/// Convolution k x k of i to o channels in `groups`, from `rows_in` to `rows_out` positions, with bias.
pub fn conv(i: i64, o: i64, k: i64, groups: i64, rows_in: i64, rows_out: i64) -> Cost {
    let params = i / groups * o * k * k;
    Cost { params: params + o, flops: 2 * params * rows_out, kept: kept(i * rows_in, 0) }
}

/// Transposed convolution: each of the `rows_in` positions adds to k x k outputs.
pub fn conv_transpose(i: i64, o: i64, k: i64, rows_in: i64) -> Cost {
    let params = i * o * k * k;
    Cost { params: params + o, flops: 2 * params * rows_in, kept: kept(i * rows_in, 0) }
}

/// Layer norm without weights. Keeps its input, and mean and deviation of each row.
pub fn layer_norm(c: i64, rows: i64) -> Cost {
    remember(0, (c + 2) * rows)
}

/// Attention of `queries` to `keys` without its projections: scores, and their sum over values. Keeps query, key,
/// value, output, and one number per query and head. The scores are recomputed.
pub fn attention(c: i64, heads: i64, queries: i64, keys: i64) -> Cost {
    let flops = 4 * c * queries * keys;
    Cost { params: 0, flops, kept: kept(2 * c * (queries + keys), heads * queries) }
}

/// Kept numbers only, without weights or operations.
pub fn remember(products: i64, full: i64) -> Cost {
    Cost { kept: kept(products, full), ..Cost::default() }
}

/// Dropout. Keeps one byte per number.
pub fn dropout(n: i64, share: f64) -> Cost {
    let bytes = if share > 0.0 { n } else { 0 };
    Cost { kept: Kept { bytes, ..Kept::default() }, ..Cost::default() }
}
