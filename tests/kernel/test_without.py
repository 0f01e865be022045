"""A kernel without anything that serves speed alone: a telling part of the session's tests, slower.

The parts: a command and a cell on one session, values and errors, types that come from the standard library, completion, a
crate of the user. What is left out is like what is here, and would take minutes. All of them, after `make test-kernel`:

  export PAELLA_KERNEL_WITHOUT=all PAELLA_KERNEL_CACHE=/tmp/without
  target/debug/paella-kernel prepare && target/kernel-test/bin/python -m pytest -q tests/kernel/test_session.py
"""

import pytest

import prepared
from client import kernel
from test_session import (  # noqa: F401, run again with the kernel below
    test_a_dependency_of_the_user,
    test_a_type_without_debug_gets_a_hint,
    test_commands_and_cells_share_the_session,
    test_types_of_the_standard_library_are_known,
    test_values_show_themselves,
)


@pytest.fixture(scope="module")
def k(tmp_path_factory):
    cache = tmp_path_factory.mktemp("plain")
    code, said = prepared.prepare(cache, "all")
    assert code == 0, said
    found = {entry.name for entry in prepared.folder(cache).iterdir()}
    assert not found & {"template", "stubs", "answers"}, found
    assert all((prepared.folder(cache) / "tools/bin" / tool).is_symlink() for tool in ("cargo", "rustc"))
    with kernel(env=prepared.environment(cache, "all")) as client:
        yield client


def test_an_unknown_trick_is_an_error(tmp_path):
    code, said = prepared.prepare(tmp_path, "trim,bogus")
    assert code == 1 and "unknown trick `bogus`" in said and "known are: all, trim" in said
