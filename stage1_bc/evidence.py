"""A unit that reads every pixel, taught by the classifier's own evidence.

Guided gradients show what is salient, whatever the classifier has learned. The evidence here is
what the classifier's answer is made of: the terms, positive and negative, that each pixel of the
last feature map adds to its logit. Where they are above the image's average, the pixel speaks for
a target and against the background images. That finds little of the object, and the right part: a
unit that learns it from all images at once, with the background images as "not target", finds
more, and learns from its own answers a few times over. What the background images show stays out.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from common.threads import map_in_order, one_thread_per_operation
from stage1_bc.cells import COVERED, GRID, on_grid, resize_maps
from stage1_bc.cutting import components_with, largest_above
from stage1_bc.gradient_maps import unit_maximum
from stage1_bc.moments import Moments
from stage1_bc.pixel_unit import PixelUnit
from stage1_bc.sharpening import SIDE, objects, sharpen, shrink_images

if TYPE_CHECKING:  # the classifier imports the units that it may have
    from stage1_bc.classifier import BackgroundClassifier

SEED_CUT = 0.3  # fraction of the evidence's largest value from which on a pixel is object at first
GROWING = 4  # rounds that learn the objects GrabCut finds from the answers
SETTLING = 2  # rounds that learn the masks a recipe with sharpening would cut from the answers
SHARPEN, SETTLED_CUT = 0.5, 0.3  # how those are sharpened and cut


def evidence_map(classifier: "BackgroundClassifier", images: torch.Tensor) -> torch.Tensor:
    """Where a classifier's logit comes from.

    Args:
        classifier: BackgroundClassifier.
        images: (N, 3, H, W) float RGB in [0, 1].

    Returns:
        (N, h, w) float32 at the feature map's size, at least 0: how far the sum over channels of
        gradient times activation is above its mean over the image. With the pooled head that is
        the class activation map, up to a factor.
    """
    with torch.no_grad():
        features = classifier.backbone(images)
    with torch.enable_grad():
        features = features.detach().requires_grad_()
        logits = classifier.unit(classifier.read(features))
        gradient, = torch.autograd.grad(logits.sum(), features)
    evidence = (gradient * features.detach()).sum(1).float()
    return (evidence - evidence.mean((1, 2), keepdim=True)).clamp_min(0)


def train_evidence_unit(classifier: "BackgroundClassifier", targets: Iterable[torch.Tensor],
                        moments: Moments, salient: torch.Tensor | None = None) -> PixelUnit:
    """A unit for pixels that learns a classifier's evidence, on the classifier's device.

    Args:
        classifier: BackgroundClassifier, its own unit trained.
        targets: iterable of (N, 3, H, W) float RGB in [0, 1], on the classifier's device.
        moments: Moments of these images and of the background images.
        salient: (n, GRID ** 2) bool, cells of things. What is connected with the evidence through
            these is no negative: evidence peaks on the part that names the target, such as a face,
            and the rest of an animal is not background. None for no such cells.
    """
    device = classifier.unit.weight.device

    def look(images):
        seeds = resize_maps(evidence_map(classifier, images), images.shape[2:]).cpu()
        return (on_grid(largest_above(seeds, SEED_CUT)),
                resize_maps(unit_maximum(seeds), (SIDE, SIDE)), shrink_images(images).cpu())

    with (torch.autocast(device.type, enabled=False),  # half precision is too coarse for moments
          one_thread_per_operation() as threads):  # the same bits for any number of cores
        labels, seeds, frames = map(torch.cat, zip(*map_in_order(look, targets, device, threads)))
        spared = None if salient is None else _connected(salient, labels >= COVERED)
        unit = PixelUnit(classifier.backbone)
        for number in range(GROWING + SETTLING):
            moments.fit(unit, labels, spared)
            answers = moments.answers(unit).clamp_min(0)
            scores = unit_maximum(resize_maps(answers, (SIDE, SIDE)))
            if number == 0:
                scores = unit_maximum(scores + seeds)
            if number < GROWING:
                labels = on_grid(objects(frames, scores))
            else:
                labels = on_grid(largest_above(sharpen(frames / 255, scores, SHARPEN), SETTLED_CUT))
        moments.fit(unit, labels, spared)
    return unit.to(device)


def _connected(salient, evidence):
    """The salient cells that are connected with evidence, as two (n, GRID ** 2) bool to one."""
    grids = (cells.unflatten(1, (GRID, GRID)).numpy() for cells in (salient, evidence))
    return torch.from_numpy(components_with(*grids)).flatten(1)
