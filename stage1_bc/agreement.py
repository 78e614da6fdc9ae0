"""Labels for the network for pixels in which the background images have a say.

The linear unit is taught by guided gradients. These show what is salient, whatever the classifier
has learned, so the network that learns the unit's answers takes in salient things that the
background images show as well. The evidence unit (``stage1_bc.evidence``) is taught by what speaks
for a target and against the background images. Its outlines are worse, and where a thing is in
many target images and in no background, it takes that in too. The geometric mean of both answers is
high where both are: it has the outlines of the one and the choice of the other.

The evidence comes from the last feature map, whose cells are large, and peaks on the part that
names the target, such as a face. So the evidence unit's answers are blurred: they say which thing
it is, and the linear unit's say how far it reaches.
"""

from typing import TYPE_CHECKING

import torch
from torchvision.transforms.functional import gaussian_blur

from common.threads import one_thread_per_operation
from stage1_bc.gradient_maps import unit_maximum
from stage1_bc.pixel_unit import CellLabels, Moments, agreed, label_by_scores, resize_maps
from stage1_bc.sharpening import SIDE

if TYPE_CHECKING:  # the classifier imports what imports this module
    from stage1_bc.classifier import BackgroundClassifier


BLUR = 1.0  # standard deviation of the blur over the evidence unit's answers, in cells
BLUR_SIDE = 2 * round(3 * BLUR) + 1  # of its kernel: three standard deviations to each side


@torch.no_grad()
def label_by_agreement(classifier: "BackgroundClassifier", moments: Moments, frames: torch.Tensor
                       ) -> CellLabels:
    """Labels of target images from the linear unit and the evidence unit, sharpened by GrabCut.

    Args:
        classifier: BackgroundClassifier that has both units.
        moments: Moments of the n target images.
        frames: (n, 3, SIDE, SIDE) uint8 RGB, the same images at GrabCut's size.
    """
    device = classifier.unit.weight.device
    linear, evidence = classifier.pixel_unit, classifier.evidence_unit
    assert linear is not None and evidence is not None  # ClassifierConfig.taught sees to it

    def answer(features):
        where = gaussian_blur(evidence(features).clamp_min(0), BLUR_SIDE, BLUR)
        return agreed([linear(features), where]).cpu()

    with torch.autocast(device.type, enabled=False), one_thread_per_operation():
        answers = torch.cat([answer(part.to(device)) for part in moments.targets.split(64)])
        return label_by_scores(frames, unit_maximum(resize_maps(answers, (SIDE, SIDE))))
