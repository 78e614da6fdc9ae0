"""The page of ``bcct localize``: pictures with their boxes, the least certain first."""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from common.exports.annotated_pictures import AnnotatedPicture, Annotations
from common.files import write_bytes
from common.images import BadImage, read_image
from evaluation import data_uris
from evaluation.outlines import outline_path

SHOWN = 200  # pictures on a page, some 30 kB each
LONGEST = 400  # pixels: sharp where it is opened large on a phone


@dataclass(frozen=True)
class LocalizedCard:
    """One picture, ready for the template; boxes are x, y, width, height."""

    image_id: str
    label: str
    probability: int
    score: str
    width: int
    height: int
    photograph: str
    boxes: tuple[tuple[int, ...], ...]
    outlines: tuple[str, ...]


def write_localized_page(path: Path, annotations: Annotations, facts: Mapping[str, Any]) -> Path:
    """Write one HTML file that needs nothing else.

    Args:
        path: the file.
        annotations: Annotations of ``bcct localize``.
        facts: its manifest's facts, for the settings at the end.

    Returns:
        The path.
    """
    worst = heapq.nsmallest(SHOWN, annotations.read(), key=_order)
    cards = [card for picture in worst if (card := _card(picture, annotations)) is not None]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("evaluation", "."), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    count = facts["count"] - len(facts["unreadable"])
    page = environment.get_template("localized.html.jinja").render(
        cards=cards, facts=facts, count=count, name=annotations.root.name,
        labels=sorted({card.label for card in cards}))
    write_bytes(path, page.encode("utf-8", errors="replace"))
    return path


def _order(picture: AnnotatedPicture):
    return (picture.objects[0].score or 0.0 if picture.objects else 0.0), picture.image_id


def _card(picture, annotations):
    """The LocalizedCard of a picture; None where its file cannot be read any more."""
    height, width = picture.size
    scale = min(1, LONGEST / max(height, width))
    try:
        image = read_image(annotations.path(picture.image_id), (
            max(1, round(height * scale)), max(1, round(width * scale))))
    except BadImage:
        return None
    boxes = tuple((x0, y0, x1 - x0, y1 - y0) for x0, y0, x1, y1 in (
        each.box for each in picture.objects))
    score = f"{picture.objects[0].score:.2f}" if picture.objects else "nothing found"
    return LocalizedCard(picture.image_id, picture.label, round(100 * picture.probability), score,
                         width, height, data_uris.thumbnail(image, LONGEST), boxes,
                         tuple(outline_path(each.frame_mask, picture.size)
                               for each in picture.objects))
