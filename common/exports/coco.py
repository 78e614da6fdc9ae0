"""COCO's object detection JSON: boxes, segmentation as RLE or polygons, scores."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from common.exports.annotated_pictures import AnnotatedObject, Annotations
from common.files import replacing


def write_coco(path: Path, annotations: Annotations, polygons: bool = False) -> Path:
    """Write one JSON file: ``info``, ``categories`` from 1, ``images``, ``annotations``.

    ``bbox`` is x, y, width, height in pixels. An object with a score has it under ``score``.

    Args:
        path: the file.
        polygons: whether segmentation is polygons (holes are lost) instead of compressed RLE.

    Returns:
        The path.
    """
    category = {name: number for number, name in enumerate(annotations.classes, 1)}
    head = {"info": {"description": annotations.origin},
            "categories": [{"id": number, "name": name} for name, number in category.items()]}
    # Written one by one: a million annotations need no more memory than a hundred.
    with (replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as out,
          tempfile.TemporaryFile("w+", encoding="utf-8", dir=path.parent) as images):
        out.write(json.dumps(head)[:-1] + ', "annotations": [')
        number = 0
        for index, picture in enumerate(annotations.read(), 1):
            images.write(("," if index > 1 else "") + "\n" + json.dumps(
                {"id": index, "file_name": annotations.file_name(picture.image_id),
                 "height": picture.size[0], "width": picture.size[1]}))
            for each in picture.objects:
                number += 1
                out.write(("," if number > 1 else "") + "\n" + json.dumps(
                    {"id": number, "image_id": index, "category_id": category[each.label],
                     **_object(each, polygons)}))
        out.write('], "images": [')
        images.seek(0)
        out.writelines(images)
        out.write("]}\n")
    return path


def _object(each: AnnotatedObject, polygons: bool) -> dict[str, Any]:
    x0, y0, x1, y1 = each.box
    entry = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": int(each.mask.sum()), "iscrowd": 0,
             "segmentation": [outline.reshape(-1).tolist() for outline in each.polygons()]
             if polygons else _run_lengths(each.mask)}
    if each.score is not None:
        entry["score"] = round(each.score, 6)
    return entry


def _run_lengths(mask: np.ndarray) -> dict[str, Any]:
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode("ascii")}
