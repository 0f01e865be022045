//! The layers all networks share, counted for one picture.

use super::{Cost, Kept};

fn kept(products: i64, full: i64) -> Kept {
    Kept { products, full, bytes: 0 }
}

/// i -> o at `rows` places, without a bias.
pub fn product(i: i64, o: i64, rows: i64) -> Cost {
    Cost { params: i * o, flops: 2 * i * o * rows, kept: kept(i * rows, 0) }
}

/// The same with a bias.
pub fn linear(i: i64, o: i64, rows: i64) -> Cost {
    product(i, o, rows) + weights(o)
}

/// Numbers that are added or multiplied on.
pub fn weights(n: i64) -> Cost {
    Cost { params: n, ..Cost::default() }
}

/// A convolution k x k of i to o channels in `groups`, from `rows_in` to `rows_out` places, with a bias.
pub fn conv(i: i64, o: i64, k: i64, groups: i64, rows_in: i64, rows_out: i64) -> Cost {
    let params = i / groups * o * k * k;
    Cost { params: params + o, flops: 2 * params * rows_out, kept: kept(i * rows_in, 0) }
}

/// A transposed one: every place of the `rows_in` adds to k x k of the output.
pub fn conv_transpose(i: i64, o: i64, k: i64, rows_in: i64) -> Cost {
    let params = i * o * k * k;
    Cost { params: params + o, flops: 2 * params * rows_in, kept: kept(i * rows_in, 0) }
}

/// Layer norm without weights: its input, a mean and a deviation for each row.
pub fn layer_norm(c: i64, rows: i64) -> Cost {
    remember(0, (c + 2) * rows)
}

/// Attention of `queries` to `keys` without its projections: scores and their sum over values. Query, key, value and
/// output are kept and one number for every query and head; the scores are worked out again.
pub fn attention(c: i64, heads: i64, queries: i64, keys: i64) -> Cost {
    let flops = 4 * c * queries * keys;
    Cost { params: 0, flops, kept: kept(2 * c * (queries + keys), heads * queries) }
}

/// Nothing but numbers that are kept.
pub fn remember(products: i64, full: i64) -> Cost {
    Cost { kept: kept(products, full), ..Cost::default() }
}

/// Dropout keeps a byte for every number.
pub fn dropout(n: i64, share: f64) -> Cost {
    let bytes = if share > 0.0 { n } else { 0 };
    Cost { kept: Kept { bytes, ..Kept::default() }, ..Cost::default() }
}
