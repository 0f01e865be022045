"""Runs notebooks in full, in place: what is in the repository comes from here.

  target/kernel-test/bin/python scripts/run_notebooks.py [notebooks/04-train.ipynb ...]

after `make test-kernel`, from the root of the repository; then `paella lessons build` writes them as it always does. Where a
cell fails, the notebook stays as it was, the others run, and the script exits with 1. A picture that is part of an output's
HTML is stored once, there; a chart is stored as SVG.
"""

import pathlib
import sys
import time

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError


def once(book):
    """Takes away pictures that an output holds twice: the repository has a limit of size."""
    for cell in book.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            picture = data.get("image/png", "").strip()
            if picture and (picture in data.get("text/html", "") or "image/svg+xml" in data):
                del data["image/png"]


def main(files):
    failed = []
    for file in files or sorted(map(str, pathlib.Path("notebooks").glob("*.ipynb"))):
        start = time.monotonic()
        book = nbformat.read(file, as_version=4)
        try:
            NotebookClient(book, timeout=3600, record_timing=False).execute()
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            print("%s: %s" % (file, error), file=sys.stderr, flush=True)
            failed.append(file)
            continue
        once(book)
        nbformat.write(book, file)
        size = pathlib.Path(file).stat().st_size
        print("%s: %.0f s, %d bytes" % (file, time.monotonic() - start, size), flush=True)
    if failed:
        sys.exit("failed: " + ", ".join(failed))


if __name__ == "__main__":
    main(sys.argv[1:])
