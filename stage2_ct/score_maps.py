"""Score maps: what a box is cut from."""

import numpy as np
import torch

from stage2_ct.model import Prediction, maps_of, stretch, upsample
from stage2_ct.reconstruction import reconstruct

SCORE_MAPS = ("class", "mask", "product", "object")

LEVELS = 65535  # of a map while it is reconstructed: 16 bits go faster than floats


def score_maps(prediction: Prediction, kind: str, classes: torch.Tensor,
               size: tuple[int, int]) -> torch.Tensor:
    """One map per image, high where the object is.

    Args:
        prediction: Prediction of N images.
        kind: "class": the class map of the given class; "mask": the mask map A; "product": one
            times the other; "object": the mask map, as far as it is connected with the place
            where that product is largest (see ``connected``).
        classes: (N,) int64, the class whose map is wanted.
        size: (height, width) of the result in pixels.

    Returns:
        (N, height, width) float32 in [0, 1], each map stretched to reach both ends; a constant
        map is all zeros.

    Raises:
        ValueError: the kind needs a mask map and the method has none.
    """
    if kind != "class" and prediction.mask_logits is None:
        raise ValueError(f"score map '{kind}' needs a mask branch, which this method does not "
                         "have; use --score-map class")
    if kind != "mask":
        class_map = stretch(upsample(maps_of(prediction.class_maps, classes).float(), size))
    if kind != "class":
        mask_map = stretch(upsample(prediction.mask_logits.float(), size).sigmoid())
    if kind == "class":
        maps = class_map
    elif kind == "mask":
        maps = mask_map
    elif kind == "product":
        maps = stretch(class_map * mask_map)
    else:
        maps = stretch(connected(mask_map, class_map * mask_map))
    return maps[:, 0]


def connected(maps: torch.Tensor, evidence: torch.Tensor) -> torch.Tensor:
    """Maps without the parts that are not connected with where the evidence is strongest.

    Each pixel becomes the minimum along the best path to it: cut at any tau, the map is the one
    component that holds the starting point (see ``reconstruct``). A mask map has several peaks
    where several things look like an object; a class map covers only a part of the object, but of
    the right one.

    Args:
        maps: (N, 1, H, W) float in [0, 1].
        evidence: (N, 1, H, W) float, whose largest pixel is where to start.

    Returns:
        (N, 1, H, W) float32, at most the maps to 16 bits; on the maps' device.
    """
    levels = (maps[:, 0].cpu().numpy() * LEVELS).round().astype(np.uint16)
    starts = evidence.flatten(1).argmax(1).tolist()
    grown = reconstruct(levels, starts)
    return torch.from_numpy(grown.astype(np.float32) / LEVELS)[:, None].to(maps.device)
