"""Small inputs for tests of commands, and the commands run on them."""

import cv2
import numpy as np
from click.testing import CliRunner

from pipelines.__main__ import cli
from tests.test_pipeline import write_cub

TINY = ["--backbone", "tiny", "--weights", "none", "--image-size", "32", "--workers", "0"]


def run(*arguments):
    """A command's Result; whatever it raises is raised here."""
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def write_inputs(folder, backgrounds=8):
    """``folder/cub``, twelve images of discs, and ``folder/backgrounds``, dark noise."""
    random = np.random.default_rng(0)
    write_cub(folder / "cub", random)
    (folder / "backgrounds").mkdir()
    for number in range(backgrounds):
        cv2.imwrite(str(folder / "backgrounds" / f"{number}.jpg"),
                    random.integers(0, 60, (40, 40, 3)).astype(np.uint8))


def make_masks(folder, *arguments):
    """The folder of the masks of ``folder/cub``'s training images."""
    result = run("masks", "--data", folder / "cub", "--background", folder / "backgrounds",
                 "--cache", folder / "cache", *TINY, *arguments)
    return result.output.split("wrote ")[-1].strip()
