"""Is a libtorch whole, and of the right version? And how the set-up speaks. Used by setup.py."""

import json
import os
import signal
import struct
import sys

VERSION = "2.11.0"
LIBRARIES = ["torch/lib/" + name for name in ("libtorch_cpu.so", "libc10.so", "libtorch.so")]
NEEDED = LIBRARIES + ["torch/include/torch/csrc/api/include/torch/torch.h", "nvidia/cu13/lib/libcudart.so.13", "nvidia/cu13/lib/libcupti.so.13"]


class Trouble(Exception):
    """What happened, where, and what to do."""

    def __init__(self, what, place, hint):
        super().__init__("error: %s\n  in: %s\n  hint: %s" % (what, place, hint))


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(main):
    """Runs a script's main: a Trouble, Ctrl-C or a kill ends it with one message and exit code 1."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(stopped()))
    try:
        main()
    except Trouble as trouble:
        say(str(trouble))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(stopped())
    except OSError as error:
        say("error: %s\n  in: %s\n  hint: check rights and free space there" % (error.strerror, error.filename or root()))
        sys.exit(1)


def stopped():
    say("error: set-up was stopped\n  in: %s\n  hint: nothing is left half done; run `make setup` again" % root())
    return 1


def root():
    base = os.environ.get("XDG_CACHE_HOME", "")
    base = base if os.path.isabs(base) else os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "paella")


def find_fault(folder, verify=False):
    """What is wrong with an installed folder; "" if it is not there, None if all is well."""
    manifest = os.path.join(folder, "manifest.json")
    if not os.path.isdir(folder):
        return ""
    try:
        with open(manifest, encoding="utf-8") as file:
            files = json.load(file)["files"]
    except (OSError, ValueError, KeyError):
        return "manifest.json is missing or damaged"
    for name, size in files.items():
        if verify or ".so" in name or name in NEEDED:
            found = size_of(os.path.join(folder, name))
            if found != size:
                return "%s %s, expected %d bytes" % (name, "is missing" if found is None else "has %d bytes" % found, size)
    return None


def size_of(path):
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def cut_short(path):
    """What is wrong with a shared library: its ELF header says where its end must be."""
    try:
        with open(path, "rb") as file:
            header = file.read(64)
        start, = struct.unpack_from("<Q", header, 40)
        entry_size, count = struct.unpack_from("<HH", header, 58)
    except (OSError, struct.error):
        return "the library cannot be read"
    if header[:4] != b"\x7fELF":
        return "the library is not an ELF file"
    whole, found = start + entry_size * count, os.path.getsize(path)
    return "the library has %d bytes, expected %d" % (found, whole) if found < whole else None


def check_tree(folder):
    for name in NEEDED:
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            return "%s is missing" % name
        if ".so" in name and cut_short(path):
            return "%s: %s" % (name, cut_short(path))
    version = version_of(os.path.join(folder, "torch"))
    return "expected version %s, got %s" % (VERSION, version) if version and version.split("+")[0] != VERSION else None


def has_libtorch(torch):
    return os.path.exists(os.path.join(torch, "lib", "libtorch_cpu.so"))


def version_of(torch):
    """"2.11.0+cu130" from version.py (wheels) or build-version (zips); None if neither tells."""
    for name in ("version.py", "build-version"):
        try:
            with open(os.path.join(torch, name), encoding="utf-8") as file:
                first = [line for line in file if line[0].isdigit() or line.startswith("__version__")]
            return first[0].split("=")[-1].strip(" '\"\n")
        except (OSError, IndexError):
            pass
    return None


def write_manifest(folder):
    files = {}
    for base, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(base, name)
            files[os.path.relpath(path, folder)] = os.path.getsize(path)
    files.pop("manifest.json", None)
    spare = os.path.join(folder, "manifest.json.tmp")
    files.pop("manifest.json.tmp", None)
    with open(spare, "w", encoding="utf-8") as file:
        json.dump({"version": VERSION, "files": files}, file, indent=0, sort_keys=True)
    os.replace(spare, os.path.join(folder, "manifest.json"))
