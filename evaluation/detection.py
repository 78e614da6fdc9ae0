"""Precision and recall of several boxes in one image."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from common.boxes import iou


@dataclass(frozen=True)
class Detected:
    """How many boxes were found, how many are true, and how many of them meet."""

    found: int
    true: int
    matched: int

    @property
    def precision(self) -> float:
        """Share of the found boxes that are right; NaN without any."""
        return self.matched / self.found if self.found else float("nan")

    @property
    def recall(self) -> float:
        """Share of the true boxes that were found; NaN without any."""
        return self.matched / self.true if self.true else float("nan")


def detected(images: Iterable[tuple[Sequence, Sequence]], least_iou: float = 0.5) -> Detected:
    """Count the boxes that match, each with at most one of the other kind.

    Args:
        images: (found boxes, best first; true boxes) of each image, (x0, y0, x1, y1) each.
        least_iou: from which on two boxes match. A found box takes the true box, among those that
            are left, with which its IoU is largest.
    """
    found = true = matched = 0
    for boxes, expected in images:
        found, true = found + len(boxes), true + len(expected)
        left = list(range(len(expected)))
        for box in boxes:
            if not left:
                break
            ious = iou(box, np.asarray(expected, float)[left])
            best = int(ious.argmax())
            if ious[best] >= least_iou:
                matched += 1
                del left[best]
    return Detected(found, true, matched)
