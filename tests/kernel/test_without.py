"""The whole session's tests once more, on a kernel without anything that serves speed alone: slower, and otherwise alike."""

import pytest

import prepared
from client import kernel
from test_session import *  # noqa: F403, every test of it, run with the kernel below


@pytest.fixture(scope="module")
def k(tmp_path_factory):
    cache = tmp_path_factory.mktemp("plain")
    code, said = prepared.prepare(cache, "all")
    assert code == 0, said
    left_out = (prepared.folder(cache) / "without").read_text().split(",")
    assert len(left_out) == len(set(left_out)) == 10, left_out
    found = {entry.name for entry in prepared.folder(cache).iterdir()}
    assert not found & {"template", "stubs", "answers"}, found
    assert all((prepared.folder(cache) / "tools/bin" / tool).is_symlink() for tool in ("cargo", "rustc"))
    with kernel(env=prepared.environment(cache, "all")) as client:
        yield client


def test_an_unknown_trick_is_an_error(tmp_path):
    code, said = prepared.prepare(tmp_path, "trim,bogus")
    assert code == 1 and "unknown trick `bogus`" in said and "known are: all, trim" in said
