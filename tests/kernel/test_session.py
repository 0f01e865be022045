"""Commands and Rust on one session, what they show, and whole notebooks."""

import subprocess
import sys

import nbformat
import pytest

from client import kernel, text_of


@pytest.fixture(scope="module")
def k():
    with kernel() as client:
        yield client


def shown(outputs):
    return [m["content"]["data"] for m in outputs if m["msg_type"] == "execute_result"][-1]


def test_commands_and_cells_share_the_session(k):
    data = shown(k.ok("%show 0"))
    assert "image/png" in data and "text/html" in data and "text/plain" in data
    assert k.value("lab.desk().picture.is_some()") == "true"
    k.ok('lab.set("sample.steps", "3")?;')
    assert "3" in shown(k.ok("%config sample.steps"))["text/plain"]


def test_commands_and_rust_mix_in_one_cell(k):
    outputs = k.ok("%seed 1\nlet s = lab.settings().seed;\ns")
    assert shown(outputs)["text/plain"] == "1"


def test_values_show_themselves(k):
    k.ok("%show 0\n%encode")
    grid = shown(k.ok("lab.desk().tokens.as_ref().unwrap().shallow_clone()"))
    assert "<td" in grid["text/html"]
    assert "<table" in shown(k.ok("Tensor::from_slice(&[1.0f32, 2.5])"))["text/html"]
    assert "image/png" in shown(k.ok("Tensor::rand([3, 16, 16], (Kind::Float, Device::Cpu))"))
    plan = shown(k.ok("lab.settings().sample.plan()"))
    assert "<th>temperature</th>" in plan["text/html"]
    config = shown(k.ok("lab.settings().sample.clone()"))
    assert "<td>steps</td>" in config["text/html"] and "steps" in config["text/plain"]
    assert "image/png" in shown(k.ok("%plot schedule"))
    assert "error: " in shown(k.ok('lab.set("bogus", "1")'))["text/plain"]


def test_types_of_the_standard_library_are_known(k):
    k.ok("use std::collections::HashMap;\nlet mut ages: HashMap<String, i32> = HashMap::new();\nages.insert(\"Ada\".into(), 36);")
    k.ok("let age = ages.get(\"Ada\").copied();")
    assert k.value("age") == "Some(36)"


def test_sampling_shows_a_picture(k):
    assert "image/png" in shown(k.ok('%sample "red apple" steps=2 seed=1'))


def test_a_config_cell(k, tmp_path):
    file = tmp_path / "tiny.ron"
    with open("configs/smoke.ron", encoding="utf-8") as config:
        text = config.read()
    assert "model" in shown(k.ok("%%%%ron %s\n%s" % (file, text)))["text/plain"]
    reply, _ = k.run("%%ron\n(bogus: 1)")
    assert reply["ename"] == "CommandError" and "bogus" in reply["evalue"]
    k.ok("%load emoji-32")


def test_save_load_export(k, tmp_path):
    k.ok("%%save %s\n%%load %s\n%%export %s" % (tmp_path / "m", tmp_path / "m", tmp_path / "c.ron"))
    assert (tmp_path / "c.ron").is_file()
    k.ok("%load emoji-32")


def test_a_dependency_of_the_user(k, tmp_path):
    crate = tmp_path / "tiny"
    (crate / "src").mkdir(parents=True)
    (crate / "Cargo.toml").write_text('[package]\nname = "tiny"\nversion = "0.1.0"\nedition = "2024"\n')
    (crate / "src/lib.rs").write_text("pub fn seven() -> i32 { 7 }\n")
    k.ok(':dep tiny = { path = "%s" }' % crate)
    assert k.value("tiny::seven() + lab.settings().seed as i32 * 0") == "7"


def test_questions_reach_the_person(k):
    cell = k.start_cell('let answer = input("name? ");\nanswer', allow_stdin=True)
    question = k.client.get_stdin_msg(timeout=60)
    assert question["content"]["prompt"] == "name? "
    k.client.input("Ada")
    _, outputs = k.finish_cell(cell)
    assert shown(outputs)["text/plain"] == '"Ada"'


def test_completion_knows_the_session(k):
    k.client.complete("lab.enc")
    while True:
        reply = k.client.get_shell_msg(timeout=60)
        if reply["msg_type"] == "complete_reply":
            break
    assert any(m.startswith("encode") for m in reply["content"]["matches"]), reply["content"]


NOTEBOOK = ["%help", "%show 0", "let xs = Tensor::arange(4, (Kind::Int64, Device::Cpu));\nxs.size()", 'println!("done");']


@pytest.fixture
def notebook(tmp_path):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in NOTEBOOK])
    book.metadata["kernelspec"] = {"name": "paella", "display_name": "Paella (Rust)", "language": "rust"}
    file = tmp_path / "small.ipynb"
    nbformat.write(book, file)
    return file


def outputs_of(file):
    cells = nbformat.read(file, as_version=4).cells
    return [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]


@pytest.mark.parametrize("tool", ["nbconvert", "papermill"])
def test_notebooks_run_without_a_person(notebook, tmp_path, tool):
    done = tmp_path / "done.ipynb"
    command = {
        "nbconvert": ["jupyter", "nbconvert", "--to", "notebook", "--execute", str(notebook), "--output", str(done)],
        "papermill": ["papermill", str(notebook), str(done)],
    }[tool]
    module = [sys.executable, "-m"] + command
    run = subprocess.run(module, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    outputs = outputs_of(done)
    assert any(o.get("text") == "done\n" for o in outputs)
    assert any(o.get("data", {}).get("text/plain") == "[4]" for o in outputs)
