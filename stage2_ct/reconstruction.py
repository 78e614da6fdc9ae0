"""Grey-scale reconstruction from one pixel (Vincent, 1993), for a batch of maps at once."""

from collections.abc import Sequence

import cv2
import numpy as np

NEIGHBOURS = np.ones((3, 3), np.uint8)  # 8-connected, as in the box rule


def reconstruct(maps: np.ndarray, starts: Sequence[int]) -> np.ndarray:
    """Maps as far as they are connected with one pixel each.

    A pixel's value becomes the smallest one along the best path that leads to it: cut at any
    threshold, the result is the one component that holds the starting pixel.

    Values are carried along whole columns and rows, both ways, and then one pixel in every
    direction, until nothing changes. Five rounds usually do, where dilating pixel by pixel takes
    one step for each pixel of the longest path. The maps of a batch share the steps along a line.

    Args:
        maps: (N, H, W) uint16.
        starts: N flat indices, where each map starts.

    Returns:
        (N, H, W) uint16, at most the maps.
    """
    result = np.zeros_like(maps)
    growing = np.arange(len(maps))
    result.reshape(len(maps), -1)[growing, starts] = maps.reshape(len(maps), -1)[growing, starts]
    # Lines first, so that one line of all maps lies together in memory: (H, N, W).
    limits, grown = (each.transpose(1, 0, 2).copy() for each in (maps, result))
    turned_limits = _turned(limits)
    while growing.size:
        _carry(grown, limits)
        turned = _turned(grown)
        _carry(turned, turned_limits)
        grown = _turned(turned)
        spread = np.stack([cv2.min(cv2.dilate(one, NEIGHBOURS), limit) for one, limit in zip(
            grown.transpose(1, 0, 2), limits.transpose(1, 0, 2))], axis=1)
        result[growing] = spread.transpose(1, 0, 2)
        changed = (spread != grown).any(axis=(0, 2))
        growing, grown = growing[changed], spread[:, changed]
        limits, turned_limits = limits[:, changed], turned_limits[:, changed]
    return result


def _carry(grown, limits):
    """Carry values from line to line, to the last and back, as far as the limits let them; in
    place. Both (lines, N, length)."""
    reach = np.empty_like(grown[0])
    for order in (slice(None), slice(None, None, -1)):
        lines = list(grown[order])
        for before, line, limit in zip(lines, lines[1:], limits[order][1:]):
            np.minimum(before, limit, out=reach)
            np.maximum(line, reach, out=line)


def _turned(lines):
    """(H, N, W) as (W, N, H). OpenCV transposes faster than NumPy copies a transposed array."""
    return np.stack([cv2.transpose(lines[:, number]) for number in range(lines.shape[1])], axis=1)
