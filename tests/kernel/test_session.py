"""Commands and Rust on one session, what they show, and whole notebooks."""

import subprocess
import sys

import nbformat
import pytest

from client import kernel, shown, text_of


def test_commands_and_cells_share_the_session(k):
    data = shown(k.ok("%show 0"))
    assert "image/png" in data and "text/html" in data and "text/plain" in data
    assert k.value("lab.workspace().picture.is_some()") == "true"
    k.ok('lab.set("sample.steps", "3")?;')
    assert "3" in shown(k.ok("%config sample.steps"))["text/plain"]


def test_commands_and_rust_mix_in_one_cell(k):
    outputs = k.ok("%seed 1\nlet s = lab.settings().seed;\ns")
    assert shown(outputs)["text/plain"] == "1"


def test_values_show_themselves(k):
    k.ok("%show 0\n%encode")
    grid = shown(k.ok("lab.workspace().tokens.as_ref().unwrap().shallow_clone()"))
    assert "<td" in grid["text/html"]
    assert "<table" in shown(k.ok("Tensor::from_slice(&[1.0f32, 2.5])"))["text/html"]
    assert "image/png" in shown(k.ok("Tensor::rand([3, 16, 16], (Kind::Float, Device::Cpu))"))
    schedule = shown(k.ok("lab.settings().sample.schedule()"))
    assert "<th>temperature</th>" in schedule["text/html"]
    config = shown(k.ok("lab.settings().sample.clone()"))
    assert "<td>steps</td>" in config["text/html"] and "steps" in config["text/plain"]
    assert "image/png" in shown(k.ok("%plot schedule"))
    assert "error: " in shown(k.ok('lab.set("bogus", "1")'))["text/plain"]


def test_a_plot_is_an_svg_with_text(k):
    data = shown(k.ok("%plot schedule"))
    assert data["image/svg+xml"].startswith("<svg") and ">\nThe schedule of a sampling run\n<" in data["image/svg+xml"]
    assert "text/html" not in data and "step 1 T" in data["text/plain"]
    assert sum(len(part) for part in data.values()) < 60_000


@pytest.mark.parametrize(
    "code, text",
    [
        ("Tensor::from(3.5f32)", "3.5000  [] Float"),
        ("Tensor::empty([0, 4], (Kind::Float, Device::Cpu))", "[0, 4] Float"),
        ("Tensor::from_slice(&[true, false]).view([1, 2])", "[1, 2] Bool, 1 of 2 true\ntrue  false"),
        ("Tensor::from_slice(&[1.5f32, f32::NAN]).to_kind(Kind::BFloat16)", "[2] BFloat16, 1.5000 to 1.5000, mean 1.5000, 1 not finite\n1.5000  NaN"),
        ("Tensor::ones([2], (Kind::Float, Device::Cpu)).set_requires_grad(true)", "[2] Float, 1 to 1, mean 1\n1  1"),
        ("Tensor::arange(6, (Kind::Int64, Device::Cpu)).view([2, 3])", "0 1 2\n3 4 5\n[2, 3] Int64, 0 to 5, mean 2.5000"),
        ("Some(Tensor::from(1i64))", "1  [] Int64"),
        ("None::<Tensor>", "None"),
        ("(Tensor::from(1i64), Tensor::from(2i64))", "1  [] Int64\n2  [] Int64"),
        ("vec![0.5f64, 1.5]", "[0.5, 1.5]"),
        ('"<b>&".to_string()', '"<b>&"'),
        ('Err::<(), paella::Error>(paella::Error::command("x < y", "here", "why"))', "error: x < y\n  in: here\n  hint: why"),
    ],
)
def test_small_values(k, code, text):
    assert k.value(code) == text


def test_values_are_escaped(k):
    data = shown(k.ok('vec![lab.data(paella::data::Part::Train)?.records[0].clone()]'))
    assert "<table" in data["text/html"]
    k.ok('let mut odd = lab.data(paella::data::Part::Train)?.records[0].clone();\nodd.caption = "<script>1 & 2</script>".into();')
    data = shown(k.ok("odd"))
    assert "&lt;script&gt;1 &amp; 2&lt;/script&gt;" in data["text/html"] and "<script>" not in data["text/html"]


@pytest.mark.parametrize(
    "code, parts",
    [
        ("lab", ["session on the model"]),
        ("lab.workspace()", ["images", "tokens"]),
        ("lab.settings().train.clone()", ["<td>steps</td>"]),
        ("lab.settings().tokenizer.clone()", ["<td>model.codebook_size</td>"]),
        ("lab.settings().data.clone()", ["<td>source</td>"]),
        ("Some(lab.settings().sample.schedule())", ["<th>temperature</th>"]),
        ("lab.data(paella::data::Part::Train)", ["pictures of 32 x 32 pixels", "data:image/png"]),
        ("lab.workspace().picture.as_ref().unwrap().clone()", ["data:image/png"]),
        ("lab.levels(None)?", ["<th>accuracy</th>"]),
        ("vec![paella::image::grid(&[], 1, 0); 2]", ["2 pictures"]),
    ],
)
def test_values_of_the_session(k, code, parts):
    k.ok("%load fashion\n%show 0\n%encode")
    data = shown(k.ok(code))
    for part in parts:
        assert part in data.get("text/html", "") + data["text/plain"], data


def test_tokens_of_the_session_have_the_colours_of_the_codebook(k):
    k.ok("%load fashion\n%show 0\n%encode")
    own = shown(k.ok("lab.workspace().tokens.as_ref().unwrap().shallow_clone()"))["text/html"]
    assert own.count("background:#") == 64
    other = shown(k.ok("Tensor::full([8, 8], 5000, (Kind::Int64, Device::Cpu))"))["text/html"]
    assert "background" not in other


def test_long_values_do_not_flood_the_notebook(k):
    assert len(k.value("(0..100_000).collect::<Vec<i32>>()")) < 5000
    assert "cut off" in k.value('"x".repeat(100_000)')
    k.ok("let records: Vec<paella::metrics::StepRecord> = (0..5000).map(|i| paella::metrics::StepRecord { step: i, loss: 1.0 / (i + 1) as f64, ..Default::default() }).collect();")
    data = shown(k.ok("records"))
    assert data["text/html"].count("<tr>") == 22 and "data:image/svg+xml" in data["text/html"]
    assert sum(len(part) for part in data.values()) < 60_000


def test_a_type_without_debug_gets_a_hint(k):
    k.ok("struct Plain { x: i32 }")
    reply, _ = k.run("Plain { x: 1 }")
    assert reply["status"] == "error" and "Debug" in "\n".join(reply["traceback"])


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
    k.ok("%load fashion")


def test_save_load_export(k, tmp_path):
    k.ok("%%save %s\n%%load %s\n%%export %s" % (tmp_path / "m", tmp_path / "m", tmp_path / "c.ron"))
    assert (tmp_path / "c.ron").is_file()
    k.ok("%load fashion")


def test_a_slow_dependency_shows_that_it_compiles(k, tmp_path):
    crate = tmp_path / "slow"
    (crate / "src").mkdir(parents=True)
    (crate / "Cargo.toml").write_text('[package]\nname = "slow"\nversion = "0.1.0"\nedition = "2024"\n')
    (crate / "build.rs").write_text("fn main() { std::thread::sleep(std::time::Duration::from_secs(3)); }\n")
    (crate / "src/lib.rs").write_text("pub fn eight() -> i32 { 8 }\n")
    outputs = k.ok(':dep slow = { path = "%s" }\nslow::eight()' % crate)
    kinds = ("display_data", "update_display_data")
    lines = [m["content"]["data"]["text/plain"] for m in outputs if m["msg_type"] in kinds]
    assert lines[0].startswith("compiling the crates of `:dep`: 1 s") and lines[-1].startswith("compiling the crates of `:dep` took"), lines
    assert shown(outputs)["text/plain"] == "8"


def test_the_first_await_shows_that_tokio_compiles():
    """As the first cell, which waits for the prelude: what the prelude runs is not what the cell runs."""
    with kernel() as k:
        cell = k.start_cell("async { 40 + 2 }.await")
        said = k.wait_for_output(cell, "display_data")["content"]["data"]["text/plain"]
        assert said.startswith("compiling tokio, which the first `.await` needs: "), said
        k.manager.interrupt_kernel()
        k.finish_cell(cell)


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


def completed(k, code):
    k.client.complete(code)
    while True:
        reply = k.client.get_shell_msg(timeout=60)
        if reply["msg_type"] == "complete_reply":
            return reply["content"]["matches"]


@pytest.mark.parametrize(
    "code, match",
    [("lab.enc", "encode"), ("%che", "check "), ("%check ha", "half"), ("%set sample.st", "sample.steps"), ("%load fas", "fashion")],
)
def test_completion_knows_the_session(k, code, match):
    matches = completed(k, code)
    assert any(m.startswith(match) for m in matches), matches


def test_completion_inserts_names_not_signatures(k):
    assert completed(k, "lab.enco") == ["encode"]
    matches = completed(k, "Tensor::zeros")
    assert "zeros" in matches and not [m for m in matches if "(" in m]
    assert not completed(k, "/*\n%che")


def test_every_command_is_listed_explained_and_helped_with(k):
    listed = shown(k.ok("%help"))["text/plain"]
    names = [m.strip() for m in completed(k, "%")]
    assert len(names) > 25 and "check" in names
    for name in names:
        assert name in listed, name
        assert "example:" in shown(k.ok("%%help %s" % name))["text/plain"], name
        page = k.run("%%%s?" % name)[0]["payload"][0]["data"]["text/plain"]
        assert page.startswith(name), page
        if name != "check":
            assert shown(k.ok("%%explain %s" % name))["text/plain"].strip(), name


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


def test_a_question_mark_that_fails_is_a_failed_cell(k):
    cells = [k.start_cell('let s = lab.set("bogus", "1")?;\nprintln!("not printed");'), k.start_cell('println!("not run");')]
    reply, outputs = k.finish_cell(cells[0])
    assert reply["status"] == "error" and "`?`" in reply["evalue"]
    assert "bogus" in text_of(outputs, "stderr") and "not printed" not in text_of(outputs)
    assert k.finish_cell(cells[1])[0]["status"] == "aborted"
    assert k.value('Some(3).ok_or("none")? + 1') == "4"


@pytest.mark.parametrize("tool", ["nbconvert", "papermill"])
def test_a_notebook_with_a_failed_cell_ends_with_an_exit_code(tmp_path, tool):
    file, done = tmp_path / "failing.ipynb", tmp_path / "done.ipynb"
    code = ['let s = lab.set("bogus", "1")?;', 'println!("not run");']
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in code])
    book.metadata["kernelspec"] = {"name": "paella", "display_name": "Paella (Rust)", "language": "rust"}
    nbformat.write(book, file)
    command = {
        "nbconvert": ["jupyter", "nbconvert", "--to", "notebook", "--execute", str(file), "--output", str(done)],
        "papermill": ["papermill", str(file), str(done)],
    }[tool]
    run = subprocess.run([sys.executable, "-m"] + command, capture_output=True, text=True, timeout=300)
    assert run.returncode != 0 and "not run\n" not in run.stdout


def test_a_command_in_a_text_or_comment_is_none(k):
    before = k.value("lab.status().1")
    assert k.value('/*\n%train 1\n*/\nlet text = "\n%train 1\n";\ntext.len()') == "10"
    assert k.value("lab.status().1") == before
