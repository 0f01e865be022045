#!/usr/bin/env bash
# Prints the Python that the peers run in: $PAELLA_PEER_PYTHON, or that of a throw-away environment under target/, made once
# (PyTorch of the same version as libtorch, for the CPU: about 200 MB to fetch).
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ -n "${PAELLA_PEER_PYTHON:-}" ]; then
    echo "$PAELLA_PEER_PYTHON"
    exit
fi
venv="${CARGO_TARGET_DIR:-target}/peers"
if [ ! -x "$venv/ready" ]; then
    {
        python3 -m venv "$venv"
        "$venv/bin/pip" install -q "torch==2.11.*" numpy setuptools transformers webdataset Pillow \
            --index-url https://download.pytorch.org/whl/cpu --extra-index-url https://pypi.org/simple
        ln -sf bin/python "$venv/ready"
    } >&2
fi
echo "$venv/bin/python"
