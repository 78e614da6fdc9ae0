"""Fixtures that several files of tests share."""

import pytest

from benchmarks import fault_injection


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of tiny pictures, one of them unreadable."""
    folder = tmp_path_factory.mktemp("pictures")
    fault_injection.write_tiny_pictures(folder)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory, pictures):
    """A mask cache of ``pictures`` that one process made without any fault."""
    folder = tmp_path_factory.mktemp("whole")
    fault_injection.make_reference(pictures, folder)
    return folder
