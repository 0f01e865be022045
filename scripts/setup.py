#!/usr/bin/env python3
"""Puts libtorch at ./libtorch, so that plain `cargo build`, `cargo run` and `cargo test` work without variables.

./libtorch links to a folder of the user's cache that all clones share. Standard library only, plus pip for the download.

  LIBTORCH=/dir               your own libtorch, a folder with lib/libtorch_cpu.so
  LIBTORCH_USE_PYTORCH=1      the one inside your Python's torch
  PAELLA_LIBTORCH=cpu|cuda    which to install; without it: cuda if there is an NVIDIA driver
  XDG_CACHE_HOME=/dir         where caches live, ~/.cache without it

A second run takes an instant. `setup.py --verify` compares the size of every installed file.
"""

import os
import platform
import re
import shutil
import subprocess
import sys

import libtorch_cache as cache
import libtorch_check as check
from libtorch_check import VERSION, Trouble, say

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LINK = os.path.join(ROOT, "libtorch")
TORCH = os.path.join(LINK, "torch")
CUDA_DRIVER = 580  # the first that runs CUDA 13


def main():
    check_machine()
    check_tools()
    own = own_libtorch()
    if own:
        return use_own(*own)
    choice = os.environ.get("PAELLA_LIBTORCH")
    if not choice and not managed() and check.has_libtorch(TORCH):
        check_own(TORCH, "remove ./libtorch and run `make setup` again")
        return report(TORCH, "found at ./libtorch; remove that link to install another")
    flavour = choice or ("cuda" if has_cuda_driver() else "cpu")
    if flavour not in cache.FLAVOURS:
        raise Trouble("expected `cpu` or `cuda`, got `%s`" % flavour, "PAELLA_LIBTORCH", "unset it to choose by the driver")
    folder = cache.ensure(flavour, verify="--verify" in sys.argv[1:])
    link(folder, LINK)
    report(os.path.join(folder, "torch"), flavour)


def report(torch, how):
    say("libtorch %s (%s): %s" % (check.version_of(torch) or VERSION, how, os.path.realpath(torch)))


# What must be there before anything is downloaded.


def check_machine():
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ("Linux", "x86_64"):
        hint = "install libtorch %s yourself and set LIBTORCH to its folder" % VERSION
        if not (os.environ.get("LIBTORCH") or os.environ.get("LIBTORCH_USE_PYTORCH")):
            raise Trouble("expected Linux on x86_64, got %s on %s" % (system, machine), "this machine", hint)
    if sys.version_info < (3, 9):
        raise Trouble("expected Python 3.9 or newer, got %s" % platform.python_version(), sys.executable, "install a newer python3")


def check_tools():
    if not os.path.exists(os.path.join(ROOT, "Cargo.toml")):
        return  # the program came compiled: `make dist`
    with open(os.path.join(ROOT, "Cargo.toml"), encoding="utf-8") as file:
        needed = re.search(r'rust-version = "([\d.]+)"', file.read()).group(1)
    rustup = "install Rust from https://rustup.rs, then open a new shell"
    if not shutil.which("cargo"):
        raise Trouble("cargo is missing", "PATH", rustup)
    done = subprocess.run(["rustc", "--version"], cwd=ROOT, capture_output=True, text=True) if shutil.which("rustc") else None
    found = done and re.match(r"rustc ([\d.]+)", done.stdout)
    if not found:
        raise Trouble("rustc does not run", "PATH", "`rustup default stable`, or " + rustup)
    if numbers(found.group(1)) < numbers(needed):
        raise Trouble("expected rustc %s or newer, got %s" % (needed, found.group(1)), shutil.which("rustc"), "`rustup update`")
    if not shutil.which(os.environ.get("CXX", "c++").split()[0]):
        hint = "Debian, Ubuntu: `sudo apt install build-essential`; Fedora: `sudo dnf install gcc-c++`; or set CXX"
        raise Trouble("a C++ compiler is missing", "PATH", hint)


def numbers(version):
    return [int(n) for n in version.split(".")]


def has_cuda_driver():
    try:
        with open("/proc/driver/nvidia/version", encoding="utf-8") as file:
            text = file.read()
    except OSError:
        return smi_works()
    driver = re.search(r"\s(\d+)\.\d+", text)
    if driver and int(driver.group(1)) < CUDA_DRIVER:
        say("note: the NVIDIA driver %s is older than %d, which CUDA 13 needs: taking the CPU build" % (driver.group(1), CUDA_DRIVER))
        return False
    return True


def smi_works():
    if not shutil.which("nvidia-smi"):
        return False
    try:
        return subprocess.run(["nvidia-smi", "-L"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


# The user's own libtorch.


def own_libtorch():
    """(torch folder, where it comes from), or None."""
    if os.environ.get("LIBTORCH_USE_PYTORCH"):
        return python_torch(), "LIBTORCH_USE_PYTORCH"
    folder = os.environ.get("LIBTORCH")
    if folder:
        folder = os.path.abspath(os.path.join(ROOT, folder))
        if folder != TORCH:
            if not check.has_libtorch(folder):
                raise Trouble("no lib/libtorch_cpu.so in your libtorch", "LIBTORCH=" + folder, "correct LIBTORCH, or unset it to have one installed")
            return folder, "LIBTORCH"
    if os.path.exists(os.path.join(LINK, "lib", "libtorch_cpu.so")):
        return LINK, "unpacked at ./libtorch"
    return None


def python_torch():
    python = "python" if os.environ.get("VIRTUAL_ENV") else "python3"  # as torch-sys does
    code = "import os, torch; print(os.path.dirname(torch.__file__))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    folder = done.stdout.strip()
    if done.returncode or not check.has_libtorch(folder):
        why = (done.stderr.strip().splitlines() or ["no libtorch_cpu.so in " + folder])[-1]
        hint = "`pip install torch==%s` there, or unset LIBTORCH_USE_PYTORCH" % VERSION
        raise Trouble("`import torch` fails: " + why, "%s (LIBTORCH_USE_PYTORCH)" % (shutil.which(python) or python), hint)
    return folder


def check_own(folder, hint):
    for name in ("libtorch_cpu.so", "libc10.so"):
        path = os.path.join(folder, "lib", name)
        broken = check.cut_short(path)
        if broken:
            raise Trouble(broken, path, hint)


def use_own(folder, origin):
    check_own(folder, "install it again, or unset " + origin)
    version = check.version_of(folder)
    if version and version.split("+")[0] != VERSION and not os.environ.get("LIBTORCH_BYPASS_VERSION_CHECK"):
        hint = "use %s, or try it with LIBTORCH_BYPASS_VERSION_CHECK=1" % VERSION
        say("warning: expected libtorch %s, got %s\n  in: %s\n  hint: %s" % (VERSION, version, folder, hint))
    if os.path.realpath(TORCH) != os.path.realpath(folder):
        if os.path.islink(LINK):
            os.unlink(LINK)
        os.makedirs(LINK, exist_ok=True)
        link("." if folder == LINK else folder, TORCH)
    say("libtorch %s (yours, %s): %s" % (version or "of unknown version", origin, folder))


# The link in the checkout.


def managed():
    """./libtorch links into our cache, or to nothing."""
    return not os.path.exists(LINK) or os.path.dirname(os.path.realpath(LINK)) == os.path.realpath(check.root())


def link(target, path):
    if os.path.islink(path) and os.readlink(path) == target:
        return
    if os.path.islink(os.path.join(path, "torch")) and os.listdir(path) == ["torch"] and not os.path.islink(path):
        os.unlink(os.path.join(path, "torch"))  # the folder that use_own made
        os.rmdir(path)
    if os.path.isdir(path) and not os.path.islink(path):
        raise Trouble("a folder stands where the link to libtorch belongs", path, "move it away, or set LIBTORCH to it")
    spare = "%s.%d.tmp" % (path, os.getpid())
    os.symlink(target, spare)
    os.replace(spare, path)


if __name__ == "__main__":
    check.run(main)
