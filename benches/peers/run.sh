#!/usr/bin/env bash
# Measures Paella beside its peers and prints the tables of docs/benchmarks.md; arguments are those of compare.py, or behind the word
# `loader` those of loader.py.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
python="$("$here/setup.sh")"
if [ "${1:-}" = loader ]; then
    exec "$python" "$here/loader.py" "${@:2}"
fi
# candle's VQGAN, once; without it the column is empty
target="${CARGO_TARGET_DIR:-$here/../../target}/candle-peer"
cargo build -q --release --manifest-path "$here/candle/Cargo.toml" --target-dir "$target" || true
candle="$target/release/candle-peer"
[ -x "$candle" ] || candle=""
exec "$python" "$here/compare.py" --python "$python" --candle "$candle" "$@"
