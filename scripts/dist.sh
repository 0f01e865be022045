#!/usr/bin/env bash
# Packs the program for machines without Rust: `scripts/dist.sh [FOLDER] [--folder]`, by default target/dist.
#
# The archive paella-VERSION-x86_64-linux.tar.xz holds the stripped program, models, data, configs, lessons and an install.sh,
# which fetches libtorch. `--folder` leaves out the archive. The notebook kernel compiles cells, so it needs Rust and a clone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

out=target/dist archive=yes
for word in "$@"; do
    case $word in
    --folder) archive=no ;;
    -*) echo "error: unknown option $word" >&2 && exit 2 ;;
    *) out=$word ;;
    esac
done
program=${CARGO_TARGET_DIR:-target}/debug/paella
[ -x "$program" ] || { printf 'error: the program is not built\n  in: %s\n  hint: make dist\n' "$program" >&2; exit 1; }
version=$("$program" --version | cut -d' ' -f2)
name=paella-$version-x86_64-linux
folder=$out/$name

rm -rf "$folder"
# The program looks for libtorch in ../../libtorch, as from a clone's target/debug, and for its files beside itself.
mkdir -p "$folder/lib/paella" "$folder/scripts"
strip -o "$folder/lib/paella/paella" "$program"
ln -s lib/paella/paella "$folder/paella"
for part in assets configs tutorials; do
    cp -r "$part" "$folder/"
    ln -s "../../$part" "$folder/lib/paella/$part"
done
cp scripts/{setup,libtorch_cache,libtorch_check}.py "$folder/scripts/"
cp LICENSE LICENSE-MIT LICENSE-APACHE ATTRIBUTION.md "$folder/"
cat >"$folder/install.sh" <<'END'
#!/bin/sh
# Fetches libtorch once (0.5 GB, with an NVIDIA card 2.7; kept in ~/.cache/paella for all versions) and links it here. Needs Python 3.9
# with pip, 3.10 for a card.
set -eu
cd "$(dirname "$0")"
command -v python3 >/dev/null || { printf 'error: python3 is missing\n  in: PATH\n  hint: Debian, Ubuntu: apt install python3 python3-pip\n' >&2; exit 1; }
python3 scripts/setup.py
echo "ready: $PWD/paella"
END
chmod +x "$folder/install.sh"

glibc=$(objdump -T "$folder/lib/paella/paella" | grep -o 'GLIBC_[0-9.]*' | sort -V | tail -n 1)
echo "packed: $folder, $(du -sm "$folder" | cut -f1) MB; needs ${glibc/_/ } or newer"
if [ $archive = yes ]; then
    tar -C "$out" -cf - --owner=0 --group=0 "$name" | xz -6 -T0 >"$folder.tar.xz"
    echo "archive: $folder.tar.xz, $(du -sm "$folder.tar.xz" | cut -f1) MB"
fi
