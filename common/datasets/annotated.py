"""Boxes and tables in text, as several layouts hold them."""

import csv
import dataclasses
import io
import math
from pathlib import Path

from common.datasets.listing import BOXES_FILE
from common.datasets.records import DatasetError, Record
from common.text import composed, quoted, read_text

_COLUMNS = ["image_id", "x0", "y0", "x1", "y1"]


def box(*corners: float | str | None) -> tuple[float, float, float, float]:
    """A box as floats (x0, y0, x1, y1); ValueError when it is empty or not finite."""
    x0, y0, x1, y1 = (float(corner) for corner in corners if corner is not None)
    if not (x0 < x1 and y0 < y1 and all(map(math.isfinite, (x0, y0, x1, y1)))):
        raise ValueError("empty box")
    return x0, y0, x1, y1


def malformed(path: Path, number: int, expected: str, found: str) -> DatasetError:
    """The DatasetError of a line that is not as expected."""
    return DatasetError(f"expected {expected} in line {number} of {quoted(path)}, "
                        f"found {found.strip()!r}")


def with_boxes(records: list[Record], root: Path) -> list[Record]:
    """Give records the boxes of their data set's ``boxes.csv``, where there is one.

    Args:
        root: the data set's folder.

    Returns:
        list of Record; images without a line keep ().

    Raises:
        DatasetError: the file is not as stated, or names an image that is none of the records.
    """
    path = root / BOXES_FILE
    if not path.exists():
        return records
    boxes = {record.image_id: [] for record in records}
    for number, row in _rows(path):
        if len(row) != len(_COLUMNS):
            raise malformed(path, number, "an image_id and four numbers", ",".join(row))
        image_id, *corners = row
        known = boxes.get(composed(image_id))
        if known is None:  # people also write ids with blanks, or on Windows
            known = boxes.get(composed(image_id.strip().replace("\\", "/")))
        if known is None:
            undecoded = any("\udc80" <= letter <= "\udcff" for letter in image_id)
            encoding = " (in UTF-8, which this file is not)" if undecoded else ""
            raise malformed(path, number, f"the image_id of a file in {quoted(root)}{encoding}",
                            image_id)
        try:
            known.append(box(*corners))
        except ValueError:
            raise malformed(path, number, "x0 < x1 and y0 < y1", ",".join(corners)) from None
    return [dataclasses.replace(record, boxes=tuple(boxes[record.image_id]))
            if boxes[record.image_id] else record for record in records]


def _rows(path):
    """Yield (line number, fields) of a boxes file behind its header."""
    try:
        reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    except OSError as error:
        raise DatasetError(f"cannot read {quoted(path)}: {error.strerror}") from None
    try:
        header = [column.strip() for column in next(reader, [])]
        if header != _COLUMNS:
            raise malformed(path, 1, f"the columns {','.join(_COLUMNS)}", ",".join(header))
        for row in reader:
            if any(field.strip() for field in row):
                yield reader.line_num, row
    except csv.Error as error:
        raise malformed(path, reader.line_num, "comma-separated values", str(error)) from None
