"""CUB-200-2011's official layout."""

from pathlib import Path

from common.datasets.annotated import box, malformed
from common.datasets.listing import Notes
from common.datasets.recognition import require
from common.datasets.records import DatasetError, Part, Record, file_size, listed
from common.text import numbered_lines, quoted, spellings

TABLES = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt",
          "classes.txt")


def read_cub(root: Path, split: str,
             notes: Notes) -> tuple[list[str], list[Record], tuple[Part, ...]]:
    """Classes, records and parts; CUB's ids of images and classes count from 1.

    Args:
        split: ``train``, ``test`` or ``all``.

    Returns:
        (list of str, list of Record, tuple of Part).

    Raises:
        DatasetError: the folder or one of its tables is not as expected.
    """
    require("cub", root, "images", *TABLES)
    names, labels, in_train, boxes, classes = (
        _read_table(root / table, parse) for table, parse in zip(
            TABLES, [_text, _integer, _flag, _cub_box, _text], strict=True))
    for table, rows in zip(TABLES[1:4], [labels, in_train, boxes], strict=True):
        _require_same_ids(root, names, table, rows)
    _require_different(root / "images.txt", names, "image")
    _require_different(root / "classes.txt", classes, "class")
    class_ids = sorted(classes)
    index_of_class = {class_id: index for index, class_id in enumerate(class_ids)}
    unknown = sorted(set(labels.values()) - set(class_ids))
    if unknown:
        raise DatasetError(f"expected the class ids of {quoted(root / 'image_class_labels.txt')} "
                           f"in classes.txt, did not find {unknown[0]}")
    wanted = {"train": {True}, "test": {False}, "all": {True, False}}[split]
    images = root / "images"
    records = [_record(images, name, index_of_class[labels[image]], (boxes[image],),
                       "train" if in_train[image] else "test")
               for image, name in names.items() if in_train[image] in wanted]
    in_training = sum(in_train.values())
    parts = (Part("train", in_training), Part("test", len(in_train) - in_training))
    return [classes[class_id] for class_id in class_ids], records, parts


def _record(images, name, label, boxes, split):
    """The Record of a listed image, found on disk under any Unicode form of its name."""
    for spelling in spellings(name):
        size = file_size(images / spelling)
        if size >= 0:
            return listed(spelling, images, label, boxes, size, split=split)
    return listed(name, images, label, boxes, -1, split=split)


def _read_table(path, parse):
    """Read lines of an integer id and a value into a dict; ``parse`` makes the value."""
    rows = {}
    try:
        for number, line in numbered_lines(path):
            fields = line.split(maxsplit=1)
            try:
                key, value = _integer(fields[0]), parse("".join(fields[1:]))
            except ValueError as error:
                raise malformed(path, number, f"an id and {error}", line) from None
            if key in rows:
                raise malformed(path, number, "each id once", line)
            rows[key] = value
    except OSError as error:
        raise DatasetError(f"cannot read {quoted(path)}: {error.strerror}") from None
    return rows


def _require_same_ids(root, names, table, rows):
    """Refuse a table that is shorter or longer than the list of images."""
    for ids, lacking in ((names.keys() - rows.keys(), table), (rows.keys() - names.keys(),
                                                               "images.txt")):
        if ids:
            raise DatasetError(f"expected the same image ids in images.txt and {table} of "
                               f"{quoted(root)}, found {len(ids)} missing in {lacking}, the first "
                               f"of them {min(ids)}")


def _require_different(path, names, what):
    """Refuse a table that names one thing twice."""
    repeated = len(names) - len(set(names.values()))
    if repeated:
        raise DatasetError(f"expected each {what} once in {quoted(path)}, found {repeated} "
                           "repeated")


def _text(value):
    if not value:
        raise ValueError("a name")
    return value


def _integer(value):
    if not value.isdecimal():
        raise ValueError("a whole number")
    return int(value)


def _flag(value):
    if value not in ("0", "1"):
        raise ValueError("1 for training or 0 for test")
    return value == "1"


def _cub_box(value):
    """A box from x, y, width, height.

    x and y run from 0.0 and x + width up to the image's width, so they are edges of pixels.
    """
    try:
        x, y, width, height = map(float, value.split())
        return box(x, y, x + width, y + height)
    except ValueError:
        raise ValueError("x, y, width and height of a box that is not empty") from None
