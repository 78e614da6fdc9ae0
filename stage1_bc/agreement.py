"""Labels in which the background images have a say, for the tuned network's teacher.

The linear unit is taught by guided gradients. These show what is salient, whatever the classifier
has learned, so a network that learns from its answers takes in salient things that the background
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
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from common.threads import one_thread_per_operation
from stage1_bc.cells import resize_maps
from stage1_bc.evidence import train_evidence_unit
from stage1_bc.first_labels import CellLabels, FirstLabels, label_by_scores, train_pixel_unit
from stage1_bc.gradient_maps import unit_maximum
from stage1_bc.moments import Moments
from stage1_bc.pixel_map import agreed
from stage1_bc.pixel_unit import PixelUnit
from stage1_bc.sharpening import SIDE

if TYPE_CHECKING:  # the classifier imports what imports this module
    from stage1_bc.classifier import BackgroundClassifier


SALIENT = 0.2  # share of the target images' cells


@torch.no_grad()
def label_by_agreement(classifier: "BackgroundClassifier", targets: Iterable[torch.Tensor],
                       moments: Moments, first: FirstLabels) -> CellLabels:
    """Labels of target images from their first scores and an evidence unit, sharpened by GrabCut.

    Args:
        classifier: BackgroundClassifier, its own unit trained.
        targets: iterable of (N, 3, H, W) float RGB in [0, 1], on the classifier's device.
        moments: Moments of these images and of the background images.
        first: FirstLabels of these images.
    """
    linear = train_pixel_unit(classifier, moments, first.cells)
    evidence = train_evidence_unit(classifier, targets, moments, salient_cells(linear, moments))
    device = evidence.weight.device
    with torch.autocast(device.type, enabled=False), one_thread_per_operation():
        answers = moments.answers(evidence, device).clamp_min(0)
        return label_by_scores(first.frames,
                               agreed([first.scores, resize_maps(answers, (SIDE, SIDE))]))


@torch.no_grad()
def salient_cells(linear: PixelUnit, moments: Moments) -> torch.Tensor:
    """The fifth of the n target images' cells that a linear unit answers to most.

    Returns:
        (n, GRID ** 2) bool. Answers are compared in parts of each image's largest.
    """
    device = linear.weight.device
    with torch.autocast(device.type, enabled=False), one_thread_per_operation():
        answers = unit_maximum(moments.answers(linear, device).clamp_min(0)).flatten(1)
    least = answers.flatten().kthvalue(math.ceil((1 - SALIENT) * answers.numel())).values
    return answers > least
