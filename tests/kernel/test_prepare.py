"""The preparation of a kernel: by the first start, by another rustc, with tricks that fail."""

import contextlib
import os
import pathlib
import shutil
import stat

import pytest

import prepared
from client import kernel, text_of


def run(path, text):
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_the_first_starts_prepare_the_kernel_and_take_longer(tmp_path):
    """Two kernels on an empty cache, at once; then one on an outdated kernel, one whose library was cut, and
    one whose sources of the standard library were deleted."""
    env = prepared.environment(tmp_path)
    with contextlib.ExitStack() as stack:
        kernels = [stack.enter_context(kernel(env=env)) for _ in range(2)]
        cells = [k.start_cell("6 * 7") for k in kernels]
        for k, cell in zip(kernels, cells):
            reply, outputs = k.finish_cell(cell, patience=600)
            assert reply["status"] == "ok", reply
            assert "being prepared" in text_of(outputs, "stderr"), outputs
            bars = [m["content"]["data"] for m in outputs if m["msg_type"] in ("display_data", "update_display_data")]
            assert "<progress" in bars[0]["text/html"] and bars[-1]["text/plain"].startswith("the kernel is prepared"), bars
            assert k.value("lab.status().1 + 2") == "2"
    stamp = prepared.folder(tmp_path) / "stamp"
    right = stamp.read_text()
    stamp.write_text("rustc 1.0.0\n")
    with kernel(env=env) as k:
        k.ok("let seven = 7;")
        assert k.value("6 * seven") == "42"
    assert stamp.read_text() == right
    library = stamp.parent / "libpaella_notebook.so"
    length = library.stat().st_size
    os.truncate(library, length // 2)
    with kernel(env=env) as k:
        reply, outputs = k.finish_cell(k.start_cell("6 * 7"), patience=600)
        assert reply["status"] == "ok" and "being prepared" in text_of(outputs, "stderr"), outputs
    assert library.stat().st_size == length
    sources = stamp.parent / "rust-src/std"
    shutil.rmtree(sources)
    with kernel(env=env) as k:
        reply, outputs = k.finish_cell(k.start_cell("6 * 7"), patience=600)
        assert reply["status"] == "ok" and "being prepared" in text_of(outputs, "stderr"), outputs
        k.ok("let names = std::collections::HashMap::from([(1, \"a\")]);")
        assert k.value("names[&1]") == '"a"'
    assert (sources / "core/src/lib.rs").is_file()


def test_a_kernel_that_cannot_be_prepared_says_why(tmp_path):
    with kernel(env=prepared.environment(tmp_path, PAELLA_RUST_SRC=str(tmp_path / "nowhere"))) as k:
        reply, _ = k.run("6 * 7")
        text = "\n".join(reply["traceback"])
        assert reply["ename"] == "KernelError" and "standard library are missing" in text and "rust-src" in text


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """The rustc of the build, by another version, and a standard library without sets."""
    folder = tmp_path_factory.mktemp("toolchain")
    real = pathlib.Path(prepared.sysroot())
    host = "x86_64-unknown-linux-gnu"
    (folder / "bin").mkdir()
    (folder / "lib/rustlib" / host).mkdir(parents=True)
    for name in ("", "rustlib", "rustlib/" + host):
        for entry in (real / "lib" / name).iterdir():
            if entry.name not in ("rustlib", host, "bin"):
                (folder / "lib" / name / entry.name).symlink_to(entry)
    (folder / "bin/cargo").symlink_to(real / "bin/cargo")
    version = '[ "$*" = -V ] && { echo "rustc 9.9.9 (another one)"; exit 0; }\n'
    spoil = 'case "$SPOIL $*" in *--cfg=unshared*) ;; "yes "*"--crate-name paella_notebook "*) echo "error: spoiled" >&2; exit 1;; esac\n'
    run(folder / "bin/rustc", version + spoil + 'exec "%s" "$@"\n' % (real / "bin/rustc"))
    (folder / "path").mkdir()
    sources = pathlib.Path(os.environ.get("PAELLA_RUST_SRC") or real / "lib/rustlib/src/rust/library")
    (folder / "library/std/src/collections/hash").mkdir(parents=True)
    for name in ("", "std", "std/src", "std/src/collections", "std/src/collections/hash"):
        for entry in (sources / name).iterdir():
            there = folder / "library" / name / entry.name
            if entry.name != "set.rs" and not there.exists():
                there.symlink_to(entry)
    return folder


def prepare(other, cache, instead, **more):
    """With a C compiler that does this instead of making an empty library; the environment, and what was said."""
    real = shutil.which("cc")
    run(other / "path/cc", 'case "$*" in *-nostdlib*) %s;; esac\nexec "%s" "$@"\n' % (instead, real))
    path = "%s:%s" % (other / "path", os.environ["PATH"])
    more = {"PAELLA_SYSROOT": str(other), "PAELLA_RUST_SRC": str(other / "library"), "PATH": path, **more}
    code, said = prepared.prepare(cache, **more)
    assert code == 0, said
    return prepared.environment(cache, **more), said


def works(env):
    with kernel(env=env) as k:
        k.ok("let xs = vec![1, 2];\nlet sum = xs.iter().sum::<i32>();")
        assert k.value("sum + 39") == "42"


def test_another_rustc_and_failing_tricks_only_take_longer(other, tmp_path):
    env, said = prepare(other, tmp_path, "exit 1")
    assert "remark: slower without trick `stubs`" in said and "no types of `HashMap`s" in said, said
    assert "rust-9.9.9" in prepared.folder(tmp_path).name
    assert (prepared.folder(tmp_path) / "without").read_text() == "stubs"
    works(env)


def test_a_trick_that_spoils_the_first_cells_is_left_out(other, tmp_path):
    """The C compiler makes files that are no libraries, and says that all is well: cells cannot be linked."""
    env, said = prepare(other, tmp_path, 'for last in "$@"; do :; done; echo none > "$last"; exit 0')
    assert "once more, without what serves speed alone" in said, said
    assert "trim" in (prepared.folder(tmp_path) / "without").read_text()
    works(env)


def test_a_library_that_does_not_compile_with_shared_code_is_built_without(other, tmp_path):
    """This rustc refuses the shared code. A later preparation does not try it again."""
    source = pathlib.Path(__file__).parents[2] / "kernel/notebook/src/prepare/shared.rs"
    state = source.stat()
    os.utime(source)  # else cargo finds the library as it has to be, and asks no compiler
    try:
        env, said = prepare(other, tmp_path, "exit 1", SPOIL="yes")
        assert "remark: slower without trick `shared`" in said, said
        assert (prepared.folder(tmp_path) / "without").read_text() == "stubs,shared"
        _, again = prepare(other, tmp_path, "exit 1", SPOIL="yes")
        assert "remark" not in again and "the kernel is prepared" in again, again
        works(env)
    finally:
        os.utime(source, ns=(state.st_atime_ns, state.st_mtime_ns))
