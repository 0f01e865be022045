"""Pictures per second and core: our shards' reader beside Python's webdataset, by turns, on the same shards.

    benches/peers/run.sh loader [--rounds 3] [--pictures 2000] [--shards 'FOLDER/*.tar']

Without --shards it makes some: pictures of 512 x 384 pixels with the spectrum of photographs, as JPEG of quality 90, with captions and
LAION's columns. Both sides read one shard after the other in one thread, leave out what LAION's filter of the released model leaves
out, decode, scale the short side to 256 pixels and crop. Ours is `paella bench CONFIG --load N`; the peer is webdataset with Pillow
(bicubic, as torchvision does it), which lets libjpeg scale while it decodes (`draft`) in a second column.
"""
import argparse
import glob
import io
import json
import os
import random
import statistics
import subprocess
import sys
import tarfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "debug", "paella")
SIDE = 256


def make(folder, shards=4, each=150):
    """Shards of pictures whose spectrum falls as that of photographs does: they compress as photographs do."""
    import numpy
    from PIL import Image

    numbers = numpy.random.default_rng(0)
    h, w = 384, 512
    distance = numpy.hypot(*numpy.meshgrid(numpy.fft.fftfreq(h), numpy.fft.rfftfreq(w), indexing="ij"))
    distance[0, 0] = 1 / w
    os.makedirs(folder, exist_ok=True)
    for shard in range(shards):
        with tarfile.open(os.path.join(folder, f"{shard:03}.tar"), "w") as tar:
            for i in range(each):
                noise = numbers.standard_normal((3, *distance.shape)) + 1j * numbers.standard_normal((3, *distance.shape))
                xs = numpy.fft.irfft2(noise / distance**1.1, s=(h, w))
                xs = 128 + 48 * xs / xs.std()
                picture = io.BytesIO()
                Image.fromarray(xs.clip(0, 255).astype("uint8").transpose(1, 2, 0)).save(picture, "JPEG", quality=90)
                about = {"caption": f"picture {i}", "punsafe": 0.01, "pwatermark": 0.1 if i % 5 else 0.9, "aesthetic": 5.5,
                         "original_width": 1024, "original_height": 768}
                for ending, data in [("jpg", picture.getvalue()), ("txt", about["caption"].encode()), ("json", json.dumps(about).encode())]:
                    member = tarfile.TarInfo(f"{shard:03}{i:05}.{ending}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))


def theirs(shards, pictures, draft):
    """Seconds of webdataset, in this process."""
    import numpy
    import webdataset
    from PIL import Image

    def decode(sample):
        picture = Image.open(io.BytesIO(sample["jpg"]))
        if draft:
            picture.draft("RGB", (SIDE, SIDE))
        picture = picture.convert("RGB")
        scale = SIDE / min(picture.size)
        w, h = (max(SIDE, round(side * scale)) for side in picture.size)
        picture = picture.resize((w, h), Image.Resampling.BICUBIC)
        x, y = random.randint(0, w - SIDE), random.randint(0, h - SIDE)
        return numpy.asarray(picture.crop((x, y, x + SIDE, y + SIDE))), sample["txt"].decode()

    def kept(sample):
        about = json.loads(sample["json"])
        large = about["original_width"] >= 512 and about["original_height"] >= 512
        return large and about["pwatermark"] <= 0.5 and about["punsafe"] <= 0.99 and about["aesthetic"] >= 5.0

    data = webdataset.WebDataset(shards, shardshuffle=False).repeat().select(kept).shuffle(100).map(decode)
    found = iter(data)
    for _ in range(16):
        next(found)
    start = time.perf_counter()
    for _ in range(pictures):
        next(found)
    return time.perf_counter() - start


def ours(config, pictures):
    """Seconds as the program measures them, without its start."""
    command = [PROGRAM, "bench", config, "--load", str(pictures), "--json", "--device", "cpu"]
    said = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}).stdout
    measured = json.loads(said.splitlines()[-1])["load"]
    return measured["seconds"] / measured["pictures"]


def config_of(shards, folder):
    path = os.path.join(folder, "loader.ron")
    lines = [
        "(name: \"bench-loader\", data: (size: 256, stream: Some((",
        f"shards: {json.dumps(shards)}, mode: Epochs, shuffle: 100, lanes: 1, threads: 1,",
        "filter: Some(()),",
        "))), train: (global_batch: 16))",
    ]
    with open(path, "w") as file:
        file.write("\n".join(lines))
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--shards", default="")
    args = parser.parse_args()
    folder = os.path.join(os.path.dirname(PROGRAM), "..", "bench-shards")
    if not args.shards and not glob.glob(os.path.join(folder, "*.tar")):
        print("making shards, once", file=sys.stderr)
        make(folder)
    shards = sorted(glob.glob(args.shards or os.path.join(folder, "*.tar")))
    os.makedirs(folder, exist_ok=True)
    config = config_of(shards, folder)
    rates = {"Paella": [], "webdataset": [], "webdataset, draft": []}
    for _ in range(args.rounds):
        rates["Paella"].append(1 / ours(config, args.pictures))
        rates["webdataset"].append(args.pictures / theirs(shards, args.pictures, False))
        rates["webdataset, draft"].append(args.pictures / theirs(shards, args.pictures, True))
    best = statistics.median(rates["Paella"])
    print("| loader | pictures/s on one core, median (least to most) | Paella is as fast |")
    print("| --- | --- | --- |")
    for name, found in rates.items():
        median = statistics.median(found)
        print(f"| {name} | {median:.0f} ({min(found):.0f} to {max(found):.0f}) | {best / median:.2f} times |")


if __name__ == "__main__":
    main()
