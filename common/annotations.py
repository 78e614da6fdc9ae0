"""Boxes of an annotation in the frame of the picture as it is displayed.

Some annotation tools ignored EXIF's rotation and showed pictures as their pixels are stored. Then
the size in the annotation is that of the stored picture, and the boxes have to be rotated with the
picture. Copies of a data set in another size come with the annotations of the original.
"""

import dataclasses

from common.boxes import rescale, turned_boxes
from common.datasets import Record
from common.images import read_header

BEYOND = 0.1  # of a side, what an annotator's box may reach beyond the picture


class AnnotationWarning(UserWarning):
    """Boxes that may lie in another frame than their pictures; the message names pictures."""


@dataclasses.dataclass(frozen=True)
class DisplayedBoxes:
    """Boxes and size of a picture, both as displayed."""

    boxes: tuple
    """(x0, y0, x1, y1) floats in pixels of the picture, one for each object."""
    size: tuple
    """(height, width) of the picture in pixels."""
    remark: str = ""
    """What the annotation leaves open, half a sentence; "" when nothing."""


def displayed_boxes(record: Record) -> DisplayedBoxes:
    """A record's boxes in the frame of its picture.

    Args:
        record: ``common.datasets.Record``. Where its ``frame`` is known and is the size of the
            picture as stored, not as displayed, its boxes are turned; where it is another size,
            they are scaled.

    Returns:
        DisplayedBoxes. Only the picture's header is read.

    Raises:
        BadImage: the picture cannot be read.
    """
    header = read_header(record.path)
    boxes, frame = record.boxes, record.frame
    if not boxes:
        return DisplayedBoxes(boxes, header.size)
    if frame is None:
        return DisplayedBoxes(boxes, header.size, _doubt(boxes, header.size))
    sideways = header.stored_size != header.size
    if frame == header.stored_size and sideways:
        return DisplayedBoxes(turned_boxes(boxes, header.orientation, header.stored_size),
                              header.size)
    if frame == header.size and (sideways or header.orientation == 1):
        return DisplayedBoxes(boxes, header.size)
    if frame == header.size:  # turned by half, mirrored or square: sizes are the same
        return DisplayedBoxes(boxes, header.size, "are turned by EXIF, and their annotations do "
                              "not say in which frame the boxes are; the boxes are left as they "
                              "are")
    scaled = tuple(map(tuple, rescale(boxes, frame, header.size).tolist()))
    return DisplayedBoxes(scaled, header.size, "have another size than their annotations say; the "
                          "boxes are scaled to the pictures")


def _doubt(boxes, size):
    """Half a sentence where boxes cannot be in pixels of a picture of a size; "" otherwise."""
    height, width = size
    right, bottom = (max(box[edge] for box in boxes) for edge in (2, 3))
    if max(right, bottom) <= 1 < min(size):
        return "have boxes of at most a pixel, but boxes are in pixels, not in fractions"
    if right > (1 + BEYOND) * width or bottom > (1 + BEYOND) * height:
        return ("have boxes that reach far beyond them, but boxes are in pixels of the picture as "
                "it is")
    return ""
