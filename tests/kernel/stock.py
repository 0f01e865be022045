"""The stock kernel of evcxr, to compare with: where it is started from, and Jupyter's test suite with samples of its own.

Not part of the tests: `measure.py --stock PROGRAM` runs it, and so does

  PAELLA_STOCK_KERNEL=PROGRAM target/kernel-test/bin/python -m unittest -v tests/kernel/stock.py
"""

import atexit
import json
import os
import pathlib
import shutil
import tempfile
import unittest

import jupyter_kernel_test
import samples

NAME = "evcxr-stock"
TCH = ':dep tch = { version = "=0.24.0", default-features = false }\nuse tch::{Device, IndexOp, Kind, Tensor};'


def libtorch():
    """The same libtorch as ours, and the folders its libraries are in."""
    root = pathlib.Path(__file__).resolve().parents[2] / "libtorch"
    folders = [root / "torch/lib", root / "nvidia/cu13/lib"]
    return {"LIBTORCH": str(root / "torch"), "LD_LIBRARY_PATH": ":".join(map(str, folders))}


def register(program):
    """Tell Jupyter of it, for this process and what it starts."""
    data = pathlib.Path(tempfile.mkdtemp(prefix="stock-"))
    atexit.register(shutil.rmtree, data, ignore_errors=True)
    folder = data / "kernels" / NAME
    folder.mkdir(parents=True)
    spec = {
        "argv": [os.path.abspath(program), "--control_file", "{connection_file}"],
        "display_name": "Rust",
        "language": "rust",
        "interrupt_mode": "message",
        "env": libtorch(),
    }
    (folder / "kernel.json").write_text(json.dumps(spec))
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [str(data), os.environ.get("JUPYTER_PATH")]))


jupyter_kernel_test.TIMEOUT = 60


class StockKernelTests(samples.Rust, jupyter_kernel_test.KernelTests):
    """What is asked of our kernel, with evcxr's ways to say it; it has none to open the pager or to clear outputs."""

    kernel_name = NAME
    language_name = "Rust"
    completion_samples = [{"text": "String::from_utf8_lo"}]
    code_display_data = [
        {
            "code": 'println!("EVCXR_BEGIN_CONTENT text/html\\n<b>x</b>\\nEVCXR_END_CONTENT");',
            "mime": "text/html",
        }
    ]
    code_inspect_sample = "String::from_utf8"


class StockWelcomeTests(jupyter_kernel_test.IopubWelcomeTests):
    kernel_name = NAME
    support_iopub_welcome = True


if os.environ.get("PAELLA_STOCK_KERNEL"):
    register(os.environ["PAELLA_STOCK_KERNEL"])

if __name__ == "__main__":
    unittest.main()
