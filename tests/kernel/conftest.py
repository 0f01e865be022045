"""What several files of tests share."""

import pytest

from client import kernel


@pytest.fixture(scope="module")
def k():
    """One kernel for the tests of a file."""
    with kernel() as client:
        yield client
