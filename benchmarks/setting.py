"""What a run of the benchmark is asked for, and the inputs that its measurements share."""

import dataclasses
import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.pictures import write_pictures
from benchmarks.rows import machine
from common.backbones import build_backbone

SIZE = 224  # side of the network's input in pixels
CT_BATCH = 16  # images a training step
GRADIENT_RECIPE = ("--recipe", "blurred", "--recipe-set", "gamma=0.1")


@dataclasses.dataclass(frozen=True)
class Setting:
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
    """Training images; three times as many test images, and one and a half as many backgrounds."""
    repeats: int = 3
    """Rounds of A B A B ..."""
    batch_size: int = 16
    """Images a pass where nothing is learnt."""

    @functools.cached_property
    def pictures(self):
        """(data set, backgrounds), written on first use."""
        count = self.images
        return write_pictures(self.folder / f"pictures-{count}", count, 3 * count, 3 * count // 2)

    def words(self, cache, pictures=None):
        """The options that name a command's inputs."""
        data, background = pictures or self.pictures
        return ("--data", data, "--background", background, "--cache", cache, "--backbone",
                self.backbone, "--weights", self.weights, "--batch-size", self.batch_size)

    def network(self):
        """The frozen backbone, as fast as it runs."""
        backbone = build_backbone(self.backbone, self.weights).requires_grad_(False)
        return backbone.to(memory_format=torch.channels_last)

    def identity(self):
        """What a row depends on, as plain values."""
        return {"backbone": self.backbone, "weights": self.weights, "images": self.images,
                "repeats": self.repeats, "batch_size": self.batch_size, "machine": machine()}

    def note(self, images=None):
        """What a row was measured on."""
        return f"{self.backbone}, {images or self.images} images, batches of {self.batch_size}"

    @property
    def cache(self):
        """The cache folder that the commands share."""
        return self.folder / "made"

    @staticmethod
    def fresh(folder):
        """Remove what an earlier round made, so that it is made again."""
        shutil.rmtree(folder, ignore_errors=True)
