"""The tools that remember: what a start asks them is known, everything else reaches cargo and rustc."""

import glob
import os
import subprocess
import tempfile

import prepared
from client import kernel


def cells_of(k):
    """Compiled cells: those of cargo or of its memory, and those of the compiler alone."""
    workspace = os.path.join(tempfile.gettempdir(), "paella-kernel-%d" % k.manager.provisioner.pid, "workspace")
    found = glob.glob(os.path.join(glob.escape(workspace), "target/*/debug/**/libcode_*.so"), recursive=True)
    alone = [file for file in found if os.path.basename(os.path.dirname(file)) == "deps"]
    return len(found) - len(alone), len(alone)


def test_a_start_is_remembered_and_a_cell_needs_the_compiler_alone():
    with kernel() as k:
        k.ok("%config sample.steps")
        assert k.value("6 * 7") == "42"
        remembered, alone = cells_of(k)
        assert remembered >= 2 and alone == 1
        k.ok("let a = 3;")
        assert k.value("a + 1") == "4"
        assert cells_of(k) == (remembered, 3)


def test_a_cell_of_new_dependencies_is_built_by_cargo(tmp_path):
    crate = tmp_path / "tiny"
    (crate / "src").mkdir(parents=True)
    (crate / "Cargo.toml").write_text('[package]\nname = "tiny"\nversion = "0.1.0"\nedition = "2024"\n')
    (crate / "src/lib.rs").write_text("pub fn number() -> i32 { 7 }\n")
    with kernel() as k:
        k.ok(':dep tiny = { path = "%s" }' % crate)
        assert k.value("tiny::number()") == "7"
        assert cells_of(k)[1] == 0
        (crate / "src/lib.rs").write_text("pub fn number() -> i32 { 8 }\n")
        assert k.value("tiny::number()") == "8", "a change of it is seen"


def test_other_settings_of_cargo_are_heard(tmp_path):
    (tmp_path / "config.toml").write_text('[build]\nrustflags = ["--cfg", "of_the_user"]\n')
    with kernel(env={**os.environ, "CARGO_HOME": str(tmp_path)}) as k:
        assert k.value("6 * 7") == "42"
        assert cells_of(k)[1] == 0


def test_what_a_cell_starts_meets_the_tools_themselves():
    real = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True).stdout.strip()
    with kernel() as k:
        code = 'String::from_utf8(std::process::Command::new("rustc").args(["--print", "sysroot"]).output()?.stdout)?.trim().to_string()'
        assert k.value(code) == '"%s"' % real


def test_an_error_has_its_place():
    with kernel() as k:
        reply, _ = k.run("let a = 1;\nlet b: String = a;")
        text = "\n".join(reply["traceback"])
        assert reply["status"] == "error" and "E0308" in text and "String" in text


def test_tools_that_cannot_remember_still_answer(tmp_path):
    """No memory, no workspace, a folder that cannot be written: the tool itself is asked."""
    env = {**os.environ, "PAELLA_RECALL": "/dev/null/nowhere", "EVCXR_TMPDIR": "/dev/null", "PAELLA_SYSROOT": prepared.sysroot(), "PAELLA_LEARN": "yes"}
    tool = prepared.folder(prepared.cache()) / "tools/bin/rustc"
    run = subprocess.run([tool, "-vV"], capture_output=True, text=True, env=env)
    assert run.returncode == 0 and "host: x86_64" in run.stdout, run
