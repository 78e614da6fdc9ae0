"""Backprop (Simonyan et al., ICLR workshop 2014): the input gradient of the predicted class.

Only the classifier is trained, as for plain CAM.
"""

import torch
from torchvision.transforms.v2 import functional

from stage2_ct.bc_ct import PlainClassActivation
from stage2_ct.model import Prediction

BLUR = 12  # standard deviation in input pixels; see docs/tables.md for its effect


class InputGradient(PlainClassActivation):
    """A plain CAM's classifier, localizing by the gradient of its most probable class's logit."""

    def predict(self, images: torch.Tensor) -> Prediction:
        """Prediction whose class maps are all the predicted class's map, (N, C, H, W)."""
        with torch.enable_grad():
            images = images.detach().requires_grad_()
            logits = self.model(images).logits
            gradient, = torch.autograd.grad(logits.amax(1).sum(), images)
        maps = saliency(gradient, BLUR)
        return Prediction(logits.detach(), maps.expand(-1, logits.shape[1], -1, -1))


def saliency(gradient: torch.Tensor, blur: int) -> torch.Tensor:
    """The largest absolute value over RGB (section 3.1 of the source), blurred.

    Without blur it is a scatter of single pixels, and the largest component is one of them.

    Args:
        gradient: (N, 3, H, W) float.
        blur: standard deviation of a Gaussian in pixels; 0 for none.

    Returns:
        (N, 1, H, W) float.
    """
    maps = gradient.abs().amax(1, keepdim=True)
    if blur == 0:
        return maps
    sides = [min(8 * blur + 1, 2 * side - 1) for side in maps.shape[:1:-1]]
    return functional.gaussian_blur(maps, sides, [float(blur)] * 2)
