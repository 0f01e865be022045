"""JupyterLab in a browser: a lesson with its pictures, the bar of a training, the stop button.

Needs chromium, node and npm: without one of them it is skipped, in CI (`CI=true`) it fails.
"""

import json
import os
import pathlib
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import nbformat
import pytest

HERE = pathlib.Path(__file__).parent / "browser"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LESSON = "02-noise.ipynb"
QUIET = {"fetchNews": "false", "checkForUpdates": False}  # JupyterLab asks about news at its first start


def missing(what):
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="module")
def chromium():
    found = [program for program in map(shutil.which, BROWSERS) if program]
    if not found:
        missing("chromium is missing: `apt-get install chromium`")
    return found[0]


@pytest.fixture(scope="module")
def driver():
    """The script beside its packages, in the environment of these tests."""
    for tool in ("node", "npm"):
        if not shutil.which(tool):
            missing("%s is missing: `apt-get install nodejs npm`" % tool)
    folder = pathlib.Path(sys.prefix) / "browser"
    folder.mkdir(exist_ok=True)
    lock = folder / "package-lock.json"
    same = lock.is_file() and lock.read_bytes() == (HERE / lock.name).read_bytes() and (folder / "node_modules").is_dir()
    for file in HERE.iterdir():
        shutil.copy(file, folder)
    if not same:
        npm = subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True, timeout=300)
        if npm.returncode:
            lock.unlink()
            missing("npm does not get playwright-core: " + npm.stderr.strip()[-300:])
    return folder / "lab.mjs"


@pytest.fixture
def jupyterlab(tmp_path):
    """A server on a copy of the lesson without outputs: its address, with token."""
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    book = nbformat.read("notebooks/" + LESSON, as_version=4)
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(book, notebooks / LESSON)
    settings = tmp_path / "settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(QUIET))

    port, token = free_port(), secrets.token_hex(16)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.port_retries=0"]
    command += ["--port=%d" % port, "--IdentityProvider.token=" + token, "--ServerApp.root_dir=%s" % notebooks]
    own = {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces", "JUPYTER_CONFIG_DIR": "config"}
    own.update(JUPYTER_DATA_DIR="data", JUPYTER_RUNTIME_DIR="runtime")
    environment = {**os.environ, **{name: str(tmp_path / folder) for name, folder in own.items()}}
    with open(tmp_path / "server.log", "w", encoding="utf-8") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        wait_for_answer("http://127.0.0.1:%d/api" % port, server, tmp_path / "server.log")
        yield "http://127.0.0.1:%d/lab/tree/%s?token=%s" % (port, LESSON, token)
    finally:
        server.terminate()
        server.wait(timeout=60)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_answer(address, server, log, patience=120):
    end = time.monotonic() + patience
    while time.monotonic() < end and server.poll() is None:
        try:
            return urllib.request.urlopen(address, timeout=10).read()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError("JupyterLab does not answer:\n" + log.read_text(encoding="utf-8")[-2000:])


def test_a_lesson_a_training_and_the_stop_button(chromium, driver, jupyterlab, tmp_path):
    cells = [cell for cell in nbformat.read("notebooks/" + LESSON, as_version=4).cells if cell.cell_type == "code"]
    command = ["node", str(driver), chromium, jupyterlab, str(tmp_path), str(len(cells))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    keep = os.environ.get("PAELLA_SCREENSHOTS")
    for file in tmp_path.glob("*.png") if keep else ():
        shutil.copy(file, keep)
    assert "fault" not in seen, done.stdout
    assert seen["kernel"].startswith("Paella (Rust)")

    assert seen["changed"] == 0, "a lesson that is only opened is changed"
    assert seen["before"] == {"counts": [0] * len(cells), "images": 0}, "outputs of an earlier run"
    assert seen["counts"] == list(range(1, len(cells) + 1))
    assert seen["errors"] == 0
    assert seen["images"] and all(image["width"] > 0 and image["height"] > 0 for image in seen["images"]), seen
    assert any(image["shown"] > 100 for image in seen["images"])

    first, second = seen["bar"]
    assert 0 < first < second < 100_000
    assert "kept" in seen["stopped"]
    name, step = re.fullmatch(r'\("([^"]+)", (\d+)\)', seen["status"]).groups()
    assert "emoji-64" in name and int(step) >= second
    assert (tmp_path / "lesson.png").stat().st_size > 10_000
