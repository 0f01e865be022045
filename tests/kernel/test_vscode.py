"""The messages of VS Code's Jupyter client, in its order. The editor itself is not run: this is what it sends.

It asks who the kernel is on two channels and once more before the first cell, runs silent cells for itself, opens a comm for
widgets, completes with positions in units of UTF-16, and runs cells that are not to be in the history.
"""

import pytest

from client import kinds_of, text_of


def reply_to(k, kind, content, channel="shell"):
    """Send a request by hand; its reply, and what came out beside it."""
    socket = getattr(k.client, channel + "_channel")
    message = k.client.session.msg(kind, content)
    socket.send(message)
    id = message["header"]["msg_id"]
    outputs = []
    while True:
        output = k.client.get_iopub_msg(timeout=60)
        if output["parent_header"].get("msg_id") == id:
            outputs.append(output)
            if output["msg_type"] == "status" and output["content"]["execution_state"] == "idle":
                break
    while kind.endswith("_request"):
        reply = getattr(k.client, "get_%s_msg" % channel)(timeout=60)
        if reply["parent_header"].get("msg_id") == id:
            return reply["content"], outputs
    return None, outputs


def test_a_session_in_the_order_of_vs_code(k):
    for channel in ("shell", "control", "shell"):
        info, outputs = reply_to(k, "kernel_info_request", {}, channel)
        assert info["language_info"]["name"] == "rust"
        assert [m["content"]["execution_state"] for m in outputs] == ["busy", "idle"]

    silent = {"code": "let hidden = 41;\nhidden + 1", "silent": True, "store_history": False, "user_expressions": {}, "allow_stdin": False, "stop_on_error": False}
    reply, outputs = reply_to(k, "execute_request", silent)
    assert reply["status"] == "ok" and reply["execution_count"] == 0
    assert kinds_of(outputs) == ["status", "status"]

    _, outputs = reply_to(k, "comm_open", {"comm_id": "a", "target_name": "jupyter.widget.control", "data": {}})
    assert "comm_close" in kinds_of(outputs)
    comms, _ = reply_to(k, "comm_info_request", {"target_name": "jupyter.widget"})
    assert comms["comms"] == {}

    shown = {**silent, "code": 'println!("shown"); hidden + 1', "silent": False}
    reply, outputs = reply_to(k, "execute_request", shown)
    assert reply["execution_count"] == 0 and text_of(outputs) == "shown\n"
    history, _ = reply_to(k, "history_request", {"hist_access_type": "tail", "n": 10, "output": False, "raw": True})
    assert history["history"] == []
    assert k.value("hidden + 2") == "43"

    least = {"code": "hidden", "silent": False}
    reply, outputs = reply_to(k, "execute_request", least)
    assert reply["status"] == "ok" and "execute_result" in kinds_of(outputs)


@pytest.mark.parametrize("code, start", [('let face = "😀"; hidd', 17), ("/* 😀😀 */ %", None), ("// 😀\n%noi", 7)])
def test_positions_in_units_of_utf16(k, code, start):
    k.ok("let hidden = 41;")
    units = len(code.encode("utf-16-le")) // 2
    reply, _ = reply_to(k, "complete_request", {"code": code, "cursor_pos": units})
    if start is None:  # behind a comment a `%` is no command: nothing to insert, at the cursor of the request
        assert reply["status"] == "ok"
        assert [match for match in reply["matches"] if match.startswith("%")] == []
        assert 0 <= reply["cursor_start"] <= reply["cursor_end"] <= units, reply
        return
    assert reply["matches"] and reply["cursor_end"] == units
    assert reply["cursor_start"] == start
    letters, _ = reply_to(k, "complete_request", {"code": code, "cursor_pos": len(code)})
    assert letters["matches"] == reply["matches"] and letters["cursor_end"] == len(code)
