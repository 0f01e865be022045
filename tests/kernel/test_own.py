"""What the kernel does by itself: `%who`, `%time`, values in replies, hints about the session, errors that can be read."""

import re

import pytest

from client import shown, text_of


def trace(reply):
    return "\n".join(reply["traceback"])


def test_who_lists_the_variables(k):
    k.ok("let counted = 3u8;\nlet word = String::from(\"a\");")
    lines = shown(k.ok("%who"))["text/plain"].splitlines()
    assert "counted  u8" in lines and any(line.split() == ["lab", "paella::session::Session"] for line in lines), lines


@pytest.mark.parametrize("code", ["%time 6 * 7", "%time %config sample.steps", "%%time\nlet a = 6;\na * 7"])
def test_time_tells_how_long_it_took(k, code):
    outputs = k.ok(code)
    assert re.search(r"time: \d+\.\d{3} s(, \d+\.\d{3} s of them to compile)?\n", text_of(outputs)), outputs
    assert ("to compile" in text_of(outputs)) == ("%config" not in code)
    assert shown(outputs)["text/plain"]


def test_time_without_anything_says_what_it_wants(k):
    reply, _ = k.run("%time")
    assert reply["ename"] == "CommandError" and "%time lab.encode()" in trace(reply)


def test_expressions_of_a_request_are_answered_in_its_reply(k):
    reply, outputs = k.run("let a = 20;", user_expressions={"twice": "a * 2", "wrong": "nothing_here", "size": "vec![1, 2].len()"})
    found = reply["user_expressions"]
    assert found["twice"]["status"] == "ok" and found["twice"]["data"]["text/plain"] == "40"
    assert found["size"]["data"]["text/plain"] == "2"
    assert found["wrong"]["status"] == "error" and found["wrong"]["ename"] == "E0425"
    assert not outputs or {m["msg_type"] for m in outputs} <= {"status", "execute_input"}


def test_a_cell_that_takes_lab_away_says_how_it_comes_back(k):
    outputs = k.ok("let x = lab;")
    assert "`let mut lab = x;` brings it back" in text_of(outputs, "stderr"), outputs
    reply, _ = k.run("lab.status()")
    assert reply["ename"] == "E0425" and "`let mut lab = NAME;`" in trace(reply)
    k.ok("let mut lab = x;")
    assert "`let mut lab = paella::session()?;`" in text_of(k.ok("drop(lab);"), "stderr")
    k.ok("let mut lab = paella::session()?;")
    assert "emoji" in k.value("lab.status().0")


def test_pictures_have_a_type_with_a_name(k):
    k.ok("let picture: RgbImage = RgbImage::new(3, 2);")
    assert "3 x 2 pixels" in shown(k.ok("picture"))["text/plain"]


def test_flags_of_a_command_are_refused_with_the_line_that_works(k):
    reply, _ = k.run('%sample "red apple" --count 2 --steps=2 negative="a fox"')
    assert "`--count` is no setting" in reply["evalue"]
    assert '`%sample "red apple" count=2 steps=2 negative="a fox"`' in trace(reply)


SIZES = """let a = Tensor::ones([2, 3], (Kind::Float, Device::Cpu));
let b = Tensor::ones([2, 4], (Kind::Float, Device::Cpu));

let c = a.matmul(&b);"""


def test_an_error_of_libtorch_is_a_sentence_at_its_line(k):
    reply, _ = k.run(SIZES)
    text = trace(reply)
    assert reply["evalue"] == "libtorch: mat1 and mat2 shapes cannot be multiplied (2x3 and 2x4)"
    assert "line 4: let c = a.matmul(&b);" in text and len(text.splitlines()) < 6, text
    assert "frame #" not in text and "\\n" not in text


def test_errors_of_libtorch_are_short_everywhere(k):
    k.ok(SIZES.rsplit("\n", 1)[0])
    assert shown(k.ok("a.f_matmul(&b)"))["text/plain"].count("\n") == 0
    reply, outputs = k.run("let c = a.f_matmul(&b)?;")
    said = text_of(outputs, "stderr")
    assert reply["status"] == "error" and "2x3 and 2x4" in said and "frame #" not in said, said


def test_a_panic_in_a_function_of_an_earlier_cell_has_its_line(k):
    k.ok("fn wrong() -> Tensor {\n    let a = Tensor::ones([2, 3], (Kind::Float, Device::Cpu));\n    a.matmul(&a)\n}")
    reply, _ = k.run("wrong();")
    assert re.search(r"in: a cell before cell \d+: a.matmul\(&a\)", trace(reply)), trace(reply)


def test_a_warning_about_an_earlier_cell_is_not_the_name_of_an_error(k):
    k.ok("macro_rules! unused { () => { 1 } }")
    reply, _ = k.run('let z: i32 = "x";')
    assert reply["ename"] == "E0308" and "unused" not in trace(reply), trace(reply)


@pytest.mark.parametrize("code", ['let v = "text";\nlet f = |x: i32| x + 1;', "let n = 3;\nlet f = move |x: i32| x + n;"])
def test_a_closure_gets_the_hint_to_box_it(k, code):
    reply, _ = k.run(code)
    assert "`f` is a closure" in reply["evalue"] and "Box::new" in trace(reply), trace(reply)


def test_colours_of_errors_are_those_of_the_page(k):
    reply, _ = k.run('let z: i32 = "x";')
    codes = set(re.findall("\x1b\\[([0-9;]*)m", trace(reply)))
    assert codes and codes <= {"0", "0;31", "0;34", "0;35", "0;32", "1;31", "34"}, codes
