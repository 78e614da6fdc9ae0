"""YOLO's text files, for detection and for segmentation, each with a ``data.yaml``."""

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from common.exports.annotated_pictures import (AnnotatedObject, Annotations, ExportError,
                                               stems_of, distinct_places)
from common.files import write_bytes

TASKS = ("detect", "segment")


def write_yolo(folder: Path, annotations: Annotations) -> Path:
    """Write ``detect`` and ``segment``: ``labels/IMAGE.txt`` for each picture, and ``data.yaml``.

    Training programs take the last ``images`` in a picture's path for the folder next to
    ``labels``, and follow links to folders. So ``images`` is a folder with a link to each picture,
    and a subfolder called ``images`` becomes ``images_``. Where links cannot be made,
    ``data.yaml`` says what to copy. Links of an earlier export are removed, and their labels.
    Coordinates are fractions of the picture's width and height.

    Returns:
        The folder.

    Raises:
        ExportError: two pictures would have the same label file, or a picture is not in the
            folder; nothing is written then.
    """
    places = places_of(annotations.file_names())
    _require_pictures(annotations)
    for task in TASKS:
        _clear(folder / task)
    number = {name: index for index, name in enumerate(annotations.classes)}
    for picture, place in zip(annotations.read(), places, strict=True):
        boxes = [f"{number[each.label]} {_box(each)}" for each in picture.objects]
        outlines = [f"{number[each.label]} {_outline(each)}" for each in picture.objects]
        path = annotations.path(picture.image_id)
        for task, lines in zip(TASKS, (boxes, outlines), strict=True):
            write_bytes(folder / task / "labels" / f"{place}.txt",
                        "".join(line + "\n" for line in lines).encode())
            _link(folder / task / "images" / f"{place}{path.suffix}", path)
    for task in TASKS:
        _describe(folder / task, annotations)
    return folder


def _clear(folder: Path) -> None:
    """Remove what an earlier export has left: links and their labels."""
    images = folder / "images"
    if images.is_symlink():  # as earlier versions made it
        images.unlink()
    for link in [path for path in images.rglob("*") if path.is_symlink()]:
        label = folder / "labels" / link.relative_to(images).with_suffix(".txt")
        label.unlink(missing_ok=True)
        link.unlink()


def places_of(file_names: Sequence[str]) -> list[str]:
    """Where each picture and its labels go, below images and labels, without the ending.

    Raises:
        ExportError: two pictures would have the same label file.
    """
    places = ["/".join("images_" if part == "images" else part for part in stem.split("/"))
              for stem in stems_of(file_names)]
    return distinct_places(file_names, places, "would be labelled in one file, since images "
                           "becomes images_: rename one folder")


def _require_pictures(annotations: Annotations) -> None:
    """Links to pictures that are not there would lead nowhere."""
    missing = [image_id for image_id in annotations.image_ids
               if not annotations.path(image_id).is_file()]
    if missing:
        raise ExportError(f"{len(missing):,} of {len(annotations.image_ids):,} pictures, such as "
                          f"{missing[0]!r}, are not in {annotations.root}, and this format links "
                          "to them: give their folder with --data")


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
