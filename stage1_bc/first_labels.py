"""The first labels of the target images, and the linear unit for pixels that they teach.

The classifier's gradient masks teach a linear unit. GrabCut finds the objects from its answers and
from the gradient maps; these label the images for the units that make masks.
"""

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import torch

from common.threads import map_in_order, one_thread_per_operation
from stage1_bc.cells import on_grid, resize_maps
from stage1_bc.cutting import cut, largest_above, normalise
from stage1_bc.gradient_maps import gradient_map, unit_maximum
from stage1_bc.moments import Moments
from stage1_bc.pixel_unit import PixelUnit
from stage1_bc.recipe import RECIPES
from stage1_bc.sharpening import SIDE, objects, shrink, shrink_images

if TYPE_CHECKING:  # the classifier imports what is taught here
    from stage1_bc.classifier import BackgroundClassifier

# The gradient masks that the unit learns. Without the mirror image they would cost half, and the
# masks of the test birds lose 0.6 to 0.9 points (docs/masks-log.md).
SEED_RECIPE = RECIPES["guided-layers"]
SEED_DELTA = 0.80  # threshold that cuts them, the paper's best
# A cell is disputed where GrabCut's object and the largest component above this fraction of the
# same map differ by more than half of it.
DISPUTED_CUT, DISPUTED = 0.3, 0.5


@dataclasses.dataclass(frozen=True)
class CellLabels:
    """What the cells of n target images are taken for."""

    covered: torch.Tensor
    """(n, GRID ** 2) float, share of each cell that the object covers."""
    disputed: torch.Tensor
    """(n, GRID ** 2) bool, where a plain cut of the same map disagrees with the object."""


class Seeds(NamedTuple):
    """What the classifier's gradient shows of n target images, and the images."""

    cells: torch.Tensor
    """(n, GRID ** 2) float, share of each cell that the gradient mask covers."""
    maps: torch.Tensor
    """(n, SIDE, SIDE) float in [0, 1], the gradient maps in parts of their largest value."""
    frames: torch.Tensor
    """(n, 3, SIDE, SIDE) uint8 RGB, the images at GrabCut's size."""


class FirstLabels(NamedTuple):
    """The first labels of n target images, which teach units for pixels, and their sources."""

    cells: CellLabels
    scores: torch.Tensor
    """(n, SIDE, SIDE) float, at least 0: a linear unit's answers plus the gradient maps."""
    frames: torch.Tensor
    """(n, 3, SIDE, SIDE) uint8 RGB, the images at GrabCut's size."""


def read_seeds(classifier: "BackgroundClassifier", targets: Iterable[torch.Tensor]) -> Seeds:
    """The gradient masks of target images.

    Args:
        classifier: BackgroundClassifier, its own unit trained.
        targets: iterable of (N, 3, H, W) float RGB in [0, 1], on the classifier's device.
    """
    device = classifier.unit.weight.device

    def look(images):
        maps = gradient_map(classifier, images, SEED_RECIPE, images.shape[2:]).cpu()
        masks = cut(normalise(maps.numpy(), SEED_RECIPE), SEED_DELTA, SEED_RECIPE).mask
        return on_grid(masks), unit_maximum(shrink(maps)), shrink_images(images).cpu()

    with (torch.autocast(device.type, enabled=False),  # moments of half precision are none
          one_thread_per_operation() as threads):  # the same bits for any number of cores
        return Seeds(*map(torch.cat, zip(*map_in_order(look, targets, device, threads))))


def label_seeds(classifier: "BackgroundClassifier", seeds: Seeds, moments: Moments
                ) -> FirstLabels:
    """Labels of the target images: a linear unit's first answers, sharpened by GrabCut.

    Args:
        classifier: BackgroundClassifier.
        seeds: Seeds of n target images.
        moments: Moments of these images and of background images.
    """
    device = classifier.unit.weight.device
    with torch.autocast(device.type, enabled=False), one_thread_per_operation():
        unit = PixelUnit(classifier.backbone)
        moments.fit(unit, seeds.cells)
        answers = resize_maps(unit(moments.targets).clamp_min(0), (SIDE, SIDE))
        scores = unit_maximum(answers) + seeds.maps
        return FirstLabels(label_by_scores(seeds.frames, scores), scores, seeds.frames)


def label_by_scores(frames: torch.Tensor, scores: torch.Tensor) -> CellLabels:
    """Labels from score maps: the objects that GrabCut finds from them.

    Args:
        frames: (n, 3, SIDE, SIDE) uint8 RGB, the images at GrabCut's size.
        scores: (n, SIDE, SIDE) float, at least 0.
    """
    covered = on_grid(objects(frames, scores))
    plain = on_grid(largest_above(scores, DISPUTED_CUT))
    return CellLabels(covered, (plain - covered).abs() > DISPUTED)


def train_pixel_unit(classifier: "BackgroundClassifier", moments: Moments,
                     labels: CellLabels) -> PixelUnit:
    """A linear unit for pixels, on a classifier's backbone and device.

    Args:
        classifier: BackgroundClassifier.
        moments: Moments of the target images that the labels are of and of background images.
        labels: CellLabels.
    """
    device = classifier.unit.weight.device
    with torch.autocast(device.type, enabled=False), one_thread_per_operation():
        unit = PixelUnit(classifier.backbone)
        moments.fit(unit, labels.covered)
    return unit.to(device)
