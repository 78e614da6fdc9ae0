"""Labels for the network for pixels in which the background images have a say.

The linear unit is taught by guided gradients. These show what is salient, whatever the classifier
has learned, so the network that learns from both takes in salient things that the background
images show as well. The evidence unit (``stage1_bc.evidence``) is taught by what speaks for a
target and against the background images. Its outlines are worse, and where a thing is in many
target images and in no background, it takes that in too. The geometric mean of both scores is high
where both are: it has the outlines of the one and the choice of the other.

The classifier's evidence peaks on the part that names the target, such as a face. The linear unit
knows how far the thing reaches that this part belongs to: where its answers are high and connected
with the evidence, a cell is no negative of the evidence unit. A salient thing without evidence,
such as what the background images show, remains a negative.
"""

import math
from typing import TYPE_CHECKING

import torch

from common.threads import one_thread_per_operation
from stage1_bc.gradient_maps import unit_maximum
from stage1_bc.pixel_unit import CellLabels, Moments, agreed, label_by_scores, resize_maps
from stage1_bc.sharpening import SIDE

if TYPE_CHECKING:  # the classifier imports what imports this module
    from stage1_bc.classifier import BackgroundClassifier


SALIENT = 0.2  # share of the target images' cells


@torch.no_grad()
def salient_cells(classifier: "BackgroundClassifier", moments: Moments) -> torch.Tensor:
    """The fifth of the target images' cells that the linear unit answers to most.

    Args:
        classifier: BackgroundClassifier that has its linear unit.
        moments: Moments of the n target images.

    Returns:
        (n, GRID ** 2) bool. Answers are compared in parts of each image's largest.
    """
    device, linear = classifier.unit.weight.device, classifier.pixel_unit
    assert linear is not None  # ClassifierConfig.taught sees to it
    with torch.autocast(device.type, enabled=False), one_thread_per_operation():
        answers = unit_maximum(moments.answers(linear, device).clamp_min(0)).flatten(1)
    least = answers.flatten().kthvalue(math.ceil((1 - SALIENT) * answers.numel())).values
    return answers > least


@torch.no_grad()
def label_by_agreement(classifier: "BackgroundClassifier", moments: Moments, frames: torch.Tensor,
                       scores: torch.Tensor) -> CellLabels:
    """Labels of target images from first scores and the evidence unit, sharpened by GrabCut.

    Args:
        classifier: BackgroundClassifier that has its evidence unit.
        moments: Moments of the n target images.
        frames: (n, 3, SIDE, SIDE) uint8 RGB, the same images at GrabCut's size.
        scores: (n, SIDE, SIDE) float, at least 0: those of the linear unit's first labels, from
            ``label_cells``.
    """
    device, evidence = classifier.unit.weight.device, classifier.evidence_unit
    assert evidence is not None  # ClassifierConfig.taught sees to it
    with torch.autocast(device.type, enabled=False), one_thread_per_operation():
        answers = moments.answers(evidence, device).clamp_min(0)
        return label_by_scores(frames, agreed([scores, resize_maps(answers, (SIDE, SIDE))]))
