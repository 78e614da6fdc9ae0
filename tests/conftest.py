"""Fixtures that several files of tests share."""

import pytest

from benchmarks import fault_injection
from stage1_bc import pixel_network, tuned_network

LEAST_STEPS = {module: module.LEAST_STEPS for module in (pixel_network, tuned_network)}


@pytest.fixture(scope="session", autouse=True)
def few_steps():
    """Networks for pixels learn for a few steps: most tests ask for masks, not for good ones."""
    with pytest.MonkeyPatch.context() as patch:
        for module in LEAST_STEPS:
            patch.setattr(module, "LEAST_STEPS", 5)
        yield


@pytest.fixture(scope="module")
def all_steps(few_steps):
    """They learn as long as they do for users."""
    with pytest.MonkeyPatch.context() as patch:
        for module, steps in LEAST_STEPS.items():
            patch.setattr(module, "LEAST_STEPS", steps)
        yield


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
