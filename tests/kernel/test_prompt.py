"""`paella --rust`: the prompt with commands and Rust on one session, through a pipe and at a terminal."""

import contextlib
import os
import pty
import re
import select
import subprocess
import time

import pytest
from jupyter_client.kernelspec import get_kernel_spec

PATIENCE = 120


def program():
    return [get_kernel_spec("paella").argv[0], "prompt"]


def environment(folder):
    return dict(os.environ, XDG_DATA_HOME=str(folder), PAELLA_RUNS=str(folder / "runs"), NO_COLOR="1")


def piped(text, folder, **more):
    env = dict(environment(folder), **more)
    return subprocess.run(program(), input=text, capture_output=True, text=True, timeout=PATIENCE, env=env)


def test_commands_and_rust_share_the_session(tmp_path):
    done = piped('seed 41\nlet s = lab.settings().seed + 1;\ns\nfn twice(x: u64) -> u64 {\n    2 * x\n}\ntwice(s)\nnoise.size()\n', tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "42" in lines and "84" in lines, done.stdout
    assert "E0425" in done.stderr or "cannot find value `noise`" in done.stderr, done.stderr


def test_errors_stand_at_their_place_and_lose_nothing(tmp_path):
    done = piped('let a = 20;\nlet b: i32 = "x";\npanic!("no");\nsmaple "red apple"\na + 1\nnoise 7\n', tmp_path)
    assert done.returncode == 0
    assert "mismatched types" in done.stderr and 'let b: i32 = "x";' in done.stderr, done.stderr
    assert "panic" in done.stderr and "did you mean `sample`" in done.stderr, done.stderr
    assert "hint:" in done.stderr.split("did you mean")[1], done.stderr  # of `noise 7`
    assert "21" in done.stdout.splitlines(), done.stdout


def test_values_and_pictures_show_themselves(tmp_path):
    done = piped('show 0\nlab.encode()\nlab.workspace().tokens.as_ref().map(|t| t.size())\nprintln!("one"); 2\n', tmp_path)
    assert "[1, 16, 16]" in done.stdout, done.stdout + done.stderr
    assert done.stdout.index("one\n") < done.stdout.index("2\n", done.stdout.index("one\n"))


def test_the_session_begins_as_it_is_asked_to(tmp_path):
    done = piped("lab.status().0\n", tmp_path, PAELLA_MODEL="fashion")
    assert '"fashion"' in done.stdout, done.stdout + done.stderr
    done = piped("", tmp_path, PAELLA_MODEL="nowhere")
    assert "nowhere" in done.stderr, done.stderr


class Screen:
    """A terminal with the prompt in it."""

    def __init__(self, folder):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            env = dict(environment(folder), TERM="xterm", COLUMNS="100", LINES="40")
            os.execve(program()[0], program(), env)
        self.text = ""

    def read(self, pattern):
        """Until `pattern` is on the screen behind what was read before; the text up to its end."""
        end = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self.text)):
            assert time.monotonic() < end, self.text
            if select.select([self.terminal], [], [], 1)[0]:
                with contextlib.suppress(OSError):
                    self.text += os.read(self.terminal, 1 << 16).decode(errors="replace")
        text, self.text = self.text[: found.end()], self.text[found.end() :]
        return text

    def type(self, text):
        os.write(self.terminal, text.encode())


@pytest.fixture
def screen(tmp_path):
    screen = Screen(tmp_path)
    yield screen
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(screen.pid, 9)
        os.waitpid(screen.pid, 0)
    os.close(screen.terminal)


def test_a_terminal_completes_stops_and_survives(screen):
    screen.read(r"emoji-64> ")
    screen.type("let kind_of = 3;\r")
    screen.read(r"emoji-64> ")
    screen.type("1 + kind_\t\r")
    screen.read(r"\r\n4\r\n")
    screen.type("for i in progress(0..100000) { std::thread::sleep(std::time::Duration::from_millis(10)); }\r")
    screen.read(r"\d of 100000")
    screen.type("\x03")
    screen.read(r"variables and the model are kept")
    screen.read(r"emoji-64> ")
    screen.type("kind_of\r")
    screen.read(r"\r\n3\r\n")
    screen.type("std::process::exit(3)\r")
    screen.read(r"ended: exit status: 3")
    screen.read(r"lost: all variables")
    screen.read(r"emoji-64> ")
    screen.type("seed 5\r")
    screen.read(r"emoji-64> ")
    screen.type("lab.settings().seed * 2\r")
    screen.read(r"\r\n10\r\n")
    screen.type("quit\r")
    assert os.waitpid(screen.pid, 0)[1] == 0
