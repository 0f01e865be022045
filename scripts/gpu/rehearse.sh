#!/usr/bin/env bash
# Runs the whole kit on the CPU with tiny sizes, as a machine with a GPU would: from a folder elsewhere, without network, the
# repository out of sight, against the CUDA wheels of a Python environment (they load without a driver).
#
#   scripts/gpu/rehearse.sh [FOLDER]      what comes out, by default target/gpu-rehearsal
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
repository=$PWD out=$(realpath -m "${1:-target/gpu-rehearsal}")

venv=${PAELLA_GPU_VENV:-target/gpu-venv}
if [ ! -x "$venv/bin/python" ]; then
    echo "installing torch 2.11.0 with CUDA into $venv, once (2.7 GB to fetch)"
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q torch==2.11.0 numpy nvidia-cuda-crt==13.0.88 nvidia-cuda-cccl==13.0.85
fi
venv=$(realpath -s "$venv")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
PAELLA_GPU_VENV=$venv scripts/gpu/pack.sh "$work/kit" --whole ${PAELLA_GPU_PACK:-}
mkdir -p "$work/venv" "$work/out"

cat >"$work/inside.sh" <<INSIDE
set -euo pipefail
cd /
mount --bind "$venv" "$work/venv"
mount -t tmpfs none "$repository" # out of sight
ls -A "$repository" | grep -q . && exit 9
"$work/venv/bin/python" - <<'UP'
import fcntl, socket, struct
flags = struct.pack("16sH14x", b"lo", 1 | 64)  # up and running: ranks meet on it
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8914, flags)
UP
! "$work/venv/bin/python" -c 'import socket; socket.create_connection(("1.1.1.1", 53), 2)' 2>/dev/null
export PAELLA_PYTHON="$work/venv/bin/python" HOME="$work/home" TMPDIR="$work"
mkdir -p "$work/home"
exec "$work/kit/run.sh" "$work/out" --device cpu --tiny --budget ${PAELLA_GPU_BUDGET:-1200}
INSIDE

# as root, else as root of a namespace of our own
root=$([ "$(id -u)" = 0 ] || echo --map-root-user)
if unshare $root --net --mount true 2>/dev/null; then
    code=0
    unshare $root --net --mount bash "$work/inside.sh" || code=$?
else
    echo "note: no namespaces here: the rehearsal sees the network and the repository"
    code=0
    PAELLA_PYTHON=$venv/bin/python "$work/kit/run.sh" "$work/out" --device cpu --tiny --budget "${PAELLA_GPU_BUDGET:-1200}" || code=$?
fi
rm -rf "$out"
mkdir -p "$(dirname "$out")"
mv "$work/out" "$out"
python3 scripts/gpu/report.py "$out" --out "$out/gpu.md"
echo "results: $out"
exit $code
