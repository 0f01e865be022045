#!/usr/bin/env bash
# Runs the kit: `run.sh OUT [--budget SECONDS] ...`, `run.sh --help`. It needs a Python with torch, and no network, compiler
# or Rust. PAELLA_PYTHON names another Python than `python3`.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec "${PAELLA_PYTHON:-python3}" "$here/main.py" "$@"
