#!/usr/bin/env python3
"""Build the small Fashion-MNIST shards from the four IDX files. Needs Pillow.

    apt-get download dataset-fashion-mnist && dpkg -x dataset-fashion-mnist_*.deb deb
    python3 build_fashion.py deb/usr/share/datasets/fashion-mnist --out .

500 training and 100 test pictures of each class, chosen and ordered by SHA-256
of the key; every tar and gzip header is constant, so that two runs with the same
Python, zlib and libwebp give the same bytes (compare with SHA256SUMS).
"""
import argparse
import gzip
import hashlib
import io
import json
import pathlib
import struct
import tarfile

from PIL import Image

# label -> (the class as upstream writes it, the name in our captions)
CLASSES = [
    ("T-shirt/top", "t-shirt"),
    ("Trouser", "trousers"),
    ("Pullover", "pullover"),
    ("Dress", "dress"),
    ("Coat", "coat"),
    ("Sandal", "sandal"),
    ("Shirt", "shirt"),
    ("Sneaker", "sneaker"),
    ("Bag", "bag"),
    ("Ankle boot", "ankle boot"),
]
SIDE = 28
# our split, upstream's file prefix, pictures of each class
SPLITS = [("train", "train", 500), ("val", "t10k", 100)]


def read_idx(path, magic, header):
    data = gzip.decompress(path.read_bytes())
    fields = struct.unpack_from(f">{header}I", data)
    assert fields[0] == magic, (path, hex(fields[0]))
    return fields[1], data[4 * header:]


def webp(pixels):
    """Lossless: a decoder gives these very pixels."""
    out = io.BytesIO()
    Image.frombytes("L", (SIDE, SIDE), bytes(pixels)).convert("RGB").save(out, "WEBP", lossless=True, quality=100, method=6, exact=True)
    return out.getvalue()


def choose(labels, split, per_class):
    """(key, index, label), balanced over the classes, in the order of the keys' hashes."""
    ranked = sorted(
        (hashlib.sha256(f"fashion-{split}-{i:05d}".encode()).digest(), i) for i in range(len(labels)))
    left = [per_class] * len(CLASSES)
    for _, i in ranked:
        if left[labels[i]]:
            left[labels[i]] -= 1
            yield f"{split}-{i:05d}", i, labels[i]


def add(shard, name, data):
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), 0o644, 0
    shard.addfile(info, io.BytesIO(data))


def write_shard(path, samples, images, split):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as shard:
        for key, i, label in samples:
            upstream, name = CLASSES[label]
            record = {"name": name, "style": "fashion", "group": "clothes", "class": upstream,
                      "label": label, "license": "MIT", "split": split}
            add(shard, f"{key}.webp", webp(images[i * SIDE * SIDE:(i + 1) * SIDE * SIDE]))
            add(shard, f"{key}.txt", f"{name}, fashion photo".encode())
            add(shard, f"{key}.json", json.dumps(record, separators=(",", ":")).encode())
    path.write_bytes(gzip.compress(raw.getvalue(), 9, mtime=0))


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    args.add_argument("idx", type=pathlib.Path, help="folder of the four .gz files")
    args.add_argument("--out", type=pathlib.Path, default=pathlib.Path("."))
    args = args.parse_args()
    for split, prefix, per_class in SPLITS:
        count, images = read_idx(args.idx / f"{prefix}-images-idx3-ubyte.gz", 0x803, 4)
        n_labels, labels = read_idx(args.idx / f"{prefix}-labels-idx1-ubyte.gz", 0x801, 2)
        assert count == n_labels == len(labels) and len(images) == count * SIDE * SIDE
        samples = list(choose(labels, split, per_class))
        path = args.out / f"fashion-{split}-00000.tar.gz"
        write_shard(path, samples, images, split)
        print(f"{path}: {len(samples)} samples, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
