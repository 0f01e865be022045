#!/usr/bin/env bash
# Measures Paella beside its peers and prints the tables of docs/benchmarks.md; arguments are those of compare.py, or behind the word
# `loader` those of loader.py.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
python="$("$here/setup.sh")"
if [ "${1:-}" = loader ]; then
    exec "$python" "$here/loader.py" "${@:2}"
fi
exec "$python" "$here/compare.py" --python "$python" "$@"
