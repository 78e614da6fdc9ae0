"""Settings of a benchmark run, and the inputs that its measurements share."""

import dataclasses
import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.photographs import write_pictures
from benchmarks.rows import machine
from common.backbones import build_backbone
from common.config import digest
from common.memory import batch_size_for

SIZE = 224  # side of the network's input in pixels
CT_BATCH = 16  # images per training step
PACKAGES = ("common", "stage1_bc", "stage2_ct", "evaluation", "pipelines", "benchmarks")
GRADIENT_RECIPE = ("--recipe", "blurred", "--recipe-set", "gamma=0.1")


def code_digest():
    """SHA-256 of the program's own sources: after a change, everything is measured again."""
    root = Path(__file__).parent.parent
    return digest([(str(path.relative_to(root)), path.read_text(encoding="utf-8"))
                   for package in PACKAGES for path in sorted((root / package).rglob("*.py"))])


@dataclasses.dataclass(frozen=True)
class BenchmarkSetting:
    """One run of the benchmark."""

    bcct: Callable[..., None]
    """Runs a command of ours in this process, from its words."""
    folder: Path
    """Where pictures and everything made from them are kept."""
    backbone: str
    """Name of the network."""
    weights: str = "none"
    """Its weights: imagenet, none (random), or a path."""
    images: int = 64
    """Training images."""
    repeats: int = 3
    """Rounds of A B A B ..."""
    test_images: int = 1
    """Test images."""
    backgrounds: int | None = None
    """Background images; None for one and a half times as many as training images."""
    batch_size: int = batch_size_for("cpu")
    """Images per pass without training; the commands' default on a CPU."""

    @functools.cached_property
    def pictures(self):
        """(data set, backgrounds), written on first use."""
        return write_pictures(self.folder / f"pictures-{self.images}", self.images,
                              self.test_images, self.backgrounds or 3 * self.images // 2)

    def with_pictures(self, name, train, test):
        """The same run on other pictures, in a folder of their own."""
        return dataclasses.replace(self, folder=self.folder / name, images=train,
                                   test_images=test)

    def words(self, cache):
        """The options that name a command's inputs."""
        data, background = self.pictures
        return ("--data", data, "--background", background, "--cache", cache, "--backbone",
                self.backbone, "--weights", self.weights, "--inference-batch-size", self.batch_size)

    def network(self):
        """The frozen backbone, as fast as it runs."""
        backbone = build_backbone(self.backbone, self.weights).requires_grad_(False)
        return backbone.to(memory_format=torch.channels_last)

    def identity(self):
        """Everything a row depends on, as plain values."""
        return {"code": code_digest(), "backbone": self.backbone, "weights": self.weights,
                "images": self.images, "repeats": self.repeats, "batch_size": self.batch_size,
                "machine": machine()}

    def note(self, images=None):
        """What a row was measured on."""
        return f"{self.backbone}, {images or self.images} images, batches of {self.batch_size}"

    @property
    def cache(self):
        """The cache folder that the commands share."""
        return self.folder / f"made-{self.images}"

    @staticmethod
    def fresh(folder):
        """Remove what an earlier round made, so that it is made again."""
        shutil.rmtree(folder, ignore_errors=True)
