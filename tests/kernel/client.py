"""A kernel to talk to: run a cell, collect what comes back."""

import contextlib
import os
import time

from jupyter_client.manager import KernelManager

PATIENCE = 120


class Client:
    def __init__(self, manager, client):
        self.manager, self.client = manager, client

    def start_cell(self, code, **options):
        return self.client.execute(code, **options)

    def finish_cell(self, cell, patience=PATIENCE):
        """The reply and all outputs of a cell, up to idle."""
        outputs = []
        while True:
            message = self.client.get_iopub_msg(timeout=patience)
            if message["parent_header"].get("msg_id") != cell:
                continue
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
            outputs.append(message)
        while True:
            reply = self.client.get_shell_msg(timeout=patience)
            if reply["parent_header"].get("msg_id") == cell:
                return reply["content"], outputs

    def run(self, code, **options):
        return self.finish_cell(self.start_cell(code, **options))

    def ok(self, code):
        reply, outputs = self.run(code)
        assert reply["status"] == "ok", reply
        return outputs

    def value(self, code):
        """The text of the cell's value."""
        results = [m for m in self.ok(code) if m["msg_type"] == "execute_result"]
        return results[-1]["content"]["data"]["text/plain"]

    def wait_for_output(self, cell, kind, patience=PATIENCE):
        """The first output of that kind of a running cell."""
        while True:
            message = self.client.get_iopub_msg(timeout=patience)
            if message["parent_header"].get("msg_id") == cell and message["msg_type"] == kind:
                return message


def text_of(outputs, stream="stdout"):
    streams = [m["content"] for m in outputs if m["msg_type"] == "stream"]
    return "".join(c["text"] for c in streams if c["name"] == stream)


def shown(outputs):
    """The last value of a cell, by MIME type."""
    return [m["content"]["data"] for m in outputs if m["msg_type"] == "execute_result"][-1]


def kinds_of(outputs):
    return [m["msg_type"] for m in outputs]


@contextlib.contextmanager
def kernel(transport="tcp", name="paella", **options):
    manager = KernelManager(kernel_name=name, transport=transport)
    manager.start_kernel(**options)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE)
        yield Client(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=False)


def processes_of(pid):
    """The process and everything that descends from it."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, IndexError):
                with open("/proc/%s/stat" % entry, encoding="utf-8") as file:
                    parent = int(file.read().rsplit(")", 1)[1].split()[1])
                children.setdefault(parent, []).append(int(entry))
    found, queue = [], [pid]
    while queue:
        one = queue.pop()
        found.append(one)
        queue.extend(children.get(one, []))
    return found


def evaluator_of(k, word="evaluate"):
    """The process number of the kernel's evaluator, or of its guard (`guard`)."""
    for pid in processes_of(k.manager.provisioner.process.pid):
        with contextlib.suppress(OSError):
            with open("/proc/%d/cmdline" % pid, "rb") as file:
                if word.encode() in file.read().split(b"\0"):
                    return pid
    raise AssertionError("no process `%s`" % word)


def all_gone(pids, patience=10):
    end = time.monotonic() + patience
    while any(os.path.exists("/proc/%d" % pid) for pid in pids):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
