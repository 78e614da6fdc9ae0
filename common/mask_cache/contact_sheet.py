"""Contact sheets: many small pictures in one, with masks and boxes drawn over them."""

import bisect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from common.boxes import rescale
from common.datasets import Dataset, Record
from common.files import replacing
from common.images import BadImage, image_size, read_image
from common.mask_cache.checks import require_unchanged

if TYPE_CHECKING:  # the reader imports this module where it is needed
    from common.mask_cache.reader import MaskCache

SIDE = 160  # of a tile, in pixels
COLUMNS = 8
MASK_COLOUR = (255, 64, 0)
BOX_COLOUR = (0, 255, 255)
FRAME_COLOUR = (40, 40, 40)  # of a tile without a picture
CAPTION_HEIGHT, HEADING_HEIGHT, GAP = 14, 28, 4  # pixels
Section = tuple[str | None, list[np.ndarray]]  # heading and tiles, (H, W, 3) uint8 RGB


def overlay(image: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int] = MASK_COLOUR,
            opacity: float = 0.35) -> np.ndarray:
    """Tint a picture where its mask is set, and draw the mask's outline.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) bool.
        colour: RGB, 0 to 255 each.
        opacity: of the tint, in [0, 1]; the outline is opaque.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    tinted = image.astype(np.float32)
    tinted[mask] += opacity * (np.array(colour, np.float32) - tinted[mask])
    tinted = tinted.round().astype(np.uint8)
    inside = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8),
                       borderType=cv2.BORDER_CONSTANT, borderValue=0)
    tinted[mask & (inside == 0)] = colour
    return tinted


def draw_box(image: np.ndarray, box: Sequence[float] | np.ndarray,
             colour: tuple[int, int, int] = BOX_COLOUR) -> np.ndarray:
    """Draw a box's border, one pixel wide, just inside it.

    Args:
        image: (H, W, 3) uint8 RGB.
        box: (x0, y0, x1, y1) in pixels of the image, half-open; what lies outside is cut off.
        colour: RGB, 0 to 255 each.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height, width = image.shape[:2]
    x0, y0, x1, y1 = np.clip(np.round(box), 0, [width, height, width, height]).astype(int)
    drawn = image.copy()
    if x1 > x0 and y1 > y0:
        drawn[[y0, y1 - 1], x0:x1] = colour
        drawn[y0:y1, [x0, x1 - 1]] = colour
    return drawn


def tile(record: Record | None, mask: np.ndarray | None = None, caption: str = "",
         side: int = SIDE) -> np.ndarray:
    """One picture of a contact sheet.

    Args:
        record: Record, or None for a tile of the mask alone.
        mask: (H, W) bool of the whole image, squashed to any size; None for no mask.
        caption: line of text for below the picture; cut where it is too long.
        side: of the square that the picture is squashed to, in pixels.

    Returns:
        (side + CAPTION_HEIGHT, side, 3) uint8 RGB. A picture that cannot be read is left dark and
        its caption says so.
    """
    picture = np.full((side, side, 3), FRAME_COLOUR, np.uint8)
    boxes: Sequence | np.ndarray = ()
    if record is not None:
        try:
            picture = read_image(record.path, (side, side))
            if record.boxes:
                boxes = rescale(record.boxes, image_size(record.path), (side, side))
        except BadImage:
            caption = f"unreadable: {caption}"
    if mask is not None:
        fitted = cv2.resize(mask.astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST)
        picture = overlay(picture, fitted > 0)
    for box in boxes:
        picture = draw_box(picture, box)
    return np.concatenate([picture, _line(caption, CAPTION_HEIGHT, side, 10)])


def grid(cache: "MaskCache", image_ids: Sequence[str], dataset: Dataset | None = None,
         captions: Sequence[str] | None = None, columns: int = COLUMNS,
         side: int = SIDE) -> np.ndarray:
    """Images with their masks and, where known, their boxes over them.

    Args:
        dataset: Dataset to take pictures and boxes from; without it, or for an image it does not
            hold, the mask is shown alone.
        captions: list of as many str; the images' names where None.
        columns: tiles per row.
        side: of a tile, in pixels.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        KeyError: the cache does not hold an image.
        MaskCacheError: an image has changed since its mask was made.
    """
    return contact_sheet([(None, mask_tiles(cache, image_ids, dataset, captions, side))], columns)


def mask_tiles(cache: "MaskCache", image_ids: Sequence[str], dataset: Dataset | None = None,
               captions: Sequence[str] | None = None, side: int = SIDE) -> list[np.ndarray]:
    """The tiles of ``grid``, as a list."""
    captions = captions or [short_name(image_id) for image_id in image_ids]
    records = [find_record(dataset, image_id) for image_id in image_ids]
    require_unchanged(cache, list(filter(None, records)))
    return [tile(record, cache[image_id], caption, side)
            for record, image_id, caption in zip(records, image_ids, captions, strict=True)]


def contact_sheet(sections: Sequence[Section], columns: int = COLUMNS) -> np.ndarray:
    """Rows of tiles under headings.

    Args:
        sections: list of (heading or None, list of tiles); a tile is (H, W, 3) uint8 RGB, all of
            one size. A section without tiles is left out.
        columns: tiles per row; fewer if no section has that many.

    Returns:
        (H, W, 3) uint8 RGB on white; a single white row where there is nothing to show.
    """
    sections = [(heading, tiles) for heading, tiles in sections if tiles]
    if not sections:
        return np.full((1, 1, 3), 255, np.uint8)
    columns = min(columns, max(len(tiles) for _, tiles in sections))
    width = columns * (sections[0][1][0].shape[1] + GAP) + GAP
    bands = []
    for heading, tiles in sections:
        if heading:
            bands.append(_line(heading, HEADING_HEIGHT, width, 15))
        bands += [_row(tiles[start:start + columns], width)
                  for start in range(0, len(tiles), columns)]
    return np.concatenate(bands)


def save_picture(path: str | Path, picture: np.ndarray) -> None:
    """Write a picture as PNG, whole or not at all.

    Args:
        path: the file.
        picture: (H, W, 3) uint8 RGB.
    """
    with replacing(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")


def find_record(dataset: Dataset | None, image_id: str) -> Record | None:
    """The Record of an image id, or None where the Dataset, or None, does not hold it."""
    if dataset is None:
        return None
    place = bisect.bisect_left(dataset.records, image_id, key=lambda record: record.image_id)
    if place == len(dataset.records) or dataset.records[place].image_id != image_id:
        return None
    return dataset.records[place]


def short_name(image_id: str) -> str:
    """The last part of an image id, without its extension."""
    return image_id.rpartition("/")[2].rpartition(".")[0] or image_id


def _row(tiles, width):
    height, side = tiles[0].shape[:2]
    row = np.full((height + GAP, width, 3), 255, np.uint8)
    for column, one in enumerate(tiles):
        left = GAP + column * (side + GAP)
        row[:height, left:left + side] = one
    return row


def _line(text, height, width, size):
    """A line of black text on white, (height, width, 3) uint8."""
    line = Image.new("RGB", (width, height), "white")
    # A name may hold anything: newlines, and bytes that no encoding knows.
    printable = "".join(each if each.isprintable() else "?" for each in text)
    ImageDraw.Draw(line).text((2, height - 2), printable, fill="black", anchor="ld",
                              font=ImageFont.load_default(size))
    return np.array(line)
