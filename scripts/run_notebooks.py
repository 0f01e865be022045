"""Runs notebooks in full, in place: what is in the repository comes from here.

  target/kernel-test/bin/python scripts/run_notebooks.py [notebooks/04-train.ipynb ...]

after `make test-kernel`, from the root of the repository; then `paella lessons build` writes them as it always does. Where a
cell fails, the notebook stays as it was. A picture that is part of an output's HTML is stored once, there.
"""

import pathlib
import sys
import time

import nbformat
from nbclient import NotebookClient


def once(book):
    """Takes away pictures that an output holds twice: the repository has a limit of size."""
    for cell in book.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            picture = data.get("image/png", "").strip()
            if picture and picture in data.get("text/html", ""):
                del data["image/png"]


def main(files):
    for file in files or sorted(map(str, pathlib.Path("notebooks").glob("*.ipynb"))):
        start = time.monotonic()
        book = nbformat.read(file, as_version=4)
        NotebookClient(book, timeout=3600, record_timing=False).execute()
        once(book)
        nbformat.write(book, file)
        size = pathlib.Path(file).stat().st_size
        print("%s: %.0f s, %d bytes" % (file, time.monotonic() - start, size), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
