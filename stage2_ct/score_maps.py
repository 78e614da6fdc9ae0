"""Score maps: what a box is cut from."""

from stage2_ct.model import maps_of, stretch, upsample


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
        chosen = maps_of(prediction.class_maps, classes).float()
        maps.append(stretch(upsample(chosen, size)))
    if kind in ("mask", "product"):
        maps.append(stretch(upsample(prediction.mask_logits.float(), size).sigmoid()))
    product = maps[0] if len(maps) == 1 else stretch(maps[0] * maps[1])
    return product[:, 0]
