#!/usr/bin/env bash
# Measures Paella beside its peers and prints the table of docs/benchmarks.md; arguments are those of compare.py.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
python="$("$here/setup.sh")"
exec "$python" "$here/compare.py" --python "$python" "$@"
