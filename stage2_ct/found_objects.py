"""From a score map to objects: box, mask and a score that says how far to trust the box."""

import dataclasses

import cv2
import numpy as np

from common.box_rules import LargestComponent
from common.boxes import largest_component

OBJECTS = ("one", "many")
SMALLEST_OBJECT = 0.01  # of the frame's area: smaller components are no objects with "many"
# The box is cut again at these distances from tau. Wide enough to tell a blurred edge from a sharp
# one; see docs/evaluation.md for how they and the score were chosen.
TAU_STEPS = (-0.2, -0.1, 0.1, 0.2)
LOWEST_TAU, HIGHEST_TAU = 0.02, 0.98  # of the boxes that are compared with the one at tau
_RULE = LargestComponent()


@dataclasses.dataclass(frozen=True)
class FrameObject:
    """One object in the frame of the score map."""

    box: tuple[int, int, int, int]
    """x0, y0, x1, y1 in pixels of the frame, x1 and y1 exclusive."""
    mask: np.ndarray
    """(H, W) bool."""
    score: float
    """How far to trust the box, in [0, 1]: its stability, the mean IoU with the nearest boxes at
    thresholds around tau. A box that moves with tau has no edge to hold on to."""


def cut_objects(score_map: np.ndarray, tau: float, objects: str = "one") -> list[FrameObject]:
    """The objects of a score map: its components above tau, the largest first.

    Args:
        score_map: (H, W) float32 in [0, 1].
        tau: threshold in [0, 1].
        objects: "one" for the largest component, as ``bcct evaluate`` cuts it; "many" for every
            component of at least ``SMALLEST_OBJECT``.

    Returns:
        list of FrameObject; empty where no pixel reaches tau.
    """
    around = [min(max(tau + step, LOWEST_TAU), HIGHEST_TAU) for step in TAU_STEPS]
    found = _RULE.candidates(score_map, np.array([tau, *around]))
    stops = [*found.starts[1:], len(found.boxes)]
    groups = [found.boxes[found.starts[place]:stops[place]] for place in found.group]
    above = score_map >= np.asarray(tau).astype(score_map.dtype)
    if not above.any():
        return []
    masks = [largest_component(above)] if objects == "one" else _large_components(above)
    return [FrameObject(tuple(box.tolist()), mask, _stability(box, groups[1:]))
            for box, mask in zip(groups[0], masks)]


def _large_components(mask):
    """The 8-connected components that are objects, (H, W) bool each, in the order of the box rule:
    the largest first, of equal ones that whose first pixel comes first."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    areas = stats[:, cv2.CC_STAT_AREA]
    large = np.flatnonzero(areas >= SMALLEST_OBJECT * mask.size)
    found = [labels == label for label in large if label > 0]
    return sorted(found, key=lambda one: (-int(one.sum()), int(one.argmax())))


def _stability(box, groups):
    """Mean over the groups of the best IoU that one of a group's boxes has with a box."""
    return float(np.mean([_RULE.iou(box, boxes).max() for boxes in groups]))
