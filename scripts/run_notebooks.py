"""Runs notebooks in full, in place: what is in the repository comes from here.

  target/kernel-test/bin/python scripts/run_notebooks.py [notebooks/04-train.ipynb ...]

after `make test-kernel`, from the root of the repository; then `paella lessons build` writes them as it always does. Where a
cell fails, the notebook stays as it was.
"""

import pathlib
import sys
import time

import nbformat
from nbclient import NotebookClient


def main(files):
    for file in files or sorted(map(str, pathlib.Path("notebooks").glob("*.ipynb"))):
        start = time.monotonic()
        book = nbformat.read(file, as_version=4)
        NotebookClient(book, timeout=3600, record_timing=False).execute()
        nbformat.write(book, file)
        size = pathlib.Path(file).stat().st_size
        print("%s: %.0f s, %d bytes" % (file, time.monotonic() - start, size), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
