"""A second unit on the frozen backbone, that reads every pixel instead of the pooled image.

The classifier's gradient shows for each image where its answer came from. What is right in these
masks is common to most images, and what is wrong differs between them. A linear unit that learns
from all of them at once, with every pixel of the background images as "not target", keeps the first
and averages out the second. Its own answers, sharpened along the images' edges, then teach it
again, or a network (``stage1_bc.pixel_network``). Making a mask takes forward passes and no
gradient.
"""

import copy
import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from common.backbones import Backbone
from common.feature_extractor import Extractor
from common.threads import map_in_order, one_thread_per_operation
from stage1_bc.cutting import cut, largest_above, normalise
from stage1_bc.gradient_maps import at_scale, gradient_map, unit_maximum
from stage1_bc.mask_clusters import NotTarget
from stage1_bc.recipe import RECIPES, UNITS_READ, Recipe
from stage1_bc.sharpening import SIDE, objects, shrink, shrink_images

if TYPE_CHECKING:  # the classifier imports this module
    from stage1_bc.classifier import BackgroundClassifier

GRID = 14  # side of the grid of feature vectors that the unit reads
RIDGE = 0.01  # penalty on the weights of standardised features
KEPT_BACKGROUNDS = 1000  # background images whose features are kept at most
COVERED = 0.5  # share of a cell from which on a label takes it for the object
# Of such a cell that is named as not the target, by a person or as doubtful: in background cells
# for a linear unit, in target cells for a network.
MISTAKEN_WEIGHT = 4
LEAST_VARIANCE = 1e-12  # a channel that varies less says nothing
# The gradient masks that it learns first. Without the mirror image they would cost half, and the
# masks of the test birds lose 0.6 to 0.9 points (docs/masks-log.md).
SEED_RECIPE = RECIPES["guided-layers"]
SEED_DELTA = 0.80  # threshold that cuts them, the paper's best
# A cell is disputed where GrabCut's object and the largest component above this fraction of the
# same map differ by more than half of it.
DISPUTED_CUT, DISPUTED = 0.3, 0.5


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


class TailInputs(NamedTuple):
    """What the backbone's tail reads of images to learn from."""

    targets: torch.Tensor
    """(n, c, h, w) half."""
    backgrounds: torch.Tensor
    """(m, c, h, w) half."""


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


def pixel_map(classifier: "BackgroundClassifier", images: torch.Tensor, recipe: Recipe,
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


def label_seeds(classifier: "BackgroundClassifier", seeds: Seeds, moments: "Moments"
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


def train_pixel_unit(classifier: "BackgroundClassifier", moments: "Moments",
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


class Moments:
    """First and second moments of the features; targets and backgrounds weigh the same.

    Args:
        targets: (n, GRID ** 2, D) half, features of target images.
        backgrounds: (m, GRID ** 2, D) half, the same of background images; a thousand of them,
            evenly spread, are kept where there are more.
        not_target: clusters whose cells are labelled 0, whatever the labels say; None for none.
        device: where the products are computed; what is kept stays on the CPU.
    """

    def __init__(self, targets: torch.Tensor, backgrounds: torch.Tensor,
                 not_target: NotTarget | None = None, device: str | torch.device = "cpu"):
        self.targets = targets
        self.backgrounds = backgrounds[evenly_spread(len(backgrounds), KEPT_BACKGROUNDS)]
        self.named = None if not_target is None else not_target.cells(targets)  # (n, GRID ** 2)
        self.background_weight = 0.5 / (backgrounds.shape[0] * backgrounds.shape[1])  # of a cell
        self.mean = self.second = torch.zeros((), dtype=torch.double)
        for features, weight in ((targets, 0.5 / (targets.shape[0] * targets.shape[1])),
                                 (backgrounds, self.background_weight)):
            for part in features.split(64):
                flat = part.flatten(0, 1).to(device).float()
                self.mean = self.mean + weight * flat.sum(0).cpu().double()
                self.second = self.second + weight * (flat.T @ flat).cpu().double()
            if features is targets:
                self.of_targets = self.mean, self.second

    def fit(self, unit: PixelUnit, labels: torch.Tensor, spared: torch.Tensor | None = None
            ) -> None:
        """Ridge regression of labels; backgrounds are 0 everywhere.

        Args:
            unit: PixelUnit; its weights are set.
            labels: (n, GRID ** 2) float in [0, 1].
            spared: (n, GRID ** 2) bool, cells that count only as far as they are labelled: what
                of them is not the object is not background either. None for no such cells.
        """
        mean, second, total, counted = self.mean, self.second, 1.0, float(labels.numel())
        labels, mistaken = self.corrected(labels)
        if spared is not None:
            mean, second, counted = self._sparing(spared, labels)
        if self.named is not None:
            mean, second, total = self._with_backgrounds(mean, second, mistaken)
        weight = 0.5 / counted / total
        product = sum((part.flatten(0, 1).float().T @ label.flatten()).double()
                      for part, label in zip(self.targets.split(64), labels.split(64))) * weight
        level = labels.double().sum() * weight
        covariance = second - torch.outer(mean, mean)
        scale = covariance.diagonal().clamp_min(LEAST_VARIANCE).sqrt()
        standardised = covariance / torch.outer(scale, scale)
        standardised = standardised + RIDGE * torch.eye(len(scale), dtype=torch.double)
        solution = torch.linalg.solve(standardised, (product - mean * level) / scale) / scale
        unit.weight.copy_(solution)
        unit.bias.copy_(level - solution @ mean)

    def with_named(self, cells: torch.Tensor) -> "Moments":
        """The same moments with further cells, (n, GRID ** 2) bool, labelled 0."""
        other = copy.copy(self)
        other.named = cells if self.named is None else self.named | cells
        return other

    def answers(self, unit: nn.Module, device: str | torch.device = "cpu") -> torch.Tensor:
        """What a unit for pixels, on the device, answers to the targets: (n, GRID, GRID) float."""
        return torch.cat([unit(part.to(device)).cpu() for part in self.targets.split(64)])

    def corrected(self, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Labels with the named cells at 0, and which of these a label took for the object.

        Args:
            labels: (n, GRID ** 2) float in [0, 1].

        Returns:
            ((n, GRID ** 2) float, (n, GRID ** 2) bool).
        """
        if self.named is None:
            return labels, torch.zeros_like(labels, dtype=torch.bool)
        return labels.masked_fill(self.named, 0), self.named & (labels >= COVERED)

    def _sparing(self, spared, labels):
        """(mean, second moment, cells that count) without the unlabelled part of spared cells."""
        if self.named is not None:
            spared = spared & ~self.named
        left_out = (1 - labels) * spared
        counted = float(labels.numel() - left_out.sum())
        more = labels.numel() / counted - 1  # the weight of the others grows, kinds weigh the same
        mean, second = (all_cells + more * of_targets for all_cells, of_targets
                        in zip((self.mean, self.second), self.of_targets))
        for part, weights in zip(self.targets.split(64), left_out.split(64)):
            cells, weights = part[weights > 0].float(), weights[weights > 0]
            mean = mean - 0.5 / counted * (weights @ cells).double()
            second = second - 0.5 / counted * (cells.T @ (cells * weights[:, None])).double()
        return mean, second, counted

    def _with_backgrounds(self, mean, second, mistaken):
        """(mean, second moment, sum of weights) with the mistaken cells as further backgrounds.

        Only those that a label takes for the object: to weigh every twig of the named kind would
        push down the edges of objects, which look a little like it.
        """
        cells, weight = self.targets[mistaken].float(), MISTAKEN_WEIGHT * self.background_weight
        total = 1 + weight * len(cells)
        return ((mean + weight * cells.sum(0).double()) / total,
                (second + weight * (cells.T @ cells).double()) / total, total)


def evenly_spread(count: int, most: int) -> torch.Tensor:
    """Indices of at most ``most`` of ``count`` images: int64, sorted."""
    return torch.linspace(0, count - 1, min(most, count)).round().long()


def on_one_grid(outputs: Iterable[torch.Tensor], side: int = GRID) -> torch.Tensor:
    """Outputs of several layers, each (N, C, h, w), side by side: (N, side ** 2, D) float32."""
    grids = [functional.interpolate(  # in float: of half precision there is none on the CPU
        output.float(), (side, side), mode="bilinear", antialias=True) for output in outputs]
    return torch.cat(grids, 1).flatten(2).transpose(1, 2)


def half_precision(features: torch.Tensor) -> torch.Tensor:
    """Features as ``Moments`` takes them.

    Raises:
        FloatingPointError: they do not fit.
    """
    features = features.half()
    if not features.isfinite().all():
        raise FloatingPointError("the backbone's layers give values beyond 65,504, too large "
                                 "for a unit for pixels: take the recipe guided-layers, or other "
                                 "--weights")
    return features


def on_grid(masks: np.ndarray) -> torch.Tensor:
    """Share of each grid cell that a mask covers: (N, H, W) bool to (N, GRID ** 2) float."""
    covered = torch.from_numpy(masks).float()[:, None]
    return functional.adaptive_avg_pool2d(covered, GRID).flatten(1)


def resize_maps(maps: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Maps at another size, interpolated: (N, h, w) float to (N, *size) float."""
    return functional.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]
