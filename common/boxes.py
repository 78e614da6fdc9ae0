"""Boxes, stated once.

A box is ``(x0, y0, x1, y1)`` in pixels with ``x1`` and ``y1`` exclusive, so that its width is
``x1 - x0`` and a mask's box is the tightest slice that holds it. Sizes are ``(height, width)``.
"""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike

LARGEST_SIDE = 2 ** 15 - 1  # of a mask, in pixels: mask caches store boxes as int16


def largest_component(mask: np.ndarray) -> np.ndarray:
    """Keep the largest 8-connected component of a binary mask (paper, section 3.2, after Eq. 2).

    Args:
        mask: (H, W) bool.

    Returns:
        (H, W) bool. All False when the mask is empty; of components equal in size, the one whose
        first pixel in row order comes first.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    if count == 1:  # label 0 is the background
        return np.zeros_like(mask, dtype=bool)
    areas = stats[1:, cv2.CC_STAT_AREA]
    largest = np.flatnonzero(areas == areas.max()) + 1
    if len(largest) > 1:  # OpenCV's parallel labelling does not promise an order
        first_pixels = [int(np.argmax(labels.ravel() == label)) for label in largest]
        return labels == largest[int(np.argmin(first_pixels))]
    return labels == largest[0]


def mask_to_box(mask: np.ndarray) -> np.ndarray:
    """Tightest box around the True pixels of a mask.

    Args:
        mask: (H, W) bool.

    Returns:
        (4,) int16 box in pixels of the mask; ``(0, 0, 0, 0)`` when the mask is empty.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return np.zeros(4, dtype=np.int16)
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=np.int16)


def area(boxes: ArrayLike) -> np.ndarray:
    """Area of each box in square pixels.

    Args:
        boxes: (..., 4) numbers.

    Returns:
        (...) float64; 0 for boxes without extent.
    """
    boxes = np.asarray(boxes, dtype=np.float64)
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    return np.maximum(width, 0) * np.maximum(height, 0)


def intersection(first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """Area that each pair of boxes shares, in square pixels; broadcasts over leading axes."""
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    upper_left = np.maximum(first[..., :2], second[..., :2])
    lower_right = np.minimum(first[..., 2:], second[..., 2:])
    return area(np.concatenate([upper_left, lower_right], axis=-1))


def iou(first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """Intersection over union of each pair of boxes; broadcasts over leading axes.

    Args:
        first, second: (..., 4) numbers.

    Returns:
        (...) float64 in [0, 1]; 0 where both boxes are empty.
    """
    shared = intersection(first, second)
    union = area(first) + area(second) - shared
    return np.divide(shared, union, out=np.zeros_like(union), where=union > 0)


def rescale(boxes: ArrayLike, from_size: Sequence[int], to_size: Sequence[int]) -> np.ndarray:
    """Boxes of an image of one size, in the frame of the same image squashed to another size.

    Args:
        boxes: (..., 4) numbers in pixels of the image.
        from_size, to_size: (height, width) in pixels.

    Returns:
        (..., 4) float64, not rounded.
    """
    scale_y, scale_x = to_size[0] / from_size[0], to_size[1] / from_size[1]
    return np.asarray(boxes, np.float64) * [scale_x, scale_y, scale_x, scale_y]


def whole_pixels(box: ArrayLike, size: Sequence[int]) -> tuple[int, int, int, int]:
    """A box in whole pixels of its picture.

    A pixel belongs to the box if its centre does, which is how ``resize_mask`` treats a mask: a
    mask and its box stay together. A box keeps at least one pixel.

    Args:
        box: (4,) numbers in pixels of the picture.
        size: (height, width) of the picture in pixels.

    Returns:
        (x0, y0, x1, y1) int, inside the picture.
    """
    height, width = size
    x0, y0, x1, y1 = np.ceil(np.asarray(box, np.float64) - 0.5 - 1e-9).astype(int).tolist()
    x0, y0 = min(max(x0, 0), width - 1), min(max(y0, 0), height - 1)
    return x0, y0, min(max(x1, x0 + 1), width), min(max(y1, y0 + 1), height)


def resize_mask(mask: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """A mask of a whole picture, squashed to any size, at another size (nearest pixel).

    Args:
        mask: (H, W) bool.
        size: (height, width) of the result in pixels.

    Returns:
        (height, width) bool.
    """
    rows, columns = (np.minimum(np.floor((np.arange(new) + 0.5) * old / new + 1e-9).astype(int),
                                old - 1) for new, old in zip(size, mask.shape))
    return mask[rows][:, columns]


def turned_boxes(boxes: Iterable[Sequence[float]], orientation: int,
                 stored_size: Sequence[int]) -> tuple:
    """Boxes of a picture as stored, in the frame of the picture as EXIF has it displayed.

    Args:
        boxes: sequence of (x0, y0, x1, y1) in pixels of the stored picture.
        orientation: value of EXIF's Orientation tag, 1 to 8.
        stored_size: (height, width) of the stored picture in pixels.

    Returns:
        tuple of (x0, y0, x1, y1) floats in pixels of the displayed picture.
    """
    height, width = stored_size
    displayed = []
    for x0, y0, x1, y1 in boxes:
        if orientation in (2, 3, 7, 8):  # the stored picture's right is up or left when displayed
            x0, x1 = width - x1, width - x0
        if orientation in (3, 4, 6, 7):  # the stored picture's bottom is up or left
            y0, y1 = height - y1, height - y0
        displayed.append((y0, x0, y1, x1) if orientation >= 5 else (x0, y0, x1, y1))
    return tuple(tuple(map(float, box)) for box in displayed)


def centred_box(size: Sequence[int], side: float) -> np.ndarray:
    """The box in the middle of the frame whose sides are ``side`` times the frame's.

    Args:
        size: (height, width) of the frame in pixels.
        side: fraction of the frame's side, in (0, 1].

    Returns:
        (4,) float64.
    """
    height, width = size
    margin_y, margin_x = height * (1 - side) / 2, width * (1 - side) / 2
    return np.array([margin_x, margin_y, width - margin_x, height - margin_y])
