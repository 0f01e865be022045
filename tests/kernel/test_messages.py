"""What the kernel's processes say to each other: unknown messages are errors that are shown."""

import json
import os
import socket
import subprocess

import pytest

import prepared
from client import kernel


@pytest.mark.parametrize("message", ['{\\"kind\\":\\"bogus\\"}', '{\\"kind\\":\\"exit\\"}', "no JSON"])
def test_an_unknown_event_fails_its_cell(k, message):
    reply, _ = k.run('println!("\\u{1}paella\\u{2}{}", "%s");' % message)
    assert reply["status"] == "error" and reply["ename"] == "KernelError"
    text = "\n".join(reply["traceback"])
    assert "is not understood" in text and "hint:" in text, text
    assert k.value("6 * 7") == "42"


class Evaluator:
    """An evaluator behind its guard, with this test in the kernel's place."""

    def __init__(self, folder):
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(folder / "bus"))
        server.listen()
        ready = prepared.folder(prepared.cache())
        path = (ready / "library-path").read_text().replace("\n", ":")
        command = [prepared.program(), "guard", str(ready / "libpaella_notebook.so"), str(folder / "bus")]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env={**os.environ, "LD_LIBRARY_PATH": path})
        self.bus, _ = server.accept()
        self.bus.settimeout(60)
        self.events = self.bus.makefile()

    def hear(self):
        return json.loads(self.events.readline())

    def say(self, text):
        self.bus.sendall(text.encode() + b"\n")


def test_an_unknown_request_is_refused(tmp_path):
    evaluator = Evaluator(tmp_path)
    try:
        hello = evaluator.hear()
        assert hello["kind"] == "hello" and hello["pid"] > 0
        assert evaluator.hear() == {"kind": "ready"}
        evaluator.say('{"kind":"bogus"}')
        refused = evaluator.hear()
        assert refused["kind"] == "refused" and "unknown variant `bogus`" in refused["text"]
        evaluator.say('{"kind":"words","start":0,"words":[]}')
        assert "has not asked" in evaluator.hear()["text"]
        evaluator.say('{"kind":"sync"}')
        assert evaluator.hear() == {"kind": "synced"}
    finally:
        evaluator.process.kill()
        evaluator.process.wait()
