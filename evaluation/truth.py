"""What is known about the images a method is scored on."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from common import boxes as box_geometry
from common.annotations import AnnotationWarning, displayed_boxes
from common.datasets import Dataset
from common.images import BadImage


class EvaluationError(ValueError):
    """The evaluation cannot continue; the message is one sentence that names the image."""


@dataclass(frozen=True)
class Truth:
    """The ground truth of one image.

    Attributes:
        image_id: the image's name.
        boxes: tuple of ``(x0, y0, x1, y1)`` in pixels of the original image; ``()`` where no box
            is known.
        size: (height, width) of the original image in pixels.
        label: index of its class, -1 when it has none.
    """

    image_id: str
    boxes: tuple
    size: tuple
    label: int = -1

    def __post_init__(self):
        boxes = np.asarray(self.boxes, dtype=np.float64).reshape(-1, 4)
        if min(self.size) < 1:
            raise EvaluationError(f"{self.image_id}: its size must be positive, not "
                                  f"{self.size} (height, width); correct the list of image sizes.")
        # Boxes that reach a little beyond their image occur in CUB and ILSVRC, and are kept.
        if not np.isfinite(boxes).all() or (boxes[:, 2:] < boxes[:, :2]).any():
            raise EvaluationError(f"{self.image_id}: a box must be x0, y0, x1, y1 with x0 <= x1 "
                                  f"and y0 <= y1, not {boxes.tolist()}; correct the list of boxes.")


def truths_from_dataset(dataset: Dataset, unreadable: dict[str, str] | None = None) -> list[Truth]:
    """The ground truth of every image of a data set.

    Args:
        dataset: ``common.datasets.Dataset``.
        unreadable: dict that takes the reason of each image that cannot be read, by its id; such
            images are left out, as are those it holds already. None ends at the first.

    Returns:
        list of Truth in the data set's order. Only the headers of the images are read.

    Raises:
        BadImage: an image cannot be read and ``unreadable`` is None.

    Warns:
        AnnotationWarning: images whose annotations may be of another frame than the image, once
            for each cause, counted and named.
    """
    truths, remarks = [], {}
    for record in dataset.records:
        if unreadable and record.image_id in unreadable:
            continue
        try:
            shown = displayed_boxes(record)
        except BadImage as error:
            if unreadable is None:
                raise
            unreadable[record.image_id] = error.reason
        else:
            truths.append(Truth(record.image_id, shown.boxes, shown.size, record.label))
            if shown.remark:
                remarks.setdefault(shown.remark, []).append(record.image_id)
    for remark, image_ids in remarks.items():
        warnings.warn(f"{len(image_ids)} of the images {remark}: {first_names(image_ids)}",
                      AnnotationWarning, stacklevel=2)
    return truths


def truth_from_mask(image_id: str, mask: np.ndarray, label: int = -1) -> Truth:
    """A stage-1 mask as ground truth, so that tau needs no annotated box.

    Args:
        image_id: the image's name.
        mask: (H, W) bool.
        label: index of its class.

    Returns:
        Truth whose one box is the box of the mask's largest component, in pixels of the mask;
        without a box when the mask is empty.
    """
    if not mask.any():
        return Truth(image_id, (), mask.shape, label)
    box = box_geometry.mask_to_box(box_geometry.largest_component(mask))
    return Truth(image_id, (tuple(box.tolist()),), mask.shape, label)


class Truths:
    """The truths an evaluator scores against, looked up by image id, each used once."""

    def __init__(self, truths: Iterable[Truth]):
        self.all = tuple(truths)
        self._places = {truth.image_id: place for place, truth in enumerate(self.all)}
        self.seen = np.zeros(len(self.all), dtype=bool)
        self.with_boxes = np.array([bool(truth.boxes) for truth in self.all], dtype=bool)
        if not self.all:
            raise EvaluationError("there is no image to score; the list of images is empty.")
        if len(self._places) < len(self.all):
            twice = [truth.image_id for place, truth in enumerate(self.all)
                     if self._places[truth.image_id] != place]
            raise EvaluationError(f"{twice[0]}: listed more than once; list every image once.")

    def take(self, image_id: str) -> int:
        """Place of an image, marked as seen; refuses unknown ids and second times."""
        place = self._places.get(image_id)
        if place is None:
            raise EvaluationError(f"{image_id}: not among the {len(self.all)} images to score; "
                                  "is it of another split?")
        if self.seen[place]:
            raise EvaluationError(f"{image_id}: scored twice; hand in every image once.")
        self.seen[place] = True
        return place

    def check_complete(self, needs_boxes: bool = True) -> None:
        """Refuse to continue while an image has not been scored, or if none has a needed box."""
        if not self.seen.all():
            missing = [self.all[place].image_id for place in np.flatnonzero(~self.seen)]
            raise EvaluationError(f"{missing[0]}: its score map is missing, one of {len(missing)} "
                                  f"missing of {len(self.all)}; score every image.")
        if needs_boxes and not self.with_boxes.any():
            raise EvaluationError(f"{self.all[0].image_id}: neither this nor any other image has a "
                                  "box; localization needs annotated boxes.")

    def warnings(self, class_names: Sequence[str] | None = None) -> tuple[str, ...]:
        """Counted sentences on images without boxes and classes without images."""
        found = []
        without = [truth.image_id for truth in self.all if not truth.boxes]
        if without:
            found.append(f"{len(without)} of {len(self.all)} images have no box and count in no "
                         f"localization figure: {first_names(without)}.")
        if class_names is not None:
            present = {truth.label for truth in self.all}
            absent = [name for label, name in enumerate(class_names) if label not in present]
            if absent:
                found.append(f"{len(absent)} of {len(class_names)} classes have no test image: "
                             f"{first_names(absent)}.")
        return tuple(found)


def first_names(names: Sequence, limit: int = 5) -> str:
    """The first few of many names, and how many more there are; for one sentence."""
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(str, names[:limit])) + rest
