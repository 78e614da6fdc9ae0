"""Outlines of masks as SVG paths, so that a page draws them sharply at any size."""

import cv2
import numpy as np

SIMPLIFIED = 0.75  # how far an outline may be off, in pixels of the mask: invisible


def outline_path(mask: np.ndarray, size: tuple[int, int]) -> str:
    """The ``d`` of an SVG path around a mask, holes included.

    Args:
        mask: (h, w) bool of a whole picture, squashed to any size.
        size: (height, width) that the path's coordinates are in.

    Returns:
        str; "" for an empty mask.
    """
    scale = np.array([size[1] / mask.shape[1], size[0] / mask.shape[0]])
    contours = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[-2]
    parts = []
    for contour in contours:
        # Contours run through pixel centres.
        points = (cv2.approxPolyDP(contour, SIMPLIFIED, True)[:, 0] + 0.5) * scale
        parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "Z")
    return "".join(parts)
