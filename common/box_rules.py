"""From a score map and thresholds to boxes.

A box rule defines how a score map is cut at tau, which contour becomes the box, how the
ground truth enters the frame and how two boxes are compared. Two rules share one interface:

* ``largest``, ours: pixels with score >= tau, the 8-connected component with the most pixels,
  half-open boxes, exact IoU.
* ``wsol``: the rule of the evaluation code that Choe et al. published with "Evaluating Weakly
  Supervised Object Localization Methods Right" (CVPR 2020), to the last digit.

Both first trace the contours of all thresholds and then measure them together, which costs little
compared with tracing them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from common import boxes as box_geometry
from common.config import ConfigError

POINTS_MEASURED_AT_ONCE = 32768  # so that intermediate arrays stay in the processor's cache


@dataclass(frozen=True)
class Candidates:
    """The boxes that a rule finds in one score map, for every threshold.

    Thresholds that cut the map alike share a group of boxes; each group has at least one box, the
    zero box where nothing reaches tau.

    Attributes:
        boxes: (K, 4) integers in frame pixels, in the rule's own convention, group after group.
        starts: (G,) int64 index of each group's first box.
        chosen: (G,) int64 index of the box that the rule takes when it may take one only.
        group: (T,) int64 group of each threshold.
    """

    boxes: np.ndarray
    starts: np.ndarray
    chosen: np.ndarray
    group: np.ndarray

    @property
    def single(self) -> np.ndarray:
        """(T, 4) integers: the rule's one box at each threshold."""
        return self.boxes[self.chosen[self.group]]


class LargestComponent:
    """Box of the 8-connected component of ``score >= tau`` with the most pixels.

    tau is compared in the score map's own precision, so that a stored 0.7 reaches tau 0.7. Of
    components equal in size, the one whose first pixel in row order comes first (as in
    ``common.boxes.largest_component``). Boxes are half-open; the ground truth is scaled to the
    frame without rounding.
    """

    name = "largest"

    def candidates(self, score_map: np.ndarray, taus: np.ndarray) -> Candidates:
        """Boxes of all components at every tau; see ``Candidates``.

        Args:
            score_map: (H, W) floating point in [0, 1].
            taus: (T,) float64.
        """
        thresholds = np.asarray(taus).astype(score_map.dtype)
        outlines = _trace(score_map, thresholds, np.greater_equal, cv2.RETR_CCOMP)
        # Pick's theorem on the lattice of pixel centres: an outline with area A and B steps holds
        # A + B/2 + 1 pixels, borders included; a hole's outline has A - B/2 + 1 within it.
        is_hole = outlines.parent >= 0
        pixels = (outlines.twice_area + np.where(is_hole, -1, 1) * outlines.steps) // 2 + 1
        np.subtract.at(pixels, outlines.parent[is_hole], pixels[is_hole])
        first_pixel = outlines.first[:, 1] * score_map.shape[1] + outlines.first[:, 0]
        components = np.flatnonzero(~is_hole)
        # The last key sorts first: by threshold, then the most pixels, then the first pixel.
        order = components[np.lexsort(
            (first_pixel[components], -pixels[components], outlines.group[components]))]
        half_open = outlines.boxes[order] + [0, 0, 1, 1]
        starts, boxes = _with_empty_groups(half_open, outlines.group[order], len(thresholds))
        return Candidates(boxes, starts, starts, np.arange(len(thresholds)))

    def truth(self, boxes: Sequence | np.ndarray, size: tuple[int, int],
              frame: tuple[int, int]) -> np.ndarray:
        """Ground truth in the frame.

        Args:
            boxes: (B, 4) in pixels of the original image.
            size, frame: (height, width) of the original image and of the frame.

        Returns:
            (B, 4) float64.
        """
        return _in_frame(boxes, size, frame)

    def iou(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Exact IoU of half-open boxes, broadcasting over leading axes."""
        return box_geometry.iou(first, second)

    def half_open(self, boxes: Sequence | np.ndarray, frame: tuple[int, int]) -> np.ndarray:
        """The rule's boxes, (..., 4), as half-open boxes of the frame."""
        return np.asarray(boxes)


class Wsol:
    """The rule of Choe et al.'s published evaluation code.

    The map is multiplied by 255 in double precision and truncated to uint8; foreground lies
    strictly above ``int(tau * max)``; contours come with their full hierarchy, so that outlines of
    holes count among them; a contour gives the box ``(x, y, min(x + w, W - 1), min(y + h, H - 1))``
    and the contour with the largest polygon area (the first one among equals) is the single box;
    widths and heights are inclusive (+1) in the IoU; the ground truth is scaled to the frame and
    truncated. The rule does not normalise: the published code does that where it makes the maps,
    see ``evaluation.scoremaps.min_max``.
    """

    name = "wsol"

    def candidates(self, score_map: np.ndarray, taus: np.ndarray) -> Candidates:
        """Boxes of all contours at every tau; see ``Candidates``.

        Args:
            score_map: (H, W) floating point in [0, 1].
            taus: (T,) float64.
        """
        levels = (score_map.astype(np.float64) * 255).astype(np.uint8)
        thresholds, group = np.unique(
            (np.asarray(taus) * levels.max()).astype(np.int64), return_inverse=True)
        outlines = _trace(levels, thresholds.astype(np.uint8), np.greater, cv2.RETR_TREE)
        height, width = score_map.shape
        clipped = np.minimum(outlines.boxes + [0, 0, 1, 1], [width, height, width - 1, height - 1])
        starts, boxes = _with_empty_groups(clipped, outlines.group, len(thresholds))
        area = _with_empty_groups(outlines.twice_area, outlines.group, len(thresholds))[1]
        sizes = np.diff(starts, append=len(boxes))
        is_largest = area == np.repeat(np.maximum.reduceat(area, starts), sizes)
        largest = np.flatnonzero(is_largest)
        chosen = largest[np.searchsorted(largest, starts)]  # the first of each group
        return Candidates(boxes, starts, chosen, group)

    def truth(self, boxes: Sequence | np.ndarray, size: tuple[int, int],
              frame: tuple[int, int]) -> np.ndarray:
        """Ground truth in the frame, truncated to whole pixels.

        Args:
            boxes: (B, 4) in pixels of the original image.
            size, frame: (height, width) of the original image and of the frame.

        Returns:
            (B, 4) int64.
        """
        return _in_frame(boxes, size, frame).astype(np.int64)

    def iou(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """IoU of inclusive integer boxes, broadcasting over leading axes."""
        grow = np.array([0, 0, 1, 1])
        return box_geometry.iou(np.asarray(first) + grow, np.asarray(second) + grow)

    def half_open(self, boxes: Sequence | np.ndarray, frame: tuple[int, int]) -> np.ndarray:
        """The rule's inclusive boxes, (..., 4), as half-open boxes of the frame."""
        height, width = frame
        return np.minimum(np.asarray(boxes) + [0, 0, 1, 1], [width, height, width, height])


BOX_RULES = {rule.name: rule for rule in (LargestComponent(), Wsol())}


def box_rule(name: str) -> LargestComponent | Wsol:
    """The rule of that name: ``largest`` or ``wsol``.

    Raises:
        ConfigError: there is no such rule.
    """
    if name not in BOX_RULES:
        raise ConfigError(f"no box rule is called {name!r}; choose one of "
                          f"{', '.join(BOX_RULES)}.")
    return BOX_RULES[name]


@dataclass(frozen=True)
class _Outlines:
    """Measures of the K contours of all thresholds, in OpenCV's order; all integers.

    boxes: (K, 4) with inclusive x1, y1. twice_area: (K,) twice the area of the polygon through the
    pixel centres. group: (K,) index of the threshold. None unless traced with RETR_CCOMP: steps,
    (K,) steps from pixel to pixel around it; first, (K, 2) x, y of the first point, which is the
    outline's first pixel in row order; parent, (K,) index of the component's outline around a
    hole, -1 for a component's.
    """

    boxes: np.ndarray
    twice_area: np.ndarray
    group: np.ndarray
    steps: np.ndarray | None = None
    first: np.ndarray | None = None
    parent: np.ndarray | None = None


def _in_frame(boxes, size, frame):
    """(B, 4) float64 of boxes of an image, scaled to the frame.

    Multiplied before divided, as published: a box as large as its image is as large as the frame,
    and the other order can truncate differently.
    """
    scale_to, scale_from = np.array(frame)[[1, 0, 1, 0]], np.array(size)[[1, 0, 1, 0]]
    return np.asarray(boxes, np.float64).reshape(-1, 4) * scale_to / scale_from


def _trace(values, thresholds, reaches, hierarchy_mode):
    """Trace and measure the contours of ``reaches(values, threshold)`` for every threshold."""
    of_holes = hierarchy_mode == cv2.RETR_CCOMP
    tables, contours, points = [], [], 0
    counts, parents = [], [np.zeros(0, np.int32)]
    buffer = np.empty(values.size, bool)  # one for all: new memory costs more than comparing
    for threshold, (y0, y1, x0, x1) in zip(thresholds, _windows(values, thresholds, reaches)):
        foreground = buffer[:(y1 - y0) * (x1 - x0)].reshape(y1 - y0, x1 - x0)
        reaches(values[y0:y1, x0:x1], threshold, out=foreground)
        # OpenCV 3 returns the image before the contours, every other version does not.
        found, hierarchy = cv2.findContours(
            foreground.view(np.uint8), hierarchy_mode, cv2.CHAIN_APPROX_SIMPLE, offset=(x0, y0)
        )[-2:] if foreground.size else ((), None)
        if found:
            if of_holes:
                parents.append(hierarchy[0, :, 3])
            contours.extend(found)
            points += sum(map(len, found))
        counts.append(len(found))
        if points > POINTS_MEASURED_AT_ONCE:
            tables.append(_measure(contours, of_holes))
            contours, points = [], 0
    tables.append(_measure(contours, of_holes))
    table = np.concatenate(tables)
    boxes, twice_area, group = table[:, :4], table[:, 4], np.repeat(np.arange(len(counts)), counts)
    if not of_holes:
        return _Outlines(boxes, twice_area, group)
    parent = np.concatenate(parents)
    before = np.cumsum(counts) - counts  # OpenCV counts the parents of each threshold from 0
    parent = np.where(parent < 0, -1, parent + before[group])
    return _Outlines(boxes, twice_area, group, table[:, 5], table[:, 6:], parent)


def _windows(values, thresholds, reaches):
    """The smallest window with all foreground of each threshold: contours lie in it alone.

    Returns:
        (T, 4) list of y0, y1, x0, x1, half-open; zeros where there is no foreground.
    """
    windows = []
    for axis in (1, 0):
        profile = reaches(values.max(axis=axis), thresholds[:, None])  # (T, H) and (T, W)
        windows += [profile.argmax(axis=1), profile.shape[1] - profile[:, ::-1].argmax(axis=1)]
    empty = ~profile.any(axis=1)
    return np.where(empty[:, None], 0, np.stack(windows, axis=1)).tolist()


def _measure(contours, of_holes):
    """Measure contours together; equals cv2.boundingRect and cv2.contourArea one by one.

    Args:
        contours: list of K (P, 1, 2) int32 arrays of x, y.
        of_holes: whether the three last columns are wanted too.

    Returns:
        (K, 5) or (K, 8) int32: x0, y0, x1, y1, twice the area; steps, x and y of the first point.
    """
    if not contours:
        return np.zeros((0, 8 if of_holes else 5), np.int32)
    lengths = np.fromiter(map(len, contours), np.int64, len(contours))
    starts = np.cumsum(lengths) - lengths
    points = np.concatenate(contours).reshape(-1, 2)
    x, y = np.ascontiguousarray(points[:, 0]), np.ascontiguousarray(points[:, 1])
    next_x, next_y = _following(x, starts), _following(y, starts)
    # Sums of 32 bits may overflow temporarily but end right: twice the area of a frame fits.
    columns = [np.minimum.reduceat(x, starts), np.minimum.reduceat(y, starts),
               np.maximum.reduceat(x, starts), np.maximum.reduceat(y, starts),
               np.abs(np.add.reduceat(x * next_y - next_x * y, starts))]
    if of_holes:
        steps = np.maximum(np.abs(next_x - x), np.abs(next_y - y))
        columns += [np.add.reduceat(steps, starts), x[starts], y[starts]]
    return np.stack(columns, axis=1)


def _following(values, starts):
    """The value at the next point of the same contour, which closes on itself."""
    following = np.empty_like(values)
    following[:-1] = values[1:]
    following[np.append(starts[1:], len(values)) - 1] = values[starts]
    return following


def _with_empty_groups(values, group, count):
    """Give every group without a value one zero.

    Args:
        values: (K, ...) sorted by group.
        group: (K,) group of each value, ascending.
        count: number of groups.

    Returns:
        (count,) index of each group's first value, and the values with the zeros put in.
    """
    sizes = np.bincount(group, minlength=count)
    if sizes.all():
        return np.cumsum(sizes) - sizes, values
    empty = np.flatnonzero(sizes == 0)
    places = np.searchsorted(group, empty)
    sizes[empty] = 1
    return np.cumsum(sizes) - sizes, np.insert(values, places, 0, axis=0)
