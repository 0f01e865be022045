"""Runs of `paella train`: their configs, their logs and their weights."""
import json
import math
import os
import struct


def config(kit, name, *changes):
    """The kit's small config as a file, some of its text exchanged."""
    text = open(os.path.join(kit.root, "dist.ron")).read()
    for old, new in [("@ASSETS@", kit.place("assets")), *changes]:
        if old not in text:
            raise ValueError(f"`{old}` is not in dist.ron")
        text = text.replace(old, new)
    path = os.path.join(kit.work, name)
    with open(path, "w") as file:
        file.write(text)
    return path


def losses(out):
    """Those of the denoiser, the last of each step: a run that was killed may have done one twice."""
    rows = [json.loads(line) for line in open(os.path.join(out, "log.jsonl"))]
    return [loss for _, loss in sorted({row["step"]: row["loss"] for row in rows if row["phase"] == "denoiser"}.items())]


def newest(out):
    """The folder of the last checkpoint."""
    folder = os.path.join(out, "checkpoints")
    return os.path.join(folder, sorted(name for name in os.listdir(folder) if name.startswith("denoiser"))[-1])


def weights(checkpoint):
    """All numbers of the denoiser in a checkpoint, f32, in the order of their names."""
    data = open(os.path.join(checkpoint, "denoiser.safetensors"), "rb").read()
    length = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    all_numbers = []
    for name in sorted(name for name in header if name != "__metadata__"):
        about = header[name]
        start, end = about["data_offsets"]
        if about["dtype"] == "F32":
            all_numbers.extend(struct.unpack(f"<{(end - start) // 4}f", body[start:end]))
    return all_numbers


def most_apart(a, b, absolute=False):
    """The largest difference, as a share unless `absolute`; infinite for lists of different lengths or without numbers."""
    if len(a) != len(b) or not a:
        return math.inf
    return max(abs(x - y) / (1.0 if absolute else max(abs(x), 1e-12)) for x, y in zip(a, b))
