"""Sharpening maps along the images' edges.

GrabCut (Rother et al., 2004) models the colours inside and outside of what a map points at and
moves the border to where the image changes. Alone, it fails more often than the map, but where it
works it has the better shape; so it is added to the map instead of replacing it.
"""

import cv2
import joblib
import numpy as np
import torch
from torch.nn import functional

from stage1_bc.colour_models import probable_objects
from stage1_bc.gradient_maps import unit_maximum

SIDE = 112  # side of the picture that GrabCut works on, in pixels
BLUR = 2.0  # standard deviation of the blur over the object that is added, in those pixels
# From these fractions of a map's largest value on, a pixel is initially labelled as ...
PROBABLE_BACKGROUND, PROBABLE_OBJECT, SURE_OBJECT = 0.08, 0.35, 0.8
ITERATIONS = 3


def objects(frames: torch.Tensor, scores: torch.Tensor) -> np.ndarray:
    """The object that GrabCut finds in each image from a score map.

    Args:
        frames: (N, 3, SIDE, SIDE) uint8 RGB tensor.
        scores: (N, SIDE, SIDE) float tensor, at least 0.

    Returns:
        (N, SIDE, SIDE) bool array.
    """
    pixels = frames.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    fractions = unit_maximum(scores).cpu().numpy()
    # OpenCV frees the interpreter while it cuts, so threads share the work.
    return np.stack(joblib.Parallel(n_jobs=-1, prefer="threads")(
        joblib.delayed(_grab_cut)(frame, score) for frame, score in zip(pixels, fractions)))


def sharpen(images: torch.Tensor, maps: torch.Tensor, weight: float,
            by: str = "grabcut") -> torch.Tensor:
    """Maps, each at most 1, plus the object that is found from it, its border blurred.

    Args:
        images: (N, 3, H, W) float RGB in [0, 1].
        maps: (N, h, w) float, at least 0.
        weight: of the object against the map's largest value.
        by: what finds the object, see ``Recipe.sharpen_by``.

    Returns:
        (N, h, w) float tensor on the maps' device, at least 0; a map of zeros stays one.
    """
    if by == "colours":
        found = probable_objects(images, maps)
        found = found * (maps.amax((1, 2), keepdim=True) > 0)  # a map of zeros points at nothing
    else:
        found = torch.from_numpy(blurred(objects(shrink_images(images), shrink(maps))))
    added = functional.interpolate(found[:, None], maps.shape[1:], mode="bilinear",
                                   align_corners=False)[:, 0]
    return unit_maximum(maps) + weight * added.to(maps.device)


def blurred(found: np.ndarray) -> np.ndarray:
    """Objects with a soft border: (N, SIDE, SIDE) bool to float32 in [0, 1]."""
    return np.stack([cv2.GaussianBlur(one, (0, 0), BLUR) for one in found.astype(np.float32)])


def shrink_images(images: torch.Tensor) -> torch.Tensor:
    """Images at GrabCut's size: (N, 3, H, W) float in [0, 1] to (N, 3, SIDE, SIDE) uint8."""
    resized = functional.interpolate(images.detach(), (SIDE, SIDE), mode="area")
    return (resized * 255).round().byte()


def shrink(maps: torch.Tensor) -> torch.Tensor:
    """Maps at GrabCut's size: (N, h, w) float to (N, SIDE, SIDE) float."""
    return functional.interpolate(maps.detach()[:, None], (SIDE, SIDE), mode="area")[:, 0]


def _grab_cut(frame, score):
    """The object in a (SIDE, SIDE, 3) uint8 frame from a score in [0, 1], (SIDE, SIDE) bool."""
    trimap = np.full(score.shape, cv2.GC_BGD, np.uint8)
    trimap[score >= PROBABLE_BACKGROUND] = cv2.GC_PR_BGD
    trimap[score >= PROBABLE_OBJECT] = cv2.GC_PR_FGD
    trimap[score >= SURE_OBJECT] = cv2.GC_FGD
    cv2.setRNGSeed(0)  # its colour models start from random clusters; one generator per thread
    try:
        cv2.grabCut(np.ascontiguousarray(frame), trimap, None, np.zeros((1, 65)),
                    np.zeros((1, 65)), ITERATIONS, cv2.GC_INIT_WITH_MASK)
    except cv2.error:  # one of the two sides is empty: there is nothing to tell apart
        return score >= PROBABLE_OBJECT
    return (trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD)
