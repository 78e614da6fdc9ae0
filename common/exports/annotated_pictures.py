"""The input of every export: a stream of pictures with boxes, masks and class names."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from common.boxes import resize_mask
from common.text import spellings


class ExportError(ValueError):
    """Annotations that a format cannot hold; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class AnnotatedObject:
    """One object in a picture."""

    label: str
    """Name of its class."""
    box: tuple[int, int, int, int]
    """x0, y0, x1, y1 in pixels of the picture as displayed, x1 and y1 exclusive."""
    frame_mask: np.ndarray
    """(h, w) bool mask of the whole picture, squashed to any size."""
    size: tuple[int, int]
    """(height, width) of the picture in pixels."""
    score: float | None = None
    """How far to trust the box, in [0, 1]; None if unknown."""

    @functools.cached_property
    def mask(self) -> np.ndarray:
        """(H, W) bool mask of the picture's own size, inside the box."""
        mask = resize_mask(self.frame_mask, self.size)
        x0, y0, x1, y1 = self.box
        if not mask[y0:y1, x0:x1].any():  # an object of less than a pixel in a small picture
            mask = np.zeros_like(mask)
            mask[y0:y1, x0:x1] = True
        return mask

    def polygons(self) -> list[np.ndarray]:
        """Outlines of the mask along the edges of its pixels; holes are left out.

        Returns:
            list of (P, 2) int arrays of x, y corners, in pixels of the picture, the one around the
            largest area first; the tightest box around all of them is that of the mask.
        """
        doubled = np.repeat(np.repeat(self.mask.astype(np.uint8), 2, 0), 2, 1)
        contours = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[-2]
        # A pixel's left half is its left edge, and its right half its right edge.
        outlines = [_corners((contour[:, 0] + 1) // 2) for contour in contours]
        return sorted(outlines, key=_area, reverse=True)


def _area(outline):
    """The pixels that an outline surrounds."""
    return cv2.contourArea(outline.astype(np.float32))


def _corners(points):
    """The points of a closed outline at which it turns."""
    points = points[(points != np.roll(points, 1, 0)).any(1)]
    before, after = points - np.roll(points, 1, 0), np.roll(points, -1, 0) - points
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    return points[turns]


@dataclasses.dataclass(frozen=True)
class AnnotatedPicture:
    """A picture with its objects."""

    image_id: str
    """Its path below the folder of the pictures."""
    size: tuple[int, int]
    """(height, width) in pixels as displayed."""
    objects: tuple[AnnotatedObject, ...]
    """() where there is none."""
    label: str = ""
    """Name of the picture's class."""
    probability: float | None = None
    """Of that class, in [0, 1]; None if unknown."""


@dataclasses.dataclass(frozen=True)
class Annotations:
    """Annotated pictures of one folder."""

    root: Path
    """The folder of the pictures; they may have been moved away."""
    classes: tuple[str, ...]
    """Names of the classes."""
    image_ids: Sequence[str]
    """The pictures' ids."""
    read: Callable[[], Iterator[AnnotatedPicture]]
    """Called without arguments; gives the pictures in the order of ``image_ids``."""
    origin: str
    """What the annotations were made by, in words."""
    remarks: tuple[str, ...] = ()
    """Sentences on pictures that are left out."""

    def file_name(self, image_id: str) -> str:
        """The path of a picture's file below the folder: its id, spelled as on the disk."""
        return next((name for name in spellings(image_id) if (self.root / name).exists()),
                    image_id)

    def file_names(self) -> list[str]:
        """The same of all pictures."""
        return [self.file_name(image_id) for image_id in self.image_ids]

    def path(self, image_id: str) -> Path:
        """A picture's file."""
        return self.root / self.file_name(image_id)


def stems_of(file_names: Sequence[str]) -> list[str]:
    """Pictures' file names without their endings, for formats that name files so.

    Raises:
        ExportError: two pictures differ in their endings only.
    """
    return distinct_places(file_names, [os.path.splitext(name)[0] for name in file_names],
                           "differ in their endings only, and this format names its files "
                           "without them: rename one of them")


def distinct_places(file_names: Sequence[str], places: Sequence[str], problem: str) -> list[str]:
    """The places that a format gives to pictures.

    Args:
        file_names: the pictures' file names.
        places: where each goes.
        problem: what to say of two pictures that would go to one place, and what to do.

    Raises:
        ExportError: there are two such pictures.
    """
    seen: dict[str, str] = {}
    for name, place in zip(file_names, places, strict=True):
        if other := seen.get(place):
            raise ExportError(f"the pictures {other!r} and {name!r} {problem}, or use --format "
                              "coco or csv")
        seen[place] = name
    return list(seen)
