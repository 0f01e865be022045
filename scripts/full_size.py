#!/usr/bin/env python3
"""Writes the five released files with their true names, shapes and layout, and random numbers: for a dress rehearsal.

  python3 scripts/full_size.py weights    # 22 GB; needs torch and numpy
  paella doctor --weights weights
  paella sample "a fox" --model configs/paella-v3.ron --out fox.png

The files are of torch.save's kind, written tensor by tensor: little memory is used. byt5-xl is written without its decoder.
"""

import argparse
import collections
import json
import pickle
import zipfile
from pathlib import Path

import numpy
import torch

PLACES = {
    "VQModel()": "vqgan_f4.pt",
    "Paella(byt5_embd=2560)": "paella_v3.pt",
    "PriorModel()": "prior_v1.pt",
    "open_clip ViT-H-14": "clip-vit-h-14/open_clip_pytorch_model.bin",
    "google/byt5-xl encoder": "byt5-xl/pytorch_model.bin",
}
STORAGES = {"float32": torch.FloatStorage, "int64": torch.LongStorage}


class Storage:
    def __init__(self, key, kind, count):
        self.id = ("storage", STORAGES[kind], key, "cpu", count)


class Tensor:
    def __init__(self, storage, size):
        self.storage, self.size = storage, tuple(size)

    def strides(self):
        below = [1]
        for n in reversed(self.size[1:]):
            below.insert(0, below[0] * n)
        return tuple(below[: len(self.size)])


class Pickler(pickle.Pickler):
    """Pickles a dictionary as torch.save does, without its numbers."""

    def persistent_id(self, value):
        return value.id if isinstance(value, Storage) else None

    def reducer_override(self, value):
        if not isinstance(value, Tensor):
            return NotImplemented
        hooks = collections.OrderedDict()
        rebuilt = (value.storage, 0, value.size, value.strides(), False, hooks)
        return torch._utils._rebuild_tensor_v2, rebuilt


def numbers(name, size, kind, block, at):
    """The numbers of a tensor, in parts: small normal ones, and what leaves norms as they are."""
    count = int(numpy.prod(size, dtype=numpy.int64))
    if kind == "int64" or name.endswith(("bias", "running_mean", "gamma", "beta", "gammas")):
        yield numpy.zeros(count, kind)
    elif name.endswith("running_var") or (len(size) == 1 and name.endswith("weight")):
        yield numpy.ones(count, kind)
    else:
        while count > 0:
            part = block[at % 4096 :][:count]
            yield part
            count, at = count - len(part), at + 1


def write(path, tensors, block):
    path.parent.mkdir(parents=True, exist_ok=True)
    named, stored = collections.OrderedDict(), []
    for name, (size, kind, *_) in tensors.items():
        count = int(numpy.prod(size, dtype=numpy.int64))
        named[name] = Tensor(Storage(str(len(stored)), kind, count), size)
        stored.append((name, size, kind))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        with archive.open(path.stem + "/data.pkl", "w") as entry:
            Pickler(entry, protocol=2).dump(named)
        for i, (name, size, kind) in enumerate(stored):
            info = zipfile.ZipInfo(f"{path.stem}/data/{i}")
            # numbers begin at a multiple of 64, as torch writes them; large entries have 20 bytes more
            begin = archive.fp.tell() + 30 + len(info.filename) + 20
            pad = -(begin + 4) % 64
            info.extra = b"FB" + pad.to_bytes(2, "little") + b"Z" * pad
            with archive.open(info, "w", force_zip64=True) as entry:
                for part in numbers(name, size, kind, block, i):
                    entry.write(part.tobytes())
        archive.writestr(path.stem + "/version", "3\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    shapes = Path(__file__).resolve().parent.parent / "tests/fixtures/state_dict_v3.json"
    networks = json.loads(shapes.read_text())
    block = numpy.random.default_rng(0).standard_normal(1 << 24, dtype=numpy.float32) * 0.02
    for network, place in PLACES.items():
        path = folder / place
        write(path, networks[network]["state_dict"], block)
        print(f"{path}: {path.stat().st_size / 1e9:.2f} GB", flush=True)


if __name__ == "__main__":
    main()
