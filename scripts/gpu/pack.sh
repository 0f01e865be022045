#!/usr/bin/env bash
# Packs the kit into a folder: `scripts/gpu/pack.sh [FOLDER] [--whole] [--no-build]`, by default target/gpu-kit.
#
# Inside a checkout the kit takes data and fixtures from there, so the folder is small; with `--whole` it has its own and can
# be copied anywhere. CUDA's headers for libpaella_cuda.so are looked for in PAELLA_GPU_VENV and target/gpu-venv; where there
# are none, the kit compiles it on the machine it runs on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

folder=target/gpu-kit whole=no build=yes
for word in "$@"; do
    case $word in
    --whole) whole=yes ;;
    --no-build) build=no ;;
    -*) echo "error: unknown option $word" >&2 && exit 2 ;;
    *) folder=$word ;;
    esac
done
target=${CARGO_TARGET_DIR:-target}

[ $build = no ] || cargo build --bin paella --tests
# the newest of the test programs that cargo left
it=$(find "$target/debug/deps" -maxdepth 1 -name 'it-*' -perm -u+x -type f ! -name '*.*' -printf '%T@ %p\n' | sort -rn | head -n 1 | cut -d' ' -f2)
[ -n "$it" ] || { echo "error: the tests are not built" >&2; exit 1; }

rm -rf "$folder"
mkdir -p "$folder/configs" "$folder/src/shim"
cp scripts/gpu/{run.sh,main.py,kit.py,stages.py,runs.py,together.py,speed.py,twin.py,peer.py,report.py,dist.ron,bench-tiny.ron,session.txt} "$folder/"
cp configs/*.ron "$folder/configs/"
cp src/shim/{nccl.cpp,graph.cpp,guard.h} "$folder/src/shim/"
pack() {
    strip -o "$folder/$2" "$1"
    xz -6 -T0 -f "$folder/$2"
}
pack "$target/debug/paella" paella
pack "$it" it

# CUDA's half of the shim
site=$(find "${PAELLA_GPU_VENV:-target/gpu-venv}"/lib -maxdepth 2 -name site-packages 2>/dev/null | head -n 1)
if [ -n "$site" ] && [ -e "$site/nvidia/nccl/include/nccl.h" ] && [ -e "$site/torch/lib/libtorch_cuda.so" ]; then
    include=$site/torch/include nvidia=$site/nvidia
    g++ -std=c++17 -O2 -fPIC -shared -w -D_GLIBCXX_USE_CXX11_ABI=1 src/shim/nccl.cpp src/shim/graph.cpp \
        -Isrc/shim "-I$include" "-I$include/torch/csrc/api/include" "-I$nvidia/cu13/include" "-I$nvidia/nccl/include" \
        -Wl,--no-as-needed "-L$site/torch/lib" -ltorch_cuda -ltorch_cpu -lc10_cuda -lc10 -o "$folder/libpaella_cuda.so"
    strip --strip-unneeded "$folder/libpaella_cuda.so"
else
    echo "note: no CUDA headers here: libpaella_cuda.so is compiled where the kit runs"
fi

printf '{"commit": "%s", "date": "%s", "rustc": "%s"}\n' \
    "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)$(git diff --quiet HEAD 2>/dev/null || echo +changes)$([ $build = yes ] || echo +not-built-anew)" \
    "$(date -u +%F)" "$(rustc --version)" >"$folder/build.json"

bytes=$(du -sb "$folder" | cut -f1)
[ "$bytes" -lt 20000000 ] || { echo "error: $bytes bytes are more than 20 MB" >&2; exit 1; }
if [ $whole = yes ]; then
    mkdir -p "$folder/tests"
    cp -r assets "$folder/assets"
    cp -r tests/fixtures "$folder/tests/fixtures"
fi
echo "packed: $folder, $((bytes / 1000)) kB$([ $whole = no ] || echo ", with data and fixtures $(du -sm "$folder" | cut -f1) MB")"
echo "  run it: $folder/run.sh OUT"
