"""Predictions for Label Studio, to be corrected instead of drawn from scratch."""

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from common.exports.annotated_pictures import AnnotatedObject, AnnotatedPicture, Annotations
from common.files import replacing, write_bytes


def write_label_studio(path: Path, annotations: Annotations) -> Path:
    """Write the tasks, and next to them the labelling interface they fit (same name, ``.xml``).

    Pictures are served from Label Studio's local storage: start it with
    ``LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true`` and
    ``LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT`` set to the folder of the pictures. Boxes are
    ``rectanglelabels`` and masks ``polygonlabels``, in per cent of the picture.

    Returns:
        The path.
    """
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write("[")
        for index, picture in enumerate(annotations.read()):
            file.write(("," if index else "") + "\n" + json.dumps(_task(picture, annotations)))
        file.write("\n]\n")
    write_bytes(path.with_suffix(".xml"), _interface(annotations.classes).encode("utf-8"))
    return path


def _task(picture: AnnotatedPicture, annotations: Annotations) -> dict[str, Any]:
    prediction: dict[str, Any] = {"model_version": annotations.origin, "result": [
        part for number, each in enumerate(picture.objects)
        for part in _regions(each, f"{number}")]}
    scores = [each.score for each in picture.objects if each.score is not None]
    if scores:
        prediction["score"] = round(min(scores), 6)
    name = quote(os.fsencode(annotations.file_name(picture.image_id)))  # whatever its encoding
    return {"data": {"image": f"/data/local-files/?d={name}",
                     "image_id": picture.image_id}, "predictions": [prediction]}


def _regions(each: AnnotatedObject, name: str) -> list[dict[str, Any]]:
    """The box and the largest outline of an object."""
    height, width = each.size
    x0, y0, x1, y1 = each.box
    shared = {"to_name": "image", "original_width": width, "original_height": height,
              "image_rotation": 0}
    if each.score is not None:
        shared["score"] = round(each.score, 6)
    outline = each.polygons()[0] * 100 / np.array([width, height])
    return [{**shared, "id": f"box{name}", "from_name": "box", "type": "rectanglelabels",
             "value": {"x": 100 * x0 / width, "y": 100 * y0 / height,
                       "width": 100 * (x1 - x0) / width, "height": 100 * (y1 - y0) / height,
                       "rotation": 0, "rectanglelabels": [each.label]}},
            {**shared, "id": f"mask{name}", "from_name": "outline", "type": "polygonlabels",
             "value": {"points": outline.round(4).tolist(), "closed": True,
                       "polygonlabels": [each.label]}}]


def _interface(classes) -> str:
    labels = "".join(f"    <Label value={quoteattr(name)}/>\n" for name in classes)
    return ('<View>\n  <Image name="image" value="$image"/>\n'
            f'  <RectangleLabels name="box" toName="image">\n{labels}  </RectangleLabels>\n'
            f'  <PolygonLabels name="outline" toName="image">\n{labels}  </PolygonLabels>\n'
            '</View>\n')
