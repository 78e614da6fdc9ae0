"""Masks by a trained model, for a second round: they supervise the next model.

Masks of the background classifier come from single places of frozen features. A model that has
learnt from them, and from the class labels, sees the object as a whole: what its masks had wrong in
some images, it has seen right in others.
"""

import math
from collections.abc import Iterable

import numpy as np
import torch

from common.boxes import largest_component, mask_to_box
from common.mask_cache.reader import DEFAULT_DELTA
from common.mask_cache.shards import CutMasks, Provenance
from stage2_ct.localizer import Localizer
from stage2_ct.prediction import score_prediction

SMALLEST_AREA = 0.01  # of the frame: smaller masks are not valid, as in stage 1's recipes


class ModelMaskMaker:
    """Makes masks with a trained model; a ``Maker`` of ``common.mask_cache.writer``.

    Args:
        localizer: the model, with its tau.
    """

    def __init__(self, localizer: Localizer):
        self.localizer = localizer
        self.device = localizer.compute.device
        self.size = (localizer.frame,) * 2
        self.input_size = (localizer.side,) * 2

    @torch.no_grad()
    def masks(self, images: torch.Tensor, deltas: Iterable[float]) -> dict[float, CutMasks]:
        """Masks at several thresholds from one score map per image, that of the predicted class.

        Args:
            images: (N, 3, H, W) float RGB in [0, 1].

        Returns:
            dict from delta to CutMasks.
        """
        localizer = self.localizer
        images = images.to(self.device, memory_format=torch.channels_last)
        prediction = localizer.method.predict(images)
        maps, _ = score_prediction(prediction, localizer.score_map, localizer.frame)
        return {delta: _cut(maps, threshold(localizer.tau, delta)) for delta in deltas}

    def provenance(self, images: str) -> Provenance:
        """What the masks of some images depend on.

        Args:
            images: digest of the images, see ``Dataset.digest``.
        """
        localizer = self.localizer
        return Provenance(images, localizer.model.digest_of_training(), {
            "score_map": localizer.score_map, "tau": localizer.tau,
            "input_size": localizer.side, "smallest_area": SMALLEST_AREA}, self.size)


def threshold(tau: float, delta: float) -> float:
    """The threshold on a score map in [0, 1] that stands for delta: tau where delta is 0.80.

    At the default delta, a mask is what ``bcct localize`` finds; a smaller one gives more generous
    masks. This equals raising the map to the power that moves tau to 0.80 and cutting it at delta,
    as a recipe's gamma does in stage 1.
    """
    return tau ** (math.log(delta) / math.log(DEFAULT_DELTA))


def _cut(maps: np.ndarray, level: float) -> CutMasks:
    """The largest component of each (N, H, W) map at a threshold."""
    masks = np.stack([largest_component(one) for one in maps >= np.float32(level)])
    boxes = np.stack([mask_to_box(mask) for mask in masks])
    valid = masks.mean(axis=(1, 2)) >= SMALLEST_AREA
    return CutMasks(masks, np.asarray(valid), boxes)
