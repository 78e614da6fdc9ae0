"""The backbone's last layers, tuned to the masks of a network for pixels.

A network for pixels (``stage1_bc.pixel_network``) judges each cell by frozen features. Layers that
are themselves trained, on labels that are right more often than wrong, come to tell the object
from what stands beside it by more than these features say. So a copy of the backbone's tail learns
the masks that such a network makes of the target images, and that background images hold nothing.
It also learns from composites of the two (``stage1_bc.composites``). It learns no class label;
labels only help to choose the doubtful cells, see below.

Two networks for pixels take part while it learns. One learns from what is salient, and finds the
cells that are doubtful in its masks (``stage1_bc.doubtful_cells``). The other is the teacher: it
learns from what is salient and speaks against the background images as well
(``stage1_bc.agreement``). The doubtful cells count as background for the teacher, the copy and the
linear unit whose scores enter the teacher's labels, and not for the evidence. Neither network makes
masks: a map is the copy's answer alone.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from common.backbones import Backbone
from common.progress import silent
from common.threads import map_in_order, one_thread_per_operation
from stage1_bc.cells import GRID, on_grid, on_one_grid, resize_maps
from stage1_bc.composites import Composites
from stage1_bc.cutting import largest_above
from stage1_bc.first_labels import DISPUTED, CellLabels
from stage1_bc.gradient_maps import at_scale, unit_maximum
from stage1_bc.moments import Moments, TailInputs, evenly_spread
from stage1_bc.pixel_network import (BATCH, CellNetwork, LabelledImages, PixelNetwork, draw_batch,
                                     labelled_backgrounds, weigh_cells)
from stage1_bc.pixel_unit import Look
from stage1_bc.recipe import Recipe
from stage1_bc.sharpening import SIDE, blurred, objects

if TYPE_CHECKING:  # the classifier imports this module
    from stage1_bc.classifier import BackgroundClassifier

LEFT_OUT = 0.5  # share of an image's channels that a training step does not see
# The masks to learn: the weight of GrabCut's object that is added to a map, and the fraction of
# the largest value that cuts it.
SHARPEN, LABEL_CUT = 0.5, 0.3
EPOCHS, LEAST_STEPS = 8, 40
COMPOSITES = 8  # in a training step, beside BATCH
PARTS = 4  # of a batch, computed at once
TAIL_RATE, HEAD_RATE, WEIGHT_DECAY = 1e-4, 1e-3, 0.01  # AdamW's highest step sizes, of one cycle
SCALED_BY = 64  # images of each kind that the features' scale is taken from


class TunedNetwork(CellNetwork):
    """A trained copy of the backbone's tail, and one hidden layer over its outputs.

    Args:
        backbone: Backbone; frozen, and not part of this module's state.
    """

    def __init__(self, backbone: Backbone):
        super().__init__(backbone)
        self.tail = backbone.tail()
        # In a list: they are the tail's already.
        self.tuned = [value for value in self.tail.parameters() if value.requires_grad]
        with torch.no_grad():
            self.set_width(self.features(self.blank.tail_input).shape[-1])

    def forward(self, tail_input: torch.Tensor, side: int = GRID) -> torch.Tensor:
        """Likeness to target, 0 to 1, of (N, c, h, w) inputs of the tail as (N, side, side)."""
        return self.likeness(self.features(tail_input, side))

    def answer(self, look: Look) -> torch.Tensor:
        return self(look.tail_input)

    def answers(self, look: Look, images: torch.Tensor, recipe: Recipe) -> list[torch.Tensor]:
        """One at each of the recipe's ``tuned_scales``, on a grid of as many times GRID cells."""
        return [self.answer(look) if scale == 1 else self._answer_at(images, scale)
                for scale in recipe.tuned_scales]

    @torch.no_grad()
    def _answer_at(self, images, scale):
        resized = at_scale(images, scale, images.shape[2:])
        return self(self.look(resized).tail_input, round(GRID * scale))

    def features(self, tail_input: torch.Tensor, side: int = GRID) -> torch.Tensor:
        """The tail's outputs on a grid, (N, side ** 2, channels) float32."""
        return on_one_grid(self.tail(tail_input).values(), side)

    def train(self, mode: bool = True) -> "TunedNetwork":
        """Batch norm in the tail always runs on its stored statistics, as in every backbone."""
        return super().train(False)


@torch.no_grad()
def label_by_masks(teacher: PixelNetwork, moments: Moments, frames: torch.Tensor
                   ) -> tuple[CellLabels, np.ndarray]:
    """Labels of target images from the masks of a network for pixels, sharpened by GrabCut.

    Args:
        teacher: PixelNetwork.
        moments: Moments of the n target images.
        frames: (n, 3, SIDE, SIDE) uint8 RGB, the same images at GrabCut's size.

    Returns:
        (CellLabels, (n, SIDE, SIDE) bool, the masks without cells named as not the target).
    """
    device = teacher.mean.device
    with torch.autocast(device.type, enabled=False), one_thread_per_operation():
        maps = unit_maximum(resize_maps(moments.answers(teacher, device), (SIDE, SIDE)))
    found = objects(frames, maps)
    masks = largest_above(maps + SHARPEN * torch.from_numpy(blurred(found)), LABEL_CUT)
    covered = on_grid(masks)
    labels = CellLabels(covered, (on_grid(found) - covered).abs() > DISPUTED)
    kept, _ = moments.corrected(torch.ones_like(covered))
    kept = resize_maps(kept.unflatten(1, (GRID, GRID)), (SIDE, SIDE)) > 0.5
    return labels, masks & kept.numpy()


def train_tuned_network(classifier: "BackgroundClassifier", moments: Moments, inputs: TailInputs,
                        labels: CellLabels, composites: Composites, seed: int,
                        progress: Callable = silent) -> TunedNetwork:
    """A tuned network, on a classifier's backbone and device.

    Args:
        classifier: BackgroundClassifier.
        moments: Moments of the target and of background images.
        inputs: TailInputs of the same target images and of background images.
        labels: CellLabels of the target images, from ``label_by_masks``.
        composites: Composites of them; may be empty.
        seed: of the head's first weights and of the draws.
        progress: see ``common.progress``.

    Raises:
        FloatingPointError: the network's weights are no longer finite.
    """
    device = classifier.unit.weight.device
    with (torch.random.fork_rng(devices=[]), torch.autocast(device.type, enabled=False),
          one_thread_per_operation() as threads):  # the same bits for any number of cores
        torch.default_generator.manual_seed(seed)
        of_targets, _ = BATCH
        kinds = [LabelledImages(inputs.targets, *weigh_cells(moments, labels), of_targets),
                 labelled_backgrounds(inputs.backgrounds, 1.0)]
        if len(composites.covered):
            kinds.append(LabelledImages(*composites, torch.ones_like(composites.covered),
                                        COMPOSITES))
        network = TunedNetwork(classifier.backbone).to(device)
        _standardise(network, inputs)
        steps = max(LEAST_STEPS, EPOCHS * len(inputs.targets) // of_targets)
        _learn(network, kinds, steps, threads, progress)
    if not all(values.isfinite().all() for values in network.parameters()):
        raise FloatingPointError("the tuned network has weights that are not finite; take the "
                                 "recipe frozen, or other --weights")
    return network


@torch.no_grad()
def _standardise(network, inputs):
    """Set the mean and the scale of the tail's features, both kinds of images weighing the same."""
    device, means, squares = network.mean.device, [], []
    for kind in inputs:
        rows = evenly_spread(len(kind), SCALED_BY)
        features = torch.cat([network.features(part.float().to(device)).flatten(0, 1)
                              for part in kind[rows].split(16)])
        means.append(features.mean(0))
        squares.append((features ** 2).mean(0))
    mean = sum(means) / 2
    network.standardise(mean, sum(squares) / 2 - mean ** 2)


def _learn(network, kinds, steps, threads, progress):
    """Steps of AdamW on random images."""
    tail, head = network.tuned, [*network.hidden.parameters(), *network.output.parameters()]
    device = network.mean.device
    cells = sum(kind.drawn for kind in kinds) * GRID ** 2  # in a step
    optimizer = torch.optim.AdamW([{"params": tail, "lr": TAIL_RATE},
                                   {"params": head, "lr": HEAD_RATE}], weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [TAIL_RATE, HEAD_RATE], steps)
    for value in tail + head:
        value.requires_grad_(True)

    def gradients(part):
        """Of the loss of some images of the batch."""
        images, seen, covered, weight = (values.to(device) for values in part)
        logits = network.logits(network.standardised(network.features(images.float())) * seen)
        loss = functional.binary_cross_entropy_with_logits(
            logits, covered, weight / cells, reduction="sum")
        # What lies behind the last output that is read, such as a transformer's norm, gets zeros.
        return torch.autograd.grad(loss, tail + head, allow_unused=True, materialize_grads=True)

    with progress(steps, "tuned network", unit="steps") as advance:
        for _ in range(steps):
            batch = draw_batch(kinds, len(network.mean), LEFT_OUT)
            parts = map_in_order(gradients, zip(*(values.chunk(PARTS) for values in batch)), device,
                                 threads)
            for value, gradient in zip(tail + head, map(sum, zip(*parts))):
                value.grad = gradient
            optimizer.step()
            schedule.step()
            advance(1)
    network.requires_grad_(False)
