"""From gradient maps to binary masks (paper, section 3.2, Eq. 2)."""

import cv2
import joblib
import numpy as np
import torch

from common.boxes import largest_component, mask_to_box
from common.mask_cache.shards import CutMasks
from stage1_bc.recipe import Recipe


def normalise(maps: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Gradient maps in [0, 1], as delta expects them.

    Args:
        maps: (N, H, W) float, at least 0.

    Returns:
        (N, H, W) float32. A constant map becomes all zeros, since it holds no information.
    """
    lowest, highest = maps.min(axis=(1, 2)), maps.max(axis=(1, 2))
    constant = ~(highest > lowest)  # also true for a map with NaN
    if recipe.normalise == "rank":
        scaled = _ranks(maps)
    else:
        scaled = maps / np.where(highest > 0, highest, 1)[:, None, None]
    scaled = (scaled ** recipe.gamma).astype(np.float32)
    scaled[constant] = 0
    return scaled


def _ranks(maps):
    """Each pixel as the fraction of its map's pixels with a smaller value."""
    flat = maps.reshape(len(maps), -1)
    ranks = np.stack([np.searchsorted(np.sort(values), values) for values in flat])
    return (ranks / flat.shape[1]).reshape(maps.shape)


def cut(maps: np.ndarray, delta: float, recipe: Recipe) -> CutMasks:
    """Binary masks from normalised maps: Eq. 2, then the largest component.

    Args:
        maps: (N, H, W) float32 in [0, 1], from ``normalise``.
        delta: threshold in (0, 1].

    Returns:
        CutMasks. A mask is invalid where the map was constant or its area is below the recipe's
        smallest.
    """
    masks = maps >= delta
    if recipe.component == "largest":
        masks = largest_components(masks)
    boxes = np.stack([mask_to_box(mask) for mask in masks])
    areas = masks.mean(axis=(1, 2))
    valid = (areas > 0) & (areas >= recipe.smallest_area)
    return CutMasks(masks, valid, boxes)


def largest_components(masks: np.ndarray) -> np.ndarray:
    """The largest 8-connected component of each mask, (N, H, W) bool."""
    # OpenCV frees the interpreter while it labels, so threads share the work.
    return np.stack(joblib.Parallel(n_jobs=-1, prefer="threads")(
        joblib.delayed(largest_component)(mask) for mask in masks))


def largest_above(maps: torch.Tensor, fraction: float) -> np.ndarray:
    """Largest component above a fraction of each map's maximum: (N, h, w) float to bool array."""
    highest = maps.amax((1, 2), keepdim=True)
    return largest_components(((maps >= fraction * highest) & (highest > 0)).numpy())


def components_with(masks: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The 4-connected components of each mask that hold a seed: two (N, h, w) bool to one."""
    def held(mask, seed):
        _, numbers = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
        return mask & np.isin(numbers, numbers[mask & seed])
    return np.stack([held(mask, seed) for mask, seed in zip(masks, seeds)])
