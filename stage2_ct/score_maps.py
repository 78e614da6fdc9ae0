"""Score maps: what a box is cut from."""

import torch

from stage2_ct.model import upsample


def score_maps(prediction, kind, classes, size):
    """One map an image, high where the object is.

    Args:
        prediction: Prediction of N images.
        kind: "class": the class map of the given class; "mask": the mask map A; "product": one
            times the other.
        classes: (N,) int64, the class whose map is wanted.
        size: (height, width) of the result in pixels.

    Returns:
        (N, height, width) float32 in [0, 1], each map stretched to reach both ends; a constant
        map is all zeros.

    Raises:
        ValueError: a mask map is asked of a method that has none.
    """
    if kind != "class" and prediction.mask_logits is None:
        raise ValueError(f"score map '{kind}' needs a mask branch, which this method does not "
                         "have; use --score-map class")
    maps = []
    if kind in ("class", "product"):
        rows = torch.arange(len(classes), device=classes.device)
        chosen = prediction.class_maps[rows, classes][:, None].float()
        maps.append(_stretch(upsample(chosen, size)))
    if kind in ("mask", "product"):
        maps.append(_stretch(upsample(prediction.mask_logits.float(), size).sigmoid()))
    product = maps[0] if len(maps) == 1 else _stretch(maps[0] * maps[1])
    return product[:, 0]


def _stretch(maps):
    """Each of (N, 1, H, W) maps moved and scaled to the range 0 to 1."""
    lowest = maps.amin(dim=(2, 3), keepdim=True)
    span = maps.amax(dim=(2, 3), keepdim=True) - lowest
    return torch.where(span > 0, (maps - lowest) / span.clamp_min(1e-12), 0.0)
