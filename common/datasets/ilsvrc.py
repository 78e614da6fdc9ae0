"""ILSVRC's CLS-LOC layout, with the validation images as the test split."""

from pathlib import Path
from xml.etree import ElementTree

from common.datasets.annotated import box
from common.datasets.class_folders import class_files
from common.datasets.listing import Notes, files_under, one_spelling, subfolders
from common.datasets.recognition import require
from common.datasets.records import DatasetError, Part, Record, listed
from common.text import composed, quoted


def read_ilsvrc(root: Path, split: str,
                notes: Notes) -> tuple[list[str], list[Record], tuple[Part, ...]]:
    """Classes, records and parts; ids are relative to Data/CLS-LOC.

    Args:
        split: ``train``, ``test`` or ``all``; only what it needs is listed.

    Returns:
        (list of str, list of Record, tuple of Part).

    Raises:
        DatasetError: the folder or an annotation is not as expected.
    """
    images, annotations = root / "Data" / "CLS-LOC", root / "Annotations" / "CLS-LOC" / "val"
    needed = ["Data/CLS-LOC/train"]  # also for testing: its folders number the classes
    if split != "train":
        needed += ["Data/CLS-LOC/val", "Annotations/CLS-LOC/val"]
    require("imagenet", root, *needed)
    classes = one_spelling(subfolders(images / "train", notes))
    index_of_class = {name: index for index, name in enumerate(classes)}
    records, parts = [], []
    if split != "test":
        records += [listed(file, images, index_of_class[name], (), size, split="train")
                    for name, files in class_files(images, "train", notes) for file, size in files]
        parts.append(Part("train", len(records)))
    if split != "train":
        found = list(files_under(images / "val", notes, "val/"))
        for name, size in found:
            label, boxes, frame = _read_annotation(
                annotations / f"{Path(name).stem}.xml", index_of_class)
            records.append(listed(name, images, label, boxes, size, frame, "test"))
        parts.append(Part("test", len(found), "val"))
    return classes, records, tuple(parts)


def _read_annotation(path, index_of_class):
    """Label, boxes and frame of one validation image from its XML.

    The corners are taken as pixel edges, without correction, as in published localization results
    on ILSVRC: xmin starts at 0 and xmax reaches the image's width, which is impossible for pixel
    indices. The difference is one pixel.
    """
    try:
        annotation = ElementTree.parse(path).getroot()
    except OSError as error:
        raise DatasetError(f"expected the annotation {quoted(path)} of a validation image, found "
                           f"{error.strerror!r}") from None
    except (ElementTree.ParseError, ValueError) as error:
        raise DatasetError(f"expected XML in {quoted(path)}, found {str(error)!r}") from None
    objects = annotation.findall("object")
    names = {composed((entry.findtext("name") or "").strip()) for entry in objects}
    if len(names) != 1:
        raise DatasetError(f"expected objects of one class in {quoted(path)}, found "
                           f"{', '.join(sorted(names)) or 'no object'}")
    name = names.pop()
    if name not in index_of_class:
        raise DatasetError(f"expected a class that has a folder in Data/CLS-LOC/train in "
                           f"{quoted(path)}, found {name!r}")
    return (index_of_class[name], tuple(_xml_box(path, entry) for entry in objects),
            _frame(annotation))


def _frame(annotation):
    """(height, width) of the picture that was annotated; None where the XML does not say."""
    sizes = [(annotation.findtext(f"size/{side}") or "").strip() for side in ("height", "width")]
    if all(size.isdecimal() and int(size) > 0 for size in sizes):
        return tuple(map(int, sizes))
    return None


def _xml_box(path, entry):
    """The box of an ``object`` element."""
    corners = [entry.findtext(f"bndbox/{corner}") for corner in ("xmin", "ymin", "xmax", "ymax")]
    try:
        return box(*corners)
    except (TypeError, ValueError):
        raise DatasetError(f"expected xmin, ymin, xmax and ymax of a box that is not empty in "
                           f"{quoted(path)}, found {corners}") from None
