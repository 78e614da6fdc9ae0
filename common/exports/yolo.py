"""YOLO's text files, for detection and for segmentation, each with a ``data.yaml``."""

import contextlib
import json
import os
from pathlib import Path

from common.exports.annotated_pictures import AnnotatedObject, Annotations
from common.files import write_bytes


def write_yolo(folder: Path, annotations: Annotations) -> Path:
    """Write ``detect`` and ``segment``: ``labels/IMAGE.txt`` for each picture, and ``data.yaml``.

    Training programs look for ``labels`` next to ``images``, which is a link to the folder of the
    pictures; where links cannot be made, ``data.yaml`` says what to copy. Coordinates are fractions
    of the picture's width and height.

    Returns:
        The folder.
    """
    number = {name: index for index, name in enumerate(annotations.classes)}
    for picture, stem in annotations.stems():
        boxes = [f"{number[each.label]} {_box(each)}" for each in picture.objects]
        outlines = [f"{number[each.label]} {_outline(each)}" for each in picture.objects]
        for task, lines in (("detect", boxes), ("segment", outlines)):
            write_bytes(folder / task / "labels" / f"{stem}.txt",
                        "".join(line + "\n" for line in lines).encode())
    for task in ("detect", "segment"):
        _describe(folder / task, annotations)
    return folder


def _box(each: AnnotatedObject) -> str:
    x0, y0, x1, y1 = each.box
    height, width = each.size
    return _numbers([(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width,
                     (y1 - y0) / height])


def _outline(each: AnnotatedObject) -> str:
    """The longest outline: YOLO's lines hold one polygon."""
    height, width = each.size
    outline = max(each.polygons(), key=len)
    return _numbers((outline / [width, height]).reshape(-1).tolist())


def _numbers(values):
    return " ".join(f"{value:.8f}" for value in values)


def _describe(folder: Path, annotations: Annotations) -> None:
    """Write ``data.yaml`` and link the pictures."""
    link = folder / "images"
    with contextlib.suppress(OSError):
        if not link.is_symlink():
            link.symlink_to(os.path.abspath(annotations.root), target_is_directory=True)
    # JSON's strings are YAML's too, whatever the names hold.
    names = "".join(f"  {index}: {json.dumps(name)}\n"
                    for index, name in enumerate(annotations.classes))
    text = (f"# {annotations.origin}\n"
            f"# images: a link to {annotations.root}, or a copy of it\n"
            f"path: {json.dumps(os.path.abspath(folder))}\ntrain: images\nval: images\n"
            f"names:\n{names}")
    write_bytes(folder / "data.yaml", text.encode("utf-8", "replace"))
