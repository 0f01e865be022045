"""Several kernels at once, both transports, and a machine without a network."""

import contextlib
import pathlib
import socket
import subprocess
import sys

import nbformat
import pytest

import network
from client import kernel, shown, text_of


@pytest.fixture(scope="module")
def pair():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(kernel()) for _ in range(2)]


def test_two_kernels_have_a_session_each(pair):
    one, two = pair
    one.ok("%load fashion\n%seed 7\nlet name = \"one\";")
    two.ok("%seed 8\nlet name = \"two\";")
    assert "fashion" in one.value("lab.status().0") and "emoji-64" in two.value("lab.status().0")
    assert (one.value("lab.settings().seed"), two.value("lab.settings().seed")) == ("7", "8")
    assert (one.value("name"), two.value("name")) == ('"one"', '"two"')
    reply, _ = two.run("only_in_one")
    assert reply["ename"] == "E0425"


def test_two_kernels_at_work_do_not_mix_their_outputs(pair):
    """Both write and compile at the same time; each line, picture and number comes from its own kernel."""
    code = 'for i in 0..3000 { println!("%s {i}"); if i %% 50 == 0 { std::thread::sleep(std::time::Duration::from_millis(5)); } }'
    cells = [k.start_cell(code % name) for k, name in zip(pair, ("one", "two"))]
    values = [k.start_cell("%d + 0" % number) for k, number in zip(pair, (111, 222))]
    pictures = [k.start_cell("%%sample \"%s\" steps=2 seed=1" % text) for k, text in zip(pair, ("red apple", "tiger face"))]
    for k, name, cell, value, picture, number, text in zip(
        pair, ("one", "two"), cells, values, pictures, ("111", "222"), ("red apple", "tiger face")
    ):
        assert text_of(k.finish_cell(cell)[1]) == "".join("%s %d\n" % (name, i) for i in range(3000))
        assert shown(k.finish_cell(value)[1])["text/plain"] == number
        data = shown(k.finish_cell(picture)[1])
        assert "image/png" in data and text in data["text/plain"] + data["text/html"]


def test_an_interrupt_stops_one_kernel_only(pair):
    one, two = pair
    code = "let mut rounds = 0; for _ in progress(0..150) { rounds += 1; std::thread::sleep(std::time::Duration::from_millis(20)); }"
    cells = [k.start_cell(code) for k in pair]
    for k, cell in zip(pair, cells):
        k.wait_for_output(cell, "update_display_data")
    one.manager.interrupt_kernel()
    assert one.finish_cell(cells[0])[0]["ename"] == "Interrupted"
    assert two.finish_cell(cells[1])[0]["status"] == "ok"
    assert int(one.value("rounds")) < 150 and two.value("rounds") == "150"


def test_the_death_of_one_evaluator_leaves_the_other_alone(pair):
    one, two = pair
    two.ok("let kept = 5;")
    reply, _ = one.run("std::process::abort();")
    assert reply["ename"] == "EvaluatorDied"
    assert two.value("kept") == "5"
    assert one.value("1 + 1") == "2"


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_everything_goes_over(transport):
    """Each of the channels, by either transport."""
    with kernel(transport) as k:
        assert k.client.get_connection_info()["transport"] == transport
        assert "image/png" in shown(k.ok("%show 0"))
        assert text_of(k.ok('println!("out"); eprintln!("err");'), "stderr") == "err\n"
        cell = k.start_cell('let answer = input("name? ");\nanswer', allow_stdin=True)
        assert k.client.get_stdin_msg(timeout=60)["content"]["prompt"] == "name? "
        k.client.input("Ada")
        assert shown(k.finish_cell(cell)[1])["text/plain"] == '"Ada"'
        cell = k.start_cell("%train 100000")
        k.wait_for_output(cell, "update_display_data")
        k.manager.interrupt_kernel()
        reply, _ = k.finish_cell(cell)
        assert reply["ename"] == "Interrupted"
        assert int(k.value("lab.log().len()")) > 0
        assert k.client.is_alive()


CELLS = [
    '%sample "red apple" steps=2 seed=1',
    "use std::collections::HashMap;\nlet t = Tensor::arange(4, (Kind::Int64, Device::Cpu));\nt.size()",
    ':dep tiny = { path = "PLACE" }',
    'let sizes: HashMap<&str, i64> = [("t", tiny::seven())].into();\nprintln!("{:?}", sizes.get("t"));',
]


def test_a_notebook_needs_no_network(tmp_path):
    """A new kernel, commands, cells, and a crate of one's own, by papermill; the namespace is empty but for loopback."""
    crate = tmp_path / "tiny"
    (crate / "src").mkdir(parents=True)
    (crate / "Cargo.toml").write_text('[package]\nname = "tiny"\nversion = "0.1.0"\nedition = "2024"\n')
    (crate / "src/lib.rs").write_text("pub fn seven() -> i64 { 7 }\n")
    cells = [nbformat.v4.new_code_cell(code.replace("PLACE", str(crate))) for code in CELLS]
    metadata = {"kernelspec": {"name": "paella", "display_name": "Paella (Rust)", "language": "rust"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), tmp_path / "in.ipynb")
    command = [sys.executable, "-m", "papermill", str(tmp_path / "in.ipynb"), str(tmp_path / "out.ipynb")]
    command, environment, how = network.without(command)
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, how + "\n" + run.stderr
    picture, size, _, line = nbformat.read(pathlib.Path(tmp_path / "out.ipynb"), as_version=4).cells
    assert "image/png" in picture.outputs[-1].data
    assert size.outputs[-1].data["text/plain"] == "[4]"
    assert line.outputs[-1].text == "Some(7)\n"


def test_without_a_network_nothing_can_be_reached():
    """The test above means something: the same wrapper cannot reach a port that is open outside."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        address = "http://127.0.0.1:%d" % server.getsockname()[1]
        code = "import os, socket, sys; h, p = sys.argv[1][7:].split(':'); proxy = os.environ.get('HTTP_PROXY')\n"
        code += "if proxy: sys.exit('proxy' if '127.0.0.1:9' in proxy else 0)\n"
        code += "try: socket.create_connection((h, int(p)), 5)\nexcept OSError: sys.exit('refused')"
        command, environment, how = network.without([sys.executable, "-c", code, address])
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert run.returncode == 1 and run.stderr.strip() in ("refused", "proxy"), how
