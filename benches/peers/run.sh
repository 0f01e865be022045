#!/usr/bin/env bash
# Measures Paella beside its peers and prints the first tables of docs/benchmarks.md; arguments are those of compare.py, or behind the
# word `loader` those of loader.py.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
python="$("$here/setup.sh")" || python="" # the tables say that there is no peer
if [ "${1:-}" = loader ]; then
    [ -n "$python" ] || { printf 'error: the loader has no peer without Python packages\n  in: benches/peers/setup.sh\n  hint: PAELLA_PEER_PYTHON=PYTHON\n' >&2; exit 1; }
    exec "$python" "$here/loader.py" "${@:2}"
fi
# candle's VQGAN, once; without it the column is empty
target="${CARGO_TARGET_DIR:-$here/../../target}/candle-peer"
cargo build -q --release --manifest-path "$here/candle/Cargo.toml" --target-dir "$target" || true
candle="$target/release/candle-peer"
[ -x "$candle" ] || candle=""
exec "${python:-python3}" "$here/compare.py" --python "$python" --candle "$candle" "$@"
