"""What units for pixels learn from: moments of the features of all cells, and tail inputs."""

import copy
from typing import NamedTuple

import torch
from torch import nn

from stage1_bc.cells import COVERED
from stage1_bc.mask_clusters import NotTarget
from stage1_bc.pixel_unit import PixelUnit

RIDGE = 0.01  # penalty on the weights of standardised features
KEPT_BACKGROUNDS = 1000  # background images whose features are kept at most
# Of a cell that a label takes for the object and that is named as not the target, by a person or as
# doubtful: in background cells for a linear unit, in target cells for a network.
MISTAKEN_WEIGHT = 4
LEAST_VARIANCE = 1e-12  # a channel that varies less says nothing


class TailInputs(NamedTuple):
    """What the backbone's tail reads of images to learn from."""

    targets: torch.Tensor
    """(n, c, h, w) half."""
    backgrounds: torch.Tensor
    """(m, c, h, w) half."""


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
