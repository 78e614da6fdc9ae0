"""Readers of data sets: which images there are, of which class, with which boxes.

``open_dataset`` and ``open_backgrounds`` list files and read annotations; no image is opened, so
that ILSVRC's 1.28 million take seconds. A listed image that is missing or damaged is found, and
named, when ``common.images.read_image`` decodes it. Text is UTF-8; names in any other encoding
pass through unharmed (Python's ``surrogateescape``).
"""

import csv
import dataclasses
import hashlib
import math
import os
from pathlib import Path
from xml.etree import ElementTree

from common.config import digest
from common.files import file_crc32

KINDS = ("cub", "imagenet", "folder")
SPLITS = ("train", "test", "all")

_BOXES_FILE = "boxes.csv"
_BOXES_COLUMNS = ["image_id", "x0", "y0", "x1", "y1"]
_NO_IMAGES = {_BOXES_FILE, "thumbs.db", "ehthumbs.db", "desktop.ini"}
_PICTURE_EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}


class DatasetError(ValueError):
    """A folder or file that is not what its reader expects, in one sentence."""


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One image of a data set."""

    image_id: str
    """POSIX path of the image relative to ``folder``; names its mask."""
    folder: Path
    """The folder that holds the images, one object for all of them: with 1.28 million images, a
    path in each record would be most of the memory."""
    label: int
    """Index into the data set's classes; -1 for a background image."""
    boxes: tuple = ()
    """(x0, y0, x1, y1) floats in pixels of the original image as displayed, x1 and y1 exclusive,
    one for each object; () when they are not known. As annotated: a few of CUB's and ILSVRC's
    boxes reach beyond the image."""

    @property
    def path(self):
        """The image file; it may turn out to be missing or damaged."""
        return self.folder / self.image_id


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The images of one split, in the order of their ids."""

    name: str
    """The kind: ``cub``, ``imagenet``, ``folder`` or ``background``."""
    root: Path
    """The folder that was opened."""
    split: str
    """``train``, ``test`` or ``all``."""
    classes: tuple
    """Class names; () for background images."""
    records: tuple
    """Record of each image, sorted by image_id."""

    def digest(self):
        """SHA-256 of the sorted pairs of image id and file size, in hexadecimal.

        Changes when an image is added, removed, renamed or replaced by one of another size; a
        missing file counts as -1 bytes. Looks at every file once without opening it.
        """
        pairs = hashlib.sha256()
        for record in _sorted(self.records):
            try:
                size = os.stat(record.path).st_size
            except OSError:
                size = -1
            # No file name holds a NUL, so two different lists never give the same bytes.
            pairs.update(_encoded(record.image_id) + b"\0%d\0" % size)
        return pairs.hexdigest()

    def content_digest(self):
        """SHA-256 of the ids and of the CRC-32 of every file, in hexadecimal; reads them all.

        For few images: it takes about 0.1 ms for each. A file that cannot be read counts as 0.
        """
        return digest([(record.image_id, file_crc32(record.path))
                       for record in _sorted(self.records)])

    def limit_classes(self, first):
        """The same data set with its ``first`` classes only, for quick runs.

        Raises:
            DatasetError: ``first`` is below 1, or none of these classes has an image.
        """
        if first < 1:
            raise DatasetError(f"expected at least one class to keep, found {first}")
        records = tuple(record for record in self.records if record.label < first)
        if not records:
            raise DatasetError(f"the first {first} classes of {_quoted(self.root)} hold no "
                               f"image (split {self.split})")
        return dataclasses.replace(self, classes=self.classes[:first], records=records)


def open_dataset(kind, root, split="train"):
    """Open a data set of labelled images.

    Args:
        kind: ``cub``, CUB-200-2011's official layout; ``imagenet``, ILSVRC's CLS-LOC layout, with
            the validation images as the test split; ``folder``, a folder of class folders, either
            ``root/<class>/*``, all of them training images, or ``root/train/<class>/*`` and
            ``root/test/<class>/*``, with an optional ``root/boxes.csv`` of columns ``image_id, x0,
            y0, x1, y1``, one line a box, x1 and y1 exclusive. Other folders beside ``train`` and
            ``test`` are left alone.
        root: the data set's folder.
        split: ``train``, ``test`` or ``all``.

    Returns:
        Dataset with at least one record.

    Raises:
        DatasetError: the folder or one of its files is not as expected, or the split is empty.
    """
    if kind not in KINDS:
        raise DatasetError(f"expected a kind of data set among {', '.join(KINDS)}, found {kind!r}")
    if split not in SPLITS:
        raise DatasetError(f"expected a split among {', '.join(SPLITS)}, found {split!r}")
    root = Path(root)
    classes, records = {"cub": _read_cub, "imagenet": _read_imagenet,
                        "folder": _read_folder}[kind](root, split)
    if not records:
        raise DatasetError(f"expected {'' if split == 'all' else split + ' '}images in "
                           f"{_quoted(root)}, found none")
    return Dataset(kind, root, split, tuple(classes), _sorted(records))


def open_backgrounds(root):
    """Open a folder of background images, its subfolders included.

    Returns:
        Dataset named ``background`` without classes, its labels -1, with at least one record.

    Raises:
        DatasetError: there is no such folder, or it holds no file.
    """
    root = Path(root)
    _require("a folder of background images", root)
    records = [Record(name, root, -1) for name in _files_under(root)]
    if not records:
        raise DatasetError(f"expected background images in {_quoted(root)}, found none")
    return Dataset("background", root, "all", (), _sorted(records))


# CUB-200-2011


def _read_cub(root, split):
    """Classes and records of CUB-200-2011; its ids of images and classes count from 1."""
    tables = ["images.txt", "image_class_labels.txt", "train_test_split.txt",
              "bounding_boxes.txt", "classes.txt"]
    _require("CUB-200-2011's official layout", root, "images", *tables)
    names, labels, in_train, boxes, classes = (
        _read_table(root / table, parse) for table, parse in zip(
            tables, [_text, _integer, _flag, _cub_box, _text], strict=True))
    for table, rows in zip(tables[1:4], [labels, in_train, boxes], strict=True):
        _require_same_ids(root, names, table, rows)
    if len(set(names.values())) < len(names):
        raise DatasetError(f"expected each image once in {_quoted(root / 'images.txt')}, found "
                           f"{len(names) - len(set(names.values()))} repeated")
    class_ids = sorted(classes)
    index_of_class = {class_id: index for index, class_id in enumerate(class_ids)}
    unknown = sorted(set(labels.values()) - set(class_ids))
    if unknown:
        raise DatasetError(f"expected the class ids of {_quoted(root / 'image_class_labels.txt')} "
                           f"in classes.txt, did not find {unknown[0]}")
    wanted = {"train": {True}, "test": {False}, "all": {True, False}}[split]
    images = root / "images"
    records = [Record(name, images, index_of_class[labels[image]], (boxes[image],))
               for image, name in names.items() if in_train[image] in wanted]
    return [classes[class_id] for class_id in class_ids], records


def _read_table(path, parse):
    """Read lines of an integer id and a value into a dict; ``parse`` makes the value."""
    rows = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        fields = line.strip().split(maxsplit=1)
        try:
            key, value = _integer(fields[0]), parse("".join(fields[1:]))
        except ValueError as error:
            raise _malformed(path, number, f"an id and {error}", line) from None
        if key in rows:
            raise _malformed(path, number, "each id once", line)
        rows[key] = value
    return rows


def _require_same_ids(root, names, table, rows):
    """Refuse a table of CUB that is shorter or longer than its list of images."""
    for ids, lacking in ((names.keys() - rows.keys(), table), (rows.keys() - names.keys(),
                                                               "images.txt")):
        if ids:
            raise DatasetError(f"expected the same image ids in images.txt and {table} of "
                               f"{_quoted(root)}, found {len(ids)} missing in {lacking}, the first "
                               f"of them {min(ids)}")


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
        return _box(x, y, x + width, y + height)
    except ValueError:
        raise ValueError("x, y, width and height of a box that is not empty") from None


# ILSVRC


def _read_imagenet(root, split):
    """Classes and records of ILSVRC's CLS-LOC layout; ids are relative to Data/CLS-LOC."""
    images, annotations = root / "Data" / "CLS-LOC", root / "Annotations" / "CLS-LOC" / "val"
    needed = ["Data/CLS-LOC/train"]  # also for testing: its folders number the classes
    if split != "train":
        needed += ["Data/CLS-LOC/val", "Annotations/CLS-LOC/val"]
    _require("ILSVRC's CLS-LOC layout", root, *needed)
    classes = _subfolders(images / "train")
    index_of_class = {name: index for index, name in enumerate(classes)}
    records = [] if split == "test" else _labelled_files(images, "train", index_of_class)
    if split != "train":
        for name in _files_under(images / "val"):
            label, boxes = _read_annotation(
                annotations / f"{Path(name).stem}.xml", index_of_class)
            records.append(Record(f"val/{name}", images, label, boxes))
    return classes, records


def _read_annotation(path, index_of_class):
    """Label and boxes of one validation image from its XML.

    The corners are taken as pixel edges and so as they stand, as published localization results
    on ILSVRC take them: xmin runs from 0 and xmax up to the width of the image, which numbers of
    pixels, counted from 0 or from 1, could not both do. At stake is one pixel.
    """
    try:
        objects = ElementTree.parse(path).getroot().findall("object")
    except OSError as error:
        raise DatasetError(f"expected the annotation {_quoted(path)} of a validation image, found "
                           f"{error.strerror!r}") from None
    except (ElementTree.ParseError, ValueError) as error:
        raise DatasetError(f"expected XML in {_quoted(path)}, found {str(error)!r}") from None
    names = {(entry.findtext("name") or "").strip() for entry in objects}
    if len(names) != 1:
        raise DatasetError(f"expected objects of one class in {_quoted(path)}, found "
                           f"{', '.join(sorted(names)) or 'no object'}")
    name = names.pop()
    if name not in index_of_class:
        raise DatasetError(f"expected a class that has a folder in Data/CLS-LOC/train in "
                           f"{_quoted(path)}, found {name!r}")
    return index_of_class[name], tuple(_xml_box(path, entry) for entry in objects)


def _xml_box(path, entry):
    """The box of an ``object`` element."""
    corners = [entry.findtext(f"bndbox/{corner}") for corner in ("xmin", "ymin", "xmax", "ymax")]
    try:
        return _box(*corners)
    except (TypeError, ValueError):
        raise DatasetError(f"expected xmin, ymin, xmax and ymax of a box that is not empty in "
                           f"{_quoted(path)}, found {corners}") from None


# Folder of class folders


def _read_folder(root, split):
    """Classes and records of a folder of class folders; ids are relative to the root."""
    _require("a folder of class folders", root)
    has_splits = _has_split_folders(root)
    if not has_splits and split == "test":
        raise DatasetError(f"expected the folders train and test in {_quoted(root)} for its test "
                           f"split, found {_content(root)}; without them all are training images")
    parts = ["train", "test"] if has_splits else ["."]
    classes = sorted({name for part in parts for name in _subfolders(root / part)})
    index_of_class = {name: index for index, name in enumerate(classes)}
    records = []
    for part in parts:  # both, whatever the split: a line of boxes.csv may belong to either
        records += _labelled_files(root, part, index_of_class)
    if (root / _BOXES_FILE).exists():
        records = _with_boxes(records, root / _BOXES_FILE)
    if has_splits and split != "all":
        records = [record for record in records if record.image_id.startswith(f"{split}/")]
    return classes, records


def _has_split_folders(root):
    """Whether there are both train and test; one of them alone may be a class, but holds no class.
    """
    present = [part for part in ("train", "test") if (root / part).is_dir()]
    if len(present) == 1 and _subfolders(root / present[0]):
        raise DatasetError(f"expected both train and test in {_quoted(root)}, found only "
                           f"{present[0]}; if that is all there is, name {present[0]} itself")
    return len(present) == 2


def _with_boxes(records, path):
    """Give records the boxes of a CSV file; images without a line keep ()."""
    boxes = {record.image_id: [] for record in records}
    for number, row in _csv_rows(path):
        if len(row) != len(_BOXES_COLUMNS):
            raise _malformed(path, number, "an image_id and four numbers", ",".join(row))
        image_id, *corners = row
        if image_id not in boxes:
            raise _malformed(path, number, f"the image_id of a file in {_quoted(path.parent)}",
                             image_id)
        try:
            boxes[image_id].append(_box(*corners))
        except ValueError:
            raise _malformed(path, number, "x0 < x1 and y0 < y1", ",".join(corners)) from None
    return [dataclasses.replace(record, boxes=tuple(boxes[record.image_id])) for record in records]


def _csv_rows(path):
    """Yield (line number, fields) of a boxes file behind its header."""
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [column.strip() for column in next(reader, [])]
            if header != _BOXES_COLUMNS:
                raise _malformed(path, 1, f"the columns {','.join(_BOXES_COLUMNS)}",
                                 ",".join(header))
            for row in reader:
                if row:
                    yield reader.line_num, row
    except csv.Error as error:
        raise _malformed(path, reader.line_num, "comma-separated values", str(error)) from None
    except OSError as error:
        raise DatasetError(f"cannot read {_quoted(path)}: {error.strerror}") from None


# Files and folders


def _labelled_files(images, part, index_of_class):
    """Records of the files in ``images/part/<class>/``, their ids relative to ``images``."""
    prefix = "" if part == "." else f"{part}/"
    _refuse_loose_pictures(images / part)
    records = []
    for name in _subfolders(images / part):
        records += [Record(f"{prefix}{name}/{file}", images, index_of_class[name])
                    for file in _files_under(images / part / name)]
    return records


def _files_under(folder, above=()):
    """Yield the POSIX path, relative to the folder, of every file in it and its subfolders.

    Follows links. Leaves out what nobody means as an image: hidden entries and the files that
    desktops put into folders. Everything else is listed, whatever its extension.
    """
    real = os.path.realpath(folder)
    if real in above:
        raise DatasetError(f"expected a folder that ends, found that {_quoted(folder)} is a link "
                           "to a folder above itself")
    for entry in _entries(folder):
        if _is_folder(entry):
            for name in _files_under(entry.path, (*above, real)):
                yield f"{entry.name}/{name}"
        elif entry.name.lower() not in _NO_IMAGES:
            yield entry.name


def _subfolders(folder):
    """Sorted names of the folders in a folder."""
    return sorted(entry.name for entry in _entries(folder) if _is_folder(entry))


def _entries(folder):
    """The entries of a folder that are not hidden."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DatasetError(f"cannot list the folder {_quoted(folder)}: {error.strerror}") from None


def _is_folder(entry):
    """Whether an entry is a folder or a link to one; a link to itself is a bad file."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _refuse_loose_pictures(folder):
    """Refuse pictures beside the class folders: they have no class and must not vanish."""
    for entry in _entries(folder):
        if Path(entry.name).suffix.lower() in _PICTURE_EXTENSIONS and not _is_folder(entry):
            raise DatasetError(f"expected every image in the folder of its class, found "
                               f"{_quoted(entry.path)} in none")


def _require(layout, root, *entries):
    """Refuse a root that is no folder or lacks one of the entries."""
    if not root.is_dir():
        raise DatasetError(f"expected {layout} in {_quoted(root)}, found no such folder")
    missing = [entry for entry in entries if not (root / entry).exists()]
    if missing:
        raise DatasetError(f"expected {layout} in {_quoted(root)}, found no {', '.join(missing)} "
                           f"there but {_content(root)}")


def _content(folder, limit=6):
    """What a folder holds, in words."""
    names = sorted(entry.name for entry in _entries(folder))
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(repr, names[:limit])) + more if names else "nothing"


# Values and messages


def _box(*corners):
    """A box as floats; ValueError when it is empty or not finite."""
    x0, y0, x1, y1 = map(float, corners)
    if not (x0 < x1 and y0 < y1 and all(map(math.isfinite, (x0, y0, x1, y1)))):
        raise ValueError("empty box")
    return x0, y0, x1, y1


def _lines(path):
    try:
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise DatasetError(f"cannot read {_quoted(path)}: {error.strerror}") from None
    return text.split("\n")  # splitlines would also split at rarer separators inside a name


def _malformed(path, number, expected, found):
    return DatasetError(f"expected {expected} in line {number} of {_quoted(path)}, "
                        f"found {found.strip()!r}")


def _sorted(records):
    return tuple(sorted(records, key=lambda record: record.image_id))


def _encoded(name):
    return name.encode("utf-8", "surrogateescape")


def _quoted(path):
    """A path for a message: on one line and printable, whatever its name holds."""
    return repr(os.fspath(path))
