"""Kernels that are prepared in a folder of their own, with some tricks left out or by another rustc."""

import os
import pathlib
import subprocess

from jupyter_client.kernelspec import get_kernel_spec

PATIENCE = 900  # the library of the cells may have to be compiled again


def program():
    return get_kernel_spec("paella").argv[0]


def environment(cache, without="", **more):
    """What a kernel and its preparation need to use that folder."""
    own = {"PAELLA_KERNEL_CACHE": str(cache), "PAELLA_KERNEL_WITHOUT": without, "PAELLA_SYSROOT": sysroot()}
    return {**os.environ, **own, **more}


def sysroot():
    return get_kernel_spec("paella").env["PAELLA_SYSROOT"]


def prepare(cache, without="", **more):
    """Run the preparation; its exit code and what it said."""
    run = subprocess.run([program(), "prepare"], env=environment(cache, without, **more), capture_output=True, text=True, timeout=PATIENCE)
    return run.returncode, run.stderr


def cache():
    """The folder in which the kernel of the tests is prepared."""
    own = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(os.environ.get("PAELLA_KERNEL_CACHE") or pathlib.Path(own) / "paella")


def folder(cache):
    """What was prepared there last."""
    return max(pathlib.Path(cache).glob("kernel-*/stamp"), key=os.path.getmtime).parent
