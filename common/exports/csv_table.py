"""One line for each object, as in the ``boxes.csv`` of ``bcct localize``."""

import csv
from pathlib import Path

from common.exports.annotated_pictures import Annotations
from common.files import replacing
from common.localized import COLUMNS


def write_csv(path: Path, annotations: Annotations) -> Path:
    """Write image_id, label, probability, x0, y0, x1, y1, score; unknown values are empty.

    x1 and y1 are exclusive. A picture without an object has one line without a box.

    Returns:
        The path.
    """
    with replacing(path) as temporary, open(
            temporary, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for picture in annotations.read():
            about = (picture.image_id, picture.label, _shown(picture.probability))
            for each in picture.objects:
                writer.writerow([*about, *each.box, _shown(each.score)])
            if not picture.objects:
                writer.writerow([*about, "", "", "", "", ""])
    return path


def _shown(value):
    return "" if value is None else round(value, 6)
