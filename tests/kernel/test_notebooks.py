"""Every notebook of the course runs from top to bottom in its short form, as papermill would run it."""

import pathlib
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from client import kernel

SCRIPTS = pathlib.Path("scripts").resolve()
sys.path.insert(0, str(SCRIPTS))
import papermill_rust  # noqa: E402  it registers itself

NOTEBOOKS = sorted(pathlib.Path("notebooks").glob("*.ipynb"))
PICTURES = {"image/png", "image/svg+xml"}


def code_cells(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def outputs(book):
    return [output for cell in code_cells(book) for output in cell.outputs]


def test_all_notebooks_are_here():
    lessons = [file for file in NOTEBOOKS if file.name[:2].isdigit()]
    assert len(lessons) >= 7 and len(NOTEBOOKS) >= 9


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_runs_in_its_short_form(file, tmp_path):
    book = parameterize_notebook(load_notebook_node(str(file)), {"quick": True})
    for cell in code_cells(book):
        cell.outputs, cell.execution_count = [], None  # what is looked at below comes from this run
    NotebookClient(book, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()

    nbformat.validate(book)
    cells = code_cells(book)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for output in outputs(book) if output.output_type == "error"]
    injected = next(cell for cell in cells if "injected-parameters" in cell.metadata.get("tags", []))
    assert injected.source == "// Parameters\nlet quick = true;\n%quick on\n"
    assert "short form" in injected.outputs[-1].data["text/plain"]
    assert any(PICTURES & set(output.get("data", {})) for output in outputs(book))


def test_parameters_from_the_command_line(tmp_path):
    book = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "paella", "display_name": "Paella (Rust)", "language": "rust"}})
    book.cells = [
        nbformat.v4.new_code_cell("let steps = 100;", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell('println!("{} {} {name:?}", steps + 1, scale * 2.0);'),
    ]
    nbformat.write(book, tmp_path / "in.ipynb")
    command = [sys.executable, str(SCRIPTS / "papermill_rust.py"), str(tmp_path / "in.ipynb"), str(tmp_path / "out.ipynb")]
    command += ["-p", "steps", "41", "-p", "scale", "1.5", "-p", "name", 'a "red" äpple']
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    done = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert outputs(done)[-1].text == '42 3 "a \\"red\\" äpple"\n'


@pytest.mark.parametrize("word", ["true", "True", "false"])
def test_quick_from_the_command_line_is_quick(tmp_path, word):
    command = [sys.executable, str(SCRIPTS / "papermill_rust.py"), "notebooks/04-train.ipynb", str(tmp_path / "out.ipynb")]
    run = subprocess.run(command + ["--prepare-only", "-p", "quick", word], capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stderr
    cells = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
    injected = next(cell for cell in cells if "injected-parameters" in cell.metadata.get("tags", []))
    value = word.lower()
    assert "let quick = %s;\n%%quick %s" % (value, "on" if value == "true" else "off") in injected.source


def test_another_value_of_quick_is_an_error(tmp_path):
    command = [sys.executable, str(SCRIPTS / "papermill_rust.py"), "notebooks/04-train.ipynb", str(tmp_path / "out.ipynb")]
    run = subprocess.run(command + ["--prepare-only", "-p", "quick", "yes"], capture_output=True, text=True, timeout=100)
    assert run.returncode != 0 and "`quick` is true or false" in run.stderr


def test_notebooks_hold_what_the_kernel_says_of_its_language():
    """Front ends write it into a notebook that they open: it would be changed by looking at it."""
    with kernel() as k:
        k.client.kernel_info()
        reply = k.client.get_shell_msg(timeout=60)["content"]
    for file in NOTEBOOKS:
        assert nbformat.read(file, as_version=4).metadata["language_info"] == reply["language_info"], file


def test_rust_is_written_as_rust():
    rust = papermill_rust.Rust
    values = {"a": True, "b": -3, "c": 2**40, "d": 0.5, "e": float("inf"), "f": ["x\ny", "z"]}
    assert rust.codify(values, "P").splitlines() == [
        "// P",
        "let a = true;",
        "let b = -3;",
        "let c = 1099511627776_i64;",
        "let d = 0.5;",
        "let e = f64::INFINITY;",
        'let f = vec![String::from("x\\ny"), String::from("z")];',
    ]
    cell = {"source": "let steps: i64 = 400; // how long\n%quick off  # the short forms"}
    assert [(p.name, p.inferred_type_name, p.default, p.help) for p in rust.inspect(cell)] == [
        ("steps", "i64", "400", "how long"),
        ("quick", "bool", "off", "the short forms"),
    ]
