"""YOLO's text files, for detection and for segmentation, each with a ``data.yaml``."""

import contextlib
import json
import os
from pathlib import Path

from common.exports.annotated_pictures import AnnotatedObject, Annotations
from common.files import write_bytes

TASKS = ("detect", "segment")


def write_yolo(folder: Path, annotations: Annotations) -> Path:
    """Write ``detect`` and ``segment``: ``labels/IMAGE.txt`` for each picture, and ``data.yaml``.

    Training programs take the last ``images`` in a picture's path for the folder next to
    ``labels``, and follow links to folders. So ``images`` is a folder with a link to each picture,
    and a subfolder called ``images`` becomes ``images_``. Where links cannot be made,
    ``data.yaml`` says what to copy. Labels and links of an earlier export are removed. Coordinates
    are fractions of the picture's width and height.

    Returns:
        The folder.
    """
    for task in TASKS:
        _clear(folder / task)
    number = {name: index for index, name in enumerate(annotations.classes)}
    for picture, stem in annotations.stems():
        boxes = [f"{number[each.label]} {_box(each)}" for each in picture.objects]
        outlines = [f"{number[each.label]} {_outline(each)}" for each in picture.objects]
        place, path = _place(stem), annotations.path(picture)
        for task, lines in zip(TASKS, (boxes, outlines), strict=True):
            write_bytes(folder / task / "labels" / f"{place}.txt",
                        "".join(line + "\n" for line in lines).encode())
            _link(folder / task / "images" / f"{place}{path.suffix}", path)
    for task in TASKS:
        _describe(folder / task, annotations)
    return folder


def _clear(folder: Path) -> None:
    """Remove what an earlier export has left: label files and links."""
    images, labels = folder / "images", folder / "labels"
    if images.is_symlink():  # as earlier versions made it
        images.unlink()
    links = [path for path in images.rglob("*") if path.is_symlink()]
    for path in (*links, *labels.rglob("*.txt")):
        path.unlink()


def _place(stem: str) -> str:
    return "/".join("images_" if part == "images" else part for part in stem.split("/"))


def _link(link: Path, path: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):  # a file system or a user without links, or a copy is there
        link.symlink_to(os.path.abspath(path))


def _box(each: AnnotatedObject) -> str:
    x0, y0, x1, y1 = each.box
    height, width = each.size
    return _numbers([(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width,
                     (y1 - y0) / height])


def _outline(each: AnnotatedObject) -> str:
    """The largest outline: YOLO's lines hold one polygon."""
    height, width = each.size
    outline = each.polygons()[0]
    return _numbers((outline / [width, height]).reshape(-1).tolist())


def _numbers(values):
    return " ".join(f"{value:.8f}" for value in values)


def _describe(folder: Path, annotations: Annotations) -> None:
    """Write ``data.yaml``."""
    # JSON's strings are YAML's too, whatever the names hold.
    names = "".join(f"  {index}: {json.dumps(name)}\n"
                    for index, name in enumerate(annotations.classes))
    text = (f"# {annotations.origin}\n"
            f"# images: links to the pictures in {annotations.root}, or copies of them\n"
            f"path: {json.dumps(os.path.abspath(folder))}\ntrain: images\nval: images\n"
            f"names:\n{names}")
    write_bytes(folder / "data.yaml", text.encode("utf-8", "replace"))
