"""Maps made by units for pixels: one or several, of an image and its mirror image."""

import math
from collections.abc import Sequence

import torch

from stage1_bc.cells import resize_maps
from stage1_bc.classifier import BackgroundClassifier
from stage1_bc.gradient_maps import at_scale, unit_maximum
from stage1_bc.recipe import UNITS_READ, Recipe


def pixel_map(classifier: BackgroundClassifier, images: torch.Tensor, recipe: Recipe,
              size: Sequence[int]) -> torch.Tensor:
    """One map per image from the units that the recipe reads; otherwise like ``gradient_map``.

    Raises:
        ValueError: the classifier lacks such a unit.
    """
    units = []
    for name in UNITS_READ[recipe.signal]:
        units.append(getattr(classifier, name))
        if units[-1] is None:
            raise ValueError("this recipe needs a background classifier with a unit for pixels; "
                             f"train it with bcct train-bc --bc-set {name}=true")
    maps = []
    for scale in recipe.scales:
        resized = at_scale(images, scale, images.shape[2:])
        maps.append(_answers(units, resized, recipe))
        if recipe.mirror:
            maps[-1] = maps[-1] + _answers(units, resized.flip(3), recipe).flip(2)
    return resize_maps(_geometric_mean(maps), size)


def _answers(units, images, recipe):
    """What several units answer together."""
    look = units[0].look(images)  # all units read the same frozen backbone
    return agreed([answer for unit in units for answer in unit.answers(look, images, recipe)])


def agreed(answers: Sequence[torch.Tensor]) -> torch.Tensor:
    """Answers above 0; of several the geometric mean in parts of the largest.

    Args:
        answers: each (N, h, w) float, on grids of their own.

    Returns:
        (N, h, w) float, at least 0, on the finest of their grids.
    """
    maps = [answer.clamp_min(0) for answer in answers]
    return maps[0] if len(maps) == 1 else _geometric_mean([unit_maximum(one) for one in maps])


def _geometric_mean(maps):
    """High where all of several (N, h, w) maps are, on the finest of their grids."""
    if len(maps) == 1:
        return maps[0]
    finest = max((one.shape[1:] for one in maps), key=math.prod)
    return torch.stack([one if one.shape[1:] == finest else resize_maps(one, finest)
                        for one in maps]).log().mean(0).exp()
