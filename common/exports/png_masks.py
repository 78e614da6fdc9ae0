"""PNG masks of the pictures' own sizes: 255 where an object is, 0 elsewhere."""

from pathlib import Path

import cv2
import numpy as np

from common.exports.annotated_pictures import Annotations
from common.files import write_bytes


def write_png(folder: Path, annotations: Annotations) -> Path:
    """Write ``FILE_NAME.png`` for each picture; the picture's own ending stays in the name.

    Returns:
        The folder.
    """
    for picture in annotations.read():
        mask = np.zeros(picture.size, np.uint8)
        for each in picture.objects:
            mask[each.mask] = 255
        write_bytes(folder / f"{annotations.file_name(picture.image_id)}.png",
                    cv2.imencode(".png", mask)[1].tobytes())
    return folder
