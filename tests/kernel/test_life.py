"""Output while a cell runs, interrupts, and what a dying cell leaves."""

import os
import signal
import time

import pytest

from client import all_gone, evaluator_of, kernel, kinds_of, processes_of, text_of


@pytest.fixture(scope="module")
def k():
    with kernel() as client:
        client.ok("let kept = 41;")
        yield client


def test_output_comes_while_the_cell_runs(k):
    cell = k.start_cell('print!("first"); std::thread::sleep(std::time::Duration::from_secs(3)); eprintln!("last");')
    message = k.wait_for_output(cell, "stream")
    seen = time.monotonic()
    assert message["content"]["text"] == "first"
    _, outputs = k.finish_cell(cell)
    assert time.monotonic() - seen > 1.5
    assert text_of(outputs, "stderr") == "last\n"


def test_many_lines_arrive(k):
    assert text_of(k.ok("for i in 0..20_000 { println!(\"{i}\"); }")) == "".join("%d\n" % i for i in range(20_000))


def test_many_lines_are_few_messages(k):
    """A page shows message after message: as few as Python's kernel sends, or nearly so."""
    outputs = k.ok("for i in 0..200_000 { println!(\"{i}\"); }")
    assert text_of(outputs) == "".join("%d\n" % i for i in range(200_000))
    with kernel(name="python3") as python:
        theirs = kinds_of(python.ok("for i in range(200_000): print(i)")).count("stream")
    assert kinds_of(outputs).count("stream") <= 2 * theirs + 2


def test_displays_are_replaced_in_place(k):
    outputs = k.ok("let mut slot = Slot::new(); for i in 0..5 { slot.show(&i); }")
    assert kinds_of(outputs).count("display_data") == 1
    updates = [m["content"] for m in outputs if m["msg_type"] == "update_display_data"]
    assert [u["data"]["text/plain"] for u in updates] == ["1", "2", "3", "4"]


def test_an_interrupt_ends_a_loop_over_progress_and_keeps_all(k):
    k.ok("let mut seen: Vec<usize> = Vec::new();")
    cell = k.start_cell("for i in progress(0..1000) { seen.push(i); std::thread::sleep(std::time::Duration::from_millis(20)); }")
    k.wait_for_output(cell, "update_display_data")
    k.manager.interrupt_kernel()
    reply, outputs = k.finish_cell(cell)
    assert (reply["status"], reply["ename"]) == ("error", "Interrupted")
    assert 0 < int(k.value("seen.len()")) < 1000
    assert k.value("kept") == "41"


def test_an_interrupt_ends_training_and_keeps_the_model(k):
    cell = k.start_cell("%train 100000")
    k.wait_for_output(cell, "update_display_data")
    k.manager.interrupt_kernel()
    reply, outputs = k.finish_cell(cell)
    assert reply["ename"] == "Interrupted"
    results = [m["content"]["data"]["text/plain"] for m in outputs if m["msg_type"] == "execute_result"]
    assert "the model keeps them" in results[0]
    assert int(k.value("lab.log().len()")) > 0
    k.ok("%undo")


def test_stop_during_a_question_ends_the_cell_and_a_late_answer_goes_nowhere(k):
    cell = k.start_cell('let answer = input("name? ");\nprintln!("not printed");', allow_stdin=True)
    k.client.get_stdin_msg(timeout=60)
    k.manager.interrupt_kernel()
    reply, outputs = k.finish_cell(cell, patience=20)
    assert reply["ename"] == "Interrupted" and not text_of(outputs)
    k.client.input("late")
    time.sleep(0.5)
    cell = k.start_cell('let answer = input("again? ");\nanswer', allow_stdin=True)
    assert k.client.get_stdin_msg(timeout=60)["content"]["prompt"] == "again? "
    k.client.input("Ada")
    _, outputs = k.finish_cell(cell)
    assert [m["content"]["data"]["text/plain"] for m in outputs if m["msg_type"] == "execute_result"] == ['"Ada"']
    assert k.value("kept") == "41"


def test_the_death_of_the_evaluator_ends_a_question(k):
    cell = k.start_cell('input("name? ");', allow_stdin=True)
    k.client.get_stdin_msg(timeout=60)
    os.kill(evaluator_of(k), signal.SIGKILL)
    reply, _ = k.finish_cell(cell, patience=30)
    assert reply["ename"] == "EvaluatorDied"
    k.ok("let kept = 41;")


def test_a_question_without_a_person_is_an_error(k):
    reply, _ = k.run('let a = 1;\ninput("name? ");', allow_stdin=False)
    assert reply["status"] == "error" and "nobody can answer `name? `" in reply["evalue"]
    assert "line 2" in "".join(reply["traceback"])


def test_stop_while_a_cell_is_compiled_ends_it_before_it_runs(k):
    k.ok("1")
    many = "\n".join('println!("{}", [%d, 2].iter().map(|x| x + 1).sum::<i32>());' % i for i in range(1500))
    cell = k.start_cell('println!("it runs");\n' + many)
    time.sleep(0.7)
    k.manager.interrupt_kernel()
    reply, outputs = k.finish_cell(cell)
    assert reply["ename"] == "Interrupted" and "before the cell was run" in reply["evalue"], reply
    assert not text_of(outputs)
    assert k.value("kept") == "41"


@pytest.mark.parametrize("victim", ["evaluate", "guard", "evaluate with a child"])
def test_an_evaluator_that_is_killed_while_idle_is_noticed_and_replaced(k, victim):
    k.ok("fn kept_function() -> i32 { 5 }")
    if "child" in victim:  # it keeps the outputs open
        k.ok('std::process::Command::new("sleep").arg("20").spawn()?;')
    cell = k.start_cell("let lost = 1;")
    k.finish_cell(cell)
    os.kill(evaluator_of(k, victim.split()[0]), signal.SIGKILL)
    said = k.wait_for_output(cell, "stream", patience=20)["content"]
    assert said["name"] == "stderr" and "lost: all variables" in said["text"] and "a new `lab` is ready" in said["text"]
    assert k.value("kept_function()") == "5"
    assert "emoji" in k.value("lab.status().0")
    assert k.run("lost")[0]["ename"] == "E0425"
    k.ok("let kept = 41;")


def test_a_cell_right_after_a_kill_runs(k):
    os.kill(evaluator_of(k), signal.SIGKILL)
    cell = k.start_cell("6 * 7")
    reply, outputs = k.finish_cell(cell, patience=60)
    assert reply["status"] == "ok" or reply["ename"] == "EvaluatorDied", reply
    assert k.value("6 * 7") == "42"
    k.ok("let kept = 41;")


def test_a_home_is_not_needed():
    env = {name: value for name, value in os.environ.items() if name != "HOME"}
    env.setdefault("PAELLA_KERNEL_CACHE", os.path.join(os.path.expanduser("~"), ".cache/paella"))
    with kernel(env=env) as client:
        client.ok("let a = 41;")
        assert client.value("a + 1") == "42" and "emoji" in client.value("lab.status().0")


def test_neither_a_home_nor_a_cache_is_needed(tmp_path):
    """Without them the folder for temporary files holds what is prepared; here it is the one that is there."""
    there = os.environ.get("PAELLA_KERNEL_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "paella")
    (tmp_path / "paella").symlink_to(there)
    unset = ("HOME", "XDG_CACHE_HOME", "PAELLA_KERNEL_CACHE")
    env = {name: value for name, value in os.environ.items() if name not in unset}
    with kernel(env={**env, "TMPDIR": str(tmp_path)}) as client:
        client.ok("let a = 41;")
        assert client.value("a + 1") == "42"


def test_a_panic_keeps_the_kernel(k):
    reply, _ = k.run('let lost = 1;\npanic!("on purpose");')
    assert reply["ename"] == "Panic" and reply["evalue"] == "on purpose"
    assert "line 2" in "".join(reply["traceback"])
    assert k.value("kept") == "41"


def test_errors_stand_at_their_place(k):
    reply, _ = k.run('let x: i32 = "text";')
    assert reply["ename"] == "E0308"
    trace = "\n".join(reply["traceback"])
    assert "cell" in trace and "\x1b[" in trace
    reply, _ = k.run("show 0")
    assert "%show 0" in "\n".join(reply["traceback"])


def test_a_failed_command_says_why(k):
    reply, _ = k.run("%noise 7")
    assert reply["ename"] == "CommandError" and "hint" in "\n".join(reply["traceback"])
    reply, _ = k.run("%nois 0.5")
    assert "did you mean" in "\n".join(reply["traceback"])


@pytest.mark.parametrize(
    "code, how",
    [("std::process::exit(3);", "3"), ("unsafe { *(8 as *mut u8) = 1; }", "signal"), ("std::process::abort();", "signal")],
)
def test_a_dead_evaluator_is_replaced(k, code, how):
    k.ok("fn kept_function() -> i32 { 5 }")
    reply, outputs = k.run('println!("before"); ' + code)
    assert reply["ename"] == "EvaluatorDied", reply
    trace = "\n".join(reply["traceback"])
    assert how in trace and "lost: all variables" in trace
    assert text_of(outputs) == "before\n"
    assert k.value("kept_function()") == "5"
    assert "emoji" in k.value("lab.status().0")
    k.ok("let kept = 41;")


def test_a_second_interrupt_ends_what_never_asks(k):
    cell = k.start_cell("loop { std::hint::spin_loop(); }")
    time.sleep(3)
    k.manager.interrupt_kernel()
    time.sleep(0.6)
    k.manager.interrupt_kernel()
    reply, _ = k.finish_cell(cell)
    assert reply["ename"] == "EvaluatorDied" and "second interrupt" in reply["evalue"]
    assert k.value("1 + 1") == "2"
    k.ok("let kept = 41;")


def test_cells_behind_an_error_are_not_run(k):
    first, second = k.start_cell('panic!("stop");'), k.start_cell('println!("not run");')
    assert k.finish_cell(first)[0]["status"] == "error"
    assert k.finish_cell(second)[0]["status"] == "aborted"


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_shutdown_leaves_nothing_behind(transport):
    with kernel(transport) as client:
        assert client.value("2 + 2") == "4"
        pids = processes_of(client.manager.provisioner.process.pid)
        assert len(pids) >= 3
    assert all_gone(pids)


def test_restart_leaves_nothing_behind():
    with kernel() as client:
        client.ok("let a = 1;")
        pids = processes_of(client.manager.provisioner.process.pid)
        client.manager.restart_kernel(now=False)
        client.client.wait_for_ready(timeout=120)
        assert all_gone(pids)
        reply, _ = client.run("a")
        assert reply["ename"] == "E0425"


def test_a_killed_kernel_takes_its_processes_along():
    with kernel() as client:
        client.ok("let a = 1;")
        process = client.manager.provisioner.process
        pids = processes_of(process.pid)
        process.kill()
        process.wait()
        assert all_gone(pids[1:])


def test_messages_with_a_wrong_signature_are_refused(k):
    right = k.client.session.key
    k.client.session.key = b"somebody else"
    wrong = k.start_cell('println!("forged");')
    k.client.session.key = right
    outputs = k.ok('println!("true");')
    assert text_of(outputs) == "true\n"
    assert all(m["parent_header"].get("msg_id") != wrong for m in outputs)
    assert int(k.value("40 + 2")) == 42
