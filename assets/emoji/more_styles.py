#!/usr/bin/env python3
"""Draw the shipped concepts in four more styles, for training only (WebDataset tar shards).

    python3 -m venv venv && venv/bin/pip install pillow==13.0.0 resvg-py==0.5.0
    venv/bin/python more_styles.py --out data/emoji-styles       # needs npm on PATH

Concepts that are held out in every style stay out; so does what the shipped shards
do not have. Sets whose licence asks to share alike (OpenMoji, EmojiOne v1) are not
taken, so that a model trained on these pictures may ship under any licence.
"""
import pathlib
import re
import tarfile
from collections import Counter

import build_emoji
from build_emoji import Icons, encode, fetch, finish, load_json, norm, order, rasterise, record_bytes, write_shard

# package@version -> SHA-256 of the tarball that `npm pack` fetches
PACKAGES = {
    "@iconify-json/noto@1.2.9": build_emoji.PACKAGES["@iconify-json/noto@1.2.9"],  # for its names
    "@iconify-json/fluent-emoji-flat@1.2.6": "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
    "@iconify-json/noto-v1@1.2.5": "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
    "@iconify-json/emojione@1.2.3": "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e",
    "@iconify-json/fxemoji@1.2.2": "f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef",
}
# style -> (words in the caption, licence of the art, package)
STYLES = {
    "fluent": ("fluent emoji", "MIT", "@iconify-json/fluent-emoji-flat@1.2.6"),
    "noto-old": ("old noto emoji", "Apache-2.0", "@iconify-json/noto-v1@1.2.5"),
    "emojitwo": ("emojitwo emoji", "CC-BY-4.0", "@iconify-json/emojione@1.2.3"),
    "firefox": ("firefox emoji", "Apache-2.0", "@iconify-json/fxemoji@1.2.2"),
}
SHARDS = 4


def shipped(here):
    """The concepts of the shipped shards that training may see: their JSON records, one for each."""
    records, held = {}, set()
    for path in sorted(here.glob("emoji-*.tar.gz")):
        with tarfile.open(path) as tar:
            for member in tar:
                if not member.name.endswith(".json"):
                    continue
                record = load_json(tar.extractfile(member))
                records[norm(record["codepoints"])] = record
                if record["split"] == "val-concept":
                    held.add(norm(record["codepoints"]))
    return {code: record for code, record in records.items() if code not in held}


def key(record, style):
    return f"{norm(record['codepoints'])}_{style}"


def names(style, icons, noto, concepts):
    """{code: name of its icon} of a style."""
    if icons.chars:
        found = icons.chars
    elif style == "firefox":  # the words of the name in one
        found = {code: re.sub("[^a-z0-9]", "", it["name"]) for code, it in concepts.items()}
    else:
        found = noto.chars
    return {code: found[code] for code in concepts if code in found and icons.has(found[code])}


def work(job):
    record, style, name = job
    words, license, _ = STYLES[style]
    image = rasterise(ICONS[style].svg(name))
    small = finish(image, record["subgroup"] not in build_emoji.UNCROPPED)
    sample = {"key": key(record, style), "concept": record, "style": style, "split": "train"}
    return {
        "webp": encode(small, "webp"),
        "txt": f"{record['name']}, {words}".encode(),
        "json": record_bytes(sample, image.size, license),
    }


def main():
    here = pathlib.Path(__file__).resolve().parent
    args = build_emoji.options("Draw the shipped emoji in more styles.", required=True).parse_args()

    folders = fetch(args.work, PACKAGES)
    noto = Icons(folders["@iconify-json/noto@1.2.9"])
    global ICONS
    ICONS = {style: Icons(folders[package]) for style, (_, _, package) in STYLES.items()}
    concepts = shipped(here)
    jobs = [(concepts[code], style, name)
            for style, icons in ICONS.items()
            for code, name in names(style, icons, noto, concepts).items()]
    samples = [{"key": key(record, style)} for record, style, _ in jobs]
    build_emoji.draw(samples, work, jobs, args.jobs)

    args.out.mkdir(parents=True, exist_ok=True)
    samples.sort(key=lambda s: order("shuffle", s["key"]))
    for i in range(SHARDS):
        members = samples[len(samples) * i // SHARDS:len(samples) * (i + 1) // SHARDS]
        path = args.out / f"emoji-styles-{i:05d}.tar"
        write_shard(path, members, "webp")
        print(f"{path}: {len(members)} samples, {path.stat().st_size} bytes")
    print("styles:", dict(Counter(style for _, style, _ in jobs)))


if __name__ == "__main__":
    main()
