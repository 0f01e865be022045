"""libtorch in the user's cache: download, check and share it between clones. Used by setup.py.

<cache>/paella/libtorch-2.11.0-cpu/    torch/{include,lib}, nvidia/cu13/lib, manifest.json: name and size of every file
<cache>/paella/tmp-*                   an install under way; it becomes the above by one rename, and is removed if it fails
<cache>/paella/lock                    held while installing
"""

import ctypes
import errno
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile

from libtorch_check import LIBRARIES, NEEDED, VERSION, Trouble, check_tree, find_fault, root, say, write_manifest

GB = 1e9
# What pip fetches, and the disk space for the download beside the installed files.
FLAVOURS = {
    "cpu": (["torch==" + VERSION, "nvidia-cuda-runtime==13.0.96", "nvidia-cuda-cupti==13.0.85"], 1.3 * GB),
    # the last two are headers only: they let the part that speaks NCCL be compiled
    "cuda": (["torch==" + VERSION, "nvidia-cuda-crt==13.0.88", "nvidia-cuda-cccl==13.0.85"], 10 * GB),
}
PLATFORMS = ["manylinux_2_28_x86_64", "manylinux_2_25_x86_64", "manylinux2014_x86_64"]
# libtorch_cpu.so of the PyPI wheel asks for two CUDA libraries even where there is no GPU.
KEPT = tuple(NEEDED) + ("torch/include/", "torch/lib/libgomp", "torch/version.py", "torch-%s.dist-info/licenses/" % VERSION)


def ensure(flavour, verify=False):
    """The folder with libtorch, installed first if need be."""
    folder = os.path.join(root(), "libtorch-%s-%s" % (VERSION, flavour))
    fault = find_fault(folder, verify)
    if fault is None and not (leftovers() and os.access(root(), os.W_OK)):
        return folder
    with Lock(wait=fault is not None) as lock:
        if lock.held:
            for path in leftovers():
                shutil.rmtree(path, ignore_errors=True)
        fault = find_fault(folder, verify)  # another clone may have been faster
        if fault is not None and not adopt(folder):
            install(folder, flavour, fault)
    return folder


def adopt(folder):
    """Takes over a whole folder that has no manifest yet."""
    if os.path.exists(os.path.join(folder, "manifest.json")) or not os.path.isdir(folder) or check_tree(folder):
        return False
    write_manifest(folder)
    say("libtorch found without a manifest, whole: keeping it")
    return True


class Lock:
    """One set-up at a time in a cache. Without `wait` a lock held by another is left alone."""

    def __init__(self, wait):
        self.wait, self.held = wait, False

    def __enter__(self):
        try:
            os.makedirs(root(), exist_ok=True)
            self.file = open(os.path.join(root(), "lock"), "w", encoding="utf-8")
        except OSError as error:
            raise Trouble("cannot write to the cache: %s" % error.strerror, root(), "set XDG_CACHE_HOME to a folder you may write to, or LIBTORCH to your own libtorch")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.held = True
        except OSError as error:
            if error.errno == errno.EWOULDBLOCK and self.wait:
                say("another set-up is at work in %s: waiting for it" % root())
                fcntl.flock(self.file, fcntl.LOCK_EX)
                self.held = True
        return self

    def __exit__(self, *_):
        self.file.close()


def leftovers():
    try:
        return [os.path.join(root(), name) for name in os.listdir(root()) if name.startswith("tmp-")]
    except OSError:
        return []


def install(folder, flavour, fault):
    if fault:
        say("warning: libtorch is damaged: %s\n  in: %s\n  hint: nothing to do, it is installed again and replaced" % (fault, folder))
    check_pip(flavour)
    check_space(flavour)
    spare = tempfile.mkdtemp(prefix="tmp-", dir=root())
    try:
        tree = os.path.join(spare, "tree")
        os.mkdir(tree)
        say("installing libtorch %s (%s) in %s" % (VERSION, flavour, folder))
        (install_cpu if flavour == "cpu" else install_cuda)(spare, tree)
        wrong = check_tree(tree) or does_not_load(tree)
        if wrong:
            raise Trouble("the download is not usable: " + wrong, folder, "run `make setup` again; if it stays so, set LIBTORCH to your own libtorch")
        write_manifest(tree)
        if os.path.lexists(folder):
            os.rename(folder, os.path.join(spare, "damaged"))
        os.rename(tree, folder)
    except zipfile.BadZipFile as error:
        raise Trouble("a downloaded wheel is damaged: %s" % error, spare, "run `make setup` again")
    finally:
        shutil.rmtree(spare, ignore_errors=True)


def check_pip(flavour):
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:
        raise Trouble("pip is missing", sys.executable, "Debian, Ubuntu: `sudo apt install python3-pip`; else `%s -m ensurepip`" % sys.executable)
    if flavour == "cuda" and sys.version_info < (3, 10):
        raise Trouble("expected Python 3.10 or newer for torch %s" % VERSION, sys.executable, "install a newer python3, or set PAELLA_LIBTORCH=cpu")


def check_space(flavour):
    needed, free = FLAVOURS[flavour][1], shutil.disk_usage(root()).free
    if free < needed:
        raise Trouble("not enough disk space: %.1f GB needed, %.1f GB free" % (needed / GB, free / GB), root(), "free some, or set XDG_CACHE_HOME to a folder on another disk")


def install_cpu(spare, tree):
    """The C++ part of three wheels: 544 MB to fetch, 500 MB kept."""
    wheels = os.path.join(spare, "wheels")
    tags = [part for name in PLATFORMS for part in ("--platform", name)]
    tags += ["--implementation", "cp", "--python-version", "3.12", "--abi", "cp312", "--abi", "none"]
    pip(spare, ["download", "--no-deps", "--only-binary=:all:", "--dest", wheels] + tags + FLAVOURS["cpu"][0])
    for name in sorted(os.listdir(wheels)):
        with zipfile.ZipFile(os.path.join(wheels, name)) as wheel:  # reading a member checks its CRC
            wheel.extractall(tree, [m for m in wheel.namelist() if m.startswith(KEPT)])
        os.unlink(os.path.join(wheels, name))


def install_cuda(spare, tree):
    """torch with all that it depends on, 2.7 GB to fetch: `import torch` and torchrun work from it too."""
    pip(spare, ["install", "--only-binary=:all:", "--target", tree] + FLAVOURS["cuda"][0])


def pip(spare, arguments):
    """Runs pip with its temporary files inside `spare`; its progress goes to the terminal."""
    command = [sys.executable, "-m", "pip"] + arguments + ["--no-cache-dir", "--no-input", "--disable-pip-version-check"]
    command += [] if sys.stderr.isatty() else ["--quiet"]
    environment = dict(os.environ, TMPDIR=spare)
    environment.setdefault("PIP_RETRIES", "3")
    child = subprocess.Popen(command, env=environment, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, preexec_fn=die_with_parent)
    try:
        _, stderr = child.communicate()
    finally:
        child.kill()
        child.wait()
    if child.returncode:
        raise Trouble(*pip_trouble(stderr))


def pip_trouble(stderr):
    """What happened, where and a hint, from what pip said."""
    if "No space left on device" in stderr:
        return "the disk is full", root(), "free some space, or set XDG_CACHE_HOME to a folder on another disk. Nothing was left behind"
    if "Retrying" in stderr:
        why = re.findall(r"\[Errno -?\d+\] ([\w ]+)|(timed out|CERTIFICATE_VERIFY_FAILED|CertificateError)", stderr)
        hint = "check the network, a proxy and PIP_INDEX_URL; or set LIBTORCH to a libtorch %s you have. Nothing was left behind" % VERSION
        return "the package index cannot be reached: %s" % ("".join(why[-1]) if why else "no answer"), os.environ.get("PIP_INDEX_URL", "https://pypi.org"), hint
    lines = [line for line in stderr.splitlines() if line.startswith("ERROR")] or stderr.splitlines() or ["no message"]
    hint = "update pip, check PIP_INDEX_URL; or set LIBTORCH to a libtorch %s you have. Nothing was left behind" % VERSION
    return "pip could not fetch libtorch: " + lines[0].replace("ERROR: ", ""), root(), hint


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def does_not_load(tree):
    """The loader's complaint, if libtorch_cpu.so does not load: a missing or too old system library."""
    code = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, os.path.join(tree, LIBRARIES[0])], capture_output=True, text=True)
    return (done.stderr.strip().splitlines() or ["it cannot be loaded"])[-1] if done.returncode else None
