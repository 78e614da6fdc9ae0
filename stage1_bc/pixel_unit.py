"""A second unit on the frozen backbone, that reads every pixel instead of the pooled image.

The classifier's gradient shows for each image where its answer came from. What is right in these
masks is common to most images, and what is wrong differs between them. A linear unit that learns
from all of them at once, with every pixel of the background images as "not target", keeps the first
and averages out the second (``stage1_bc.first_labels``, ``stage1_bc.moments``). Its own answers,
sharpened along the images' edges, then teach it again, or a network (``stage1_bc.pixel_network``).
Making a mask takes forward passes and no gradient.
"""

import functools

import torch
from torch import nn

from common.backbones import Backbone
from common.feature_extractor import Extractor
from stage1_bc.cells import GRID, on_one_grid
from stage1_bc.recipe import Recipe


class Look:
    """What the frozen backbone gives to units for pixels of N images, computed when asked for.

    Whoever needs both asks for the cells first: one pass then gives both.

    Args:
        images: (N, 3, H, W) float RGB in [0, 1].
        extract: function of images that gives Outputs with pixels and the tail's input.
        front: the same with the tail's input alone, for which no later layer is computed.
    """

    def __init__(self, images: torch.Tensor, extract: Extractor, front: Extractor):
        self._images, self._extract, self._front = images, extract, front

    @functools.cached_property
    def cells(self) -> torch.Tensor:
        """(N, GRID ** 2, D) float32, the outputs of ``Backbone.pixel_taps`` on the grid."""
        with torch.no_grad():
            outputs = self._extract(self._images)
            self.tail_input = outputs.tail_input
            return on_one_grid(outputs.pixels)

    @functools.cached_property
    def tail_input(self) -> torch.Tensor:
        """(N, c, h, w) float, what the backbone's tail reads."""
        with torch.no_grad():
            return self._front(self._images).tail_input


class PixelReader(nn.Module):
    """What reads the outputs of several frozen layers, at every pixel of a grid.

    Args:
        backbone: Backbone; frozen, and not part of this module's state.
    """

    def __init__(self, backbone: Backbone):
        super().__init__()
        self.extract = backbone.extractor(features=False)
        self.front = backbone.extractor(features=False, pixels=False)
        side, device = backbone.probe_side, backbone.mean.device
        self.blank = self.look(torch.zeros(1, 3, side, side, device=device))
        self.width = self.blank.cells.shape[-1]

    def look(self, images: torch.Tensor) -> Look:
        """What all units for pixels read of (N, 3, H, W) float RGB images in [0, 1]."""
        return Look(images, self.extract, self.front)

    def read(self, images: torch.Tensor) -> torch.Tensor:
        """The layers' outputs on the grid: (N, 3, H, W) float in [0, 1] to (N, GRID ** 2, D)."""
        return self.look(images).cells

    def answer(self, look: Look) -> torch.Tensor:
        """Likeness to target, about 0 to 1, (N, GRID, GRID) float."""
        return self(look.cells)

    def answers(self, look: Look, images: torch.Tensor, recipe: Recipe) -> list[torch.Tensor]:
        """The answers that a recipe combines.

        Args:
            look: at the images.
            images: (N, 3, H, W) float RGB in [0, 1].

        Returns:
            List of (N, h, w) float, each on a grid of its own.
        """
        return [self.answer(look)]


class PixelUnit(PixelReader):
    """One linear unit.

    Args:
        backbone: as for ``PixelReader``.
    """

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, backbone: Backbone):
        super().__init__(backbone)
        self.register_buffer("weight", torch.zeros(self.width))
        self.register_buffer("bias", torch.zeros(()))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Likeness to target, about 0 to 1, of (N, GRID ** 2, D) features as (N, GRID, GRID)."""
        with torch.autocast(features.device.type, enabled=False):
            return (features.float() @ self.weight + self.bias).unflatten(1, (GRID, GRID))
