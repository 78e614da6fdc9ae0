"""What is known about the images a method is scored on."""

from dataclasses import dataclass

import numpy as np

from common import boxes as box_geometry
from common.images import image_size


class EvaluationError(ValueError):
    """The evaluation cannot go on; the message is one sentence that names the image."""


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
        # Boxes that reach a little beyond their image occur in CUB and ILSVRC, and stand as given.
        if not np.isfinite(boxes).all() or (boxes[:, 2:] < boxes[:, :2]).any():
            raise EvaluationError(f"{self.image_id}: a box must be x0, y0, x1, y1 with x0 <= x1 "
                                  f"and y0 <= y1, not {boxes.tolist()}; correct the list of boxes.")


def truths_from_dataset(dataset):
    """The ground truth of every image of a data set.

    Args:
        dataset: ``common.datasets.Dataset``.

    Returns:
        list of Truth in the data set's order. Only the headers of the images are read.

    Raises:
        BadImage: an image cannot be read.
    """
    return [Truth(record.image_id, record.boxes, image_size(record.path), record.label)
            for record in dataset.records]


def truth_from_mask(image_id, mask, label=-1):
    """A stage-1 mask in the place of ground truth, so that tau needs no annotated box.

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
