"""The formats by name."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2

from common.exports.annotated_pictures import Annotations, stems_of
from common.exports.coco import write_coco
from common.exports.csv_table import write_csv
from common.exports.label_studio import write_label_studio
from common.exports.png_masks import write_png
from common.exports.voc import write_voc
from common.exports.yolo import places_of, write_yolo
from common.files import write_bytes
from common.images import BadImage, read_image
from common.mask_cache.contact_sheet import draw_box, overlay


@dataclasses.dataclass(frozen=True)
class Format:
    """A format of annotations."""

    write: Callable[[Path, Annotations], Path]
    """Called with (file or folder to write, Annotations); returns the path that it wrote."""
    place: str
    """Name of that file or folder in the folder of ``bcct localize``."""
    is_folder: bool
    """Whether it is a folder."""
    require_names: Callable[[Sequence[str]], object] = list
    """Called with the pictures' file names; raises ExportError if it cannot tell them apart. The
    default takes any names."""


FORMATS = {
    "coco": Format(write_coco, "coco.json", False),
    "csv": Format(write_csv, "objects.csv", False),
    "labelstudio": Format(write_label_studio, "label_studio.json", False),
    "png": Format(write_png, "png", True),
    "voc": Format(write_voc, "voc", True, stems_of),
    "yolo": Format(write_yolo, "yolo", True, places_of),
}


def write_overlays(folder: Path, annotations: Annotations) -> Path:
    """Write each picture with its masks and boxes drawn over it, as a JPEG of the same size.

    Pictures that are there already are kept; one that cannot be read any more is left out.

    Returns:
        The folder.
    """
    for picture in annotations.read():
        path = folder / f"{picture.image_id}.jpg"
        if path.exists():
            continue
        try:
            drawn = read_image(annotations.path(picture.image_id))
        except BadImage:
            continue
        for each in picture.objects:
            drawn = draw_box(overlay(drawn, each.mask), each.box)
        write_bytes(path, cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))[1].tobytes())
    return folder
