#!/usr/bin/env bash
# Runs every command of docs/gallery.md with the built program, in docs/gallery/. The document is the only list of them.
set -euo pipefail
cd "$(dirname "$0")/.."

program=$(realpath "${CARGO_TARGET_DIR:-target}/debug/paella")
mkdir -p docs/gallery
cd docs/gallery
awk '/^```$/{on = 0} on{print} /^```sh$/{on = 1}' ../gallery.md > commands.sh
PATH=$(dirname "$program"):$PATH bash -euo pipefail commands.sh
echo "pictures: docs/gallery/"
