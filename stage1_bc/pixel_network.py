"""A small network on the frozen backbone that reads every pixel, taught as the linear unit is.

The linear unit (``stage1_bc.pixel_unit``) keeps what is right in most of its labels, but a weighted
sum of features cannot say "feather, unless it is bark", and so it answers in a halo around objects
and weakly inside them. One hidden layer can. To keep it from learning the labels by heart, errors
included, a training step leaves out most channels of each image, drawn at random (Tompson et al.,
*Efficient object localization using convolutional networks*, 2015), and cells that two ways to
read the labels dispute weigh little.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from common.backbones import Backbone
from common.progress import silent
from common.threads import one_thread_per_operation
from stage1_bc.cells import GRID
from stage1_bc.first_labels import CellLabels
from stage1_bc.moments import LEAST_VARIANCE, MISTAKEN_WEIGHT, Moments
from stage1_bc.pixel_unit import PixelReader

if TYPE_CHECKING:  # the classifier imports this module
    from stage1_bc.classifier import BackgroundClassifier

HIDDEN = 128  # hidden units
LEFT_OUT = 0.7  # share of an image's channels that a training step does not see
DISPUTED_WEIGHT = 0.3  # of a disputed cell, others weigh 1
EPOCHS, LEAST_STEPS = 30, 100
BATCH = 16, 4  # target and background images in a step; both kinds weigh the same
RATE, WEIGHT_DECAY = 0.003, 0.1  # AdamW's highest step size, of one cycle
ROUNDING = 1e-5  # relative error of a mean square that is summed in float32, at most
LARGEST_FEATURE = 5.0  # standardised features are cut to plus and minus this


class CellNetwork(PixelReader):
    """One hidden layer over the features of each cell; a subclass says which features.

    A subclass calls ``set_width`` in its constructor, and ``standardise`` before it learns.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def set_width(self, width: int) -> None:
        """Add the layers, for ``width`` features."""
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.hidden = nn.Linear(width, HIDDEN)
        self.output = nn.Linear(HIDDEN, 1)
        self.requires_grad_(False)

    def standardise(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        """Take the features' mean and variance, each (width,) float."""
        self.mean.copy_(mean)
        # A channel that no image has shown to vary stays 0, whatever it does later. Its variance is
        # then what rounding leaves of the difference of two squares, on some processors above 0.
        constant = variance < LEAST_VARIANCE + ROUNDING * mean ** 2
        self.scale.copy_(variance.sqrt().masked_fill(constant, math.inf))

    def standardised(self, features: torch.Tensor) -> torch.Tensor:
        """Features as the hidden layer takes them: (N, cells, D) float or half to float32."""
        return ((features.float() - self.mean) / self.scale).clamp(-LARGEST_FEATURE,
                                                                   LARGEST_FEATURE)

    def logits(self, standardised: torch.Tensor) -> torch.Tensor:
        """(N, cells, D) standardised features to (N, cells) logits."""
        return self.output(self.hidden(standardised).relu())[..., 0]

    def likeness(self, features: torch.Tensor) -> torch.Tensor:
        """Likeness to target, 0 to 1, of (N, side ** 2, D) features as (N, side, side)."""
        side = math.isqrt(features.shape[1])
        with torch.autocast(features.device.type, enabled=False):
            logits = self.logits(self.standardised(features))
        return logits.sigmoid().unflatten(1, (side, side))


class PixelNetwork(CellNetwork):
    """One hidden layer over the outputs of several frozen layers, at every pixel of a grid.

    Args:
        backbone: Backbone; frozen, and not part of this module's state.
    """

    def __init__(self, backbone: Backbone):
        super().__init__(backbone)
        self.set_width(self.width)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """As ``likeness``, of the features that ``read`` gives."""
        return self.likeness(features)


class LabelledImages(NamedTuple):
    """Images of one kind, and what a network for pixels learns of their cells."""

    images: torch.Tensor
    """(n, ...), what the network reads of them."""
    labels: torch.Tensor
    """(n, GRID ** 2) float in [0, 1]."""
    weights: torch.Tensor
    """(n, GRID ** 2) float."""
    drawn: int
    """How many of them are in a training step."""


def labelled_backgrounds(images: torch.Tensor, weight: float) -> LabelledImages:
    """Background images: every cell is labelled 0 and has this weight."""
    cells = torch.ones(len(images), GRID ** 2)
    return LabelledImages(images, 0 * cells, weight * cells, BATCH[1])


def weigh_cells(moments: Moments, labels: CellLabels) -> tuple[torch.Tensor, torch.Tensor]:
    """What a network learns of the cells of n target images.

    Returns:
        (labels, their weights), each (n, GRID ** 2) float.
    """
    covered, mistaken = moments.corrected(labels.covered)
    weights = torch.where(labels.disputed, DISPUTED_WEIGHT, 1.0)
    return covered, weights.masked_fill(mistaken, MISTAKEN_WEIGHT)


def draw_batch(kinds: Sequence[LabelledImages], channels: int, left_out: float
               ) -> tuple[torch.Tensor, ...]:
    """What a training step sees: random images of each kind.

    Args:
        channels: number of features of a cell.
        left_out: share of an image's channels that the step does not see.

    Returns:
        (images (b, ...), channels seen (b, 1, channels) float, labels, weights (b, GRID ** 2)).
    """
    rows = [torch.randint(len(kind.images), (kind.drawn,)) for kind in kinds]
    # One draw per image and channel: other cells do not tell what a cell does not see.
    seen = functional.dropout(torch.ones(sum(map(len, rows)), 1, channels), left_out)

    def drawn(part: str) -> torch.Tensor:
        return torch.cat([getattr(kind, part)[row] for kind, row in zip(kinds, rows)])
    return drawn("images"), seen, drawn("labels"), drawn("weights")


def train_pixel_network(classifier: "BackgroundClassifier", moments: Moments, labels: CellLabels,
                        seed: int, progress: Callable = silent) -> PixelNetwork:
    """A network for pixels, on a classifier's backbone and device.

    Args:
        classifier: BackgroundClassifier.
        moments: Moments of the target images that the labels are of and of background images.
        labels: CellLabels.
        seed: of the first weights and of the draws.
        progress: see ``common.progress``.

    Raises:
        FloatingPointError: the network's weights are no longer finite.
    """
    covered, weights = weigh_cells(moments, labels)
    device = classifier.unit.weight.device
    with (torch.random.fork_rng(devices=[]), torch.autocast(device.type, enabled=False),
          torch.enable_grad(), one_thread_per_operation()):  # the same bits for any number of cores
        torch.default_generator.manual_seed(seed)
        network = PixelNetwork(classifier.backbone)
        network.standardise(moments.mean, moments.second.diagonal() - moments.mean ** 2)
        network.to(device).requires_grad_(True)
        _learn(network, moments, covered, weights, progress)
    if not all(values.isfinite().all() for values in network.parameters()):
        raise FloatingPointError("the network for pixels has weights that are not finite; take the "
                                 "recipe linear, or other --weights")
    return network.requires_grad_(False)


def _learn(network, moments, labels, weights, progress):
    """Steps of AdamW on random images; every cell of a background image is 0."""
    of_targets, of_backgrounds = BATCH
    device = network.mean.device
    kinds = (LabelledImages(moments.targets, labels, weights, of_targets),
             labelled_backgrounds(moments.backgrounds, of_targets / of_backgrounds))
    steps = max(LEAST_STEPS, EPOCHS * len(labels) // of_targets)
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps)
    with progress(steps, "network for pixels", unit="steps") as advance:
        for _ in range(steps):
            features, seen, covered, weight = (
                values.to(device) for values in draw_batch(kinds, network.width, LEFT_OUT))
            loss = functional.binary_cross_entropy_with_logits(
                network.logits(network.standardised(features) * seen), covered, weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            advance(1)
